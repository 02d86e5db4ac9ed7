// Which instruction set runs here, and why.
#pragma once

#include <string>
#include <vector>

namespace carrousel {

struct Kernels;  // kernel.h

struct Isa {
    const char* name;     // "portable", "avx2", "avx512", "avx512vnni", "avx512bf16", "neon"
    bool supported;       // by this processor and operating system
    const char* missing;  // what the processor lacks, or ""
    const Kernels* kernels;
};

// Every instruction set that this build has, slowest first.
const std::vector<Isa>& instruction_sets();

// By name, or the best supported one for an empty name; throws Error that lists what there is.
const Isa& choose_isa(const std::string& name);

struct CacheSizes {
    std::size_t l1d = 0, l2 = 0, l3 = 0;  // bytes, 0 where the system does not say
};
CacheSizes cache_sizes();

}  // namespace carrousel
