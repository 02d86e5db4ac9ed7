#include "isa.h"

#include <unistd.h>

#include <cstdlib>

#include "architecture.h"
#include "kernel.h"

namespace carrousel {

#if defined(__x86_64__)
#define CARROUSEL_X86 1
extern const Kernels kernels_avx2, kernels_avx512, kernels_avx512vnni, kernels_avx512bf16;
#elif defined(__aarch64__)
extern const Kernels kernels_neon;
#endif
extern const Kernels kernels_portable;

namespace {

std::vector<Isa> detect() {
    std::vector<Isa> found{{"portable", true, "", &kernels_portable}};
#if defined(CARROUSEL_X86)
    // These ask the operating system, too, whether it saves the wide registers.
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    const bool vnni = avx512 && __builtin_cpu_supports("avx512vnni");
    const bool bf16 = vnni && __builtin_cpu_supports("avx512bf16");
    found.push_back({"avx2", avx2, avx2 ? "" : "AVX2 with FMA", &kernels_avx2});
    found.push_back({"avx512", avx512, avx512 ? "" : "AVX-512 F, BW, DQ, VL", &kernels_avx512});
    found.push_back({"avx512vnni", vnni, vnni ? "" : "AVX-512 VNNI", &kernels_avx512vnni});
    found.push_back({"avx512bf16", bf16, bf16 ? "" : "AVX-512 BF16", &kernels_avx512bf16});
#elif defined(__aarch64__)
    found.push_back({"neon", true, "", &kernels_neon});
#endif
    return found;
}

std::size_t system_size(int name) {
    const long value = sysconf(name);
    return value > 0 ? static_cast<std::size_t>(value) : 0;
}

}  // namespace

const std::vector<Isa>& instruction_sets() {
    static const std::vector<Isa> sets = detect();
    return sets;
}

const Isa& choose_isa(const std::string& name) {
    const std::vector<Isa>& sets = instruction_sets();
    std::string names;
    for (const Isa& isa : sets) {
        if (isa.name == name) {
            if (isa.supported) return isa;
            throw Error("CARROUSEL_ISA: expected an instruction set of this processor, got '" + name +
                        "', which needs " + isa.missing + "; leave it out to get the best one");
        }
        names += (names.empty() ? "" : ", ") + std::string(isa.name);
    }
    if (!name.empty())
        throw Error("CARROUSEL_ISA: expected one of " + names + ", numpy, got '" + name +
                    "'; leave it out to get the best one");
    const Isa* best = &sets.front();
    for (const Isa& isa : sets)
        if (isa.supported) best = &isa;
    return *best;
}

CacheSizes cache_sizes() {
    CacheSizes sizes;
#if defined(_SC_LEVEL1_DCACHE_SIZE)
    sizes = {system_size(_SC_LEVEL1_DCACHE_SIZE), system_size(_SC_LEVEL2_CACHE_SIZE),
             system_size(_SC_LEVEL3_CACHE_SIZE)};
#endif
    return sizes;
}

}  // namespace carrousel
