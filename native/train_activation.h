// The gates' functions, included by train_kernel.cpp.
#pragma once

#include "train_product.h"

namespace carrousel {
namespace {

// A namespace of their own: the engine's activations are those of simd.h.
namespace training {

// 1 / v for v of at least 1 that is not infinite, within some 1e-7 of it; faster than a division where there are
// AVX-512's fourteen bits of it, which one step of Newton's doubles.
INLINE vf inverse(vf v) {
#if defined(__AVX512F__) && !defined(CARROUSEL_PLAIN)
    const vf near = reinterpret_cast<vf>(_mm512_rcp14_ps(reinterpret_cast<__m512>(v)));
    return near * fma(-v, near, splat(2.0f));
#else
    return splat(1.0f) / v;
#endif
}
INLINE vf sigmoid(vf v) { return inverse(splat(1.0f) + exp_minus(v)); }
INLINE vf tanh(vf v) {
    const vf e = exp_minus_twice(v);
    return (splat(1.0f) - e) * inverse(splat(1.0f) + e);
}
INLINE vd sigmoid(vd v) {
    for (std::size_t k = 0; k < LANES<double>; ++k) v[k] = 0.5 * (1.0 + __builtin_tanh(0.5 * v[k]));
    return v;
}
INLINE vd tanh(vd v) {
    for (std::size_t k = 0; k < LANES<double>; ++k) v[k] = __builtin_tanh(v[k]);
    return v;
}

}  // namespace training

}  // namespace
}  // namespace carrousel
