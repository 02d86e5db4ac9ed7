// The arithmetic, once for all instruction sets: compiled for each with CARROUSEL_ISA set to its name.
#include "kernel.h"

#include "kernel_cell.h"
#include "kernel_linear.h"
#include "simd.h"

namespace carrousel {
namespace {

void scale(const float* x, const float* weight, const float* bias, float* y, std::size_t n) {
    for (std::size_t k = 0; k < n; k += V)
        store_part(y + k, fma(load_part(weight + k, n - k), load_part(x + k, n - k), load_part(bias + k, n - k)),
                   n - k);
}

void activations(const float* x, float* s, float* t, std::size_t n) {
    for (std::size_t k = 0; k < n; k += V) {
        const vf v = load_part(x + k, n - k);
        store_part(s + k, sigmoid(v), n - k);
        store_part(t + k, tanh(v), n - k);
    }
}

float read(const float* x, std::size_t n) {
    vf total[8] = {};
    std::size_t k = 0;
    for (; k + 8 * V <= n; k += 8 * V)
#pragma GCC unroll 8
        for (int part = 0; part < 8; ++part) total[part] += load(x + k + part * V);
    vf all = total[0];
    for (int part = 1; part < 8; ++part) all += total[part];
    return sum(all);
}

constexpr std::size_t CHAINS = 12;  // enough that no multiplication waits for another

float multiply(std::size_t rounds) {
    vf total[CHAINS] = {};
    vf factor = splat(0.999f), addend = splat(1e-3f);
    for (std::size_t k = 0; k < rounds; ++k) {
        asm volatile("" : "+m"(factor), "+m"(addend));
        const vf a = factor, b = addend;
#pragma GCC unroll 8
        for (int inner = 0; inner < 8; ++inner)
#pragma GCC unroll 12
            for (std::size_t chain = 0; chain < CHAINS; ++chain) total[chain] = fma(total[chain], a, b);
    }
    vf all = total[0];
    for (std::size_t chain = 1; chain < CHAINS; ++chain) all += total[chain];
    return sum(all);
}

}  // namespace

#define JOIN(a, b) a##b
#define NAMED(table, isa) JOIN(table, isa)
extern const Kernels NAMED(kernels_, CARROUSEL_ISA);
const Kernels NAMED(kernels_, CARROUSEL_ISA) = {
    V,    ROWS,         PAIRED, dense,       dense_scratch, drive,    drive_size,         drive_scratch,
    step, step_scratch, scale,  activations, read,          multiply, CHAINS * 8 * V * 2, any_tile};

}  // namespace carrousel
