// One vector of float32 for each instruction set, and what an LSTM needs of it. Included by kernels alone, which are
// compiled once per instruction set, so nothing here may be shared with other translation units.
//
// fma() is explicit and the compiler may not contract (-ffp-contract=off): a value is then the same bits whichever
// tile, chunk or batch it was computed in.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__SSE2__)
// GCC 12 takes the deliberately undefined pass-through operands of its own AVX-512 intrinsics for a mistake.
#pragma GCC diagnostic ignored "-Wuninitialized"
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

namespace {

#if defined(CARROUSEL_PLAIN)  // no intrinsics at all: any machine with a C++ compiler
constexpr int V = 4;
#elif defined(__AVX512F__)
constexpr int V = 16;
#elif defined(__AVX2__)
constexpr int V = 8;
#else
constexpr int V = 4;
#endif

// Rows of a batch that one tile of accumulators spans: R rows · 4 vectors, beside one of weights and R of inputs.
#if !defined(CARROUSEL_PLAIN) && (defined(__AVX512F__) || defined(__ARM_NEON))
constexpr int ROWS = 6;  // 32 registers
#else
constexpr int ROWS = 3;  // 16 registers
#endif

using vf = float __attribute__((vector_size(4 * V)));
using vi = std::int32_t __attribute__((vector_size(4 * V)));
using vu = std::uint32_t __attribute__((vector_size(4 * V)));
using vf_loose = float __attribute__((vector_size(4 * V), aligned(4), may_alias));
using vi_loose = std::int32_t __attribute__((vector_size(4 * V), aligned(4), may_alias));
using vu_loose = std::uint32_t __attribute__((vector_size(4 * V), aligned(4), may_alias));

#define INLINE inline __attribute__((always_inline))

INLINE vf splat(float v) { return v - vf{}; }
INLINE vi splat(std::int32_t v) { return v - vi{}; }
INLINE vf load(const float* p) { return *reinterpret_cast<const vf_loose*>(p); }
INLINE void store(float* p, vf v) { *reinterpret_cast<vf_loose*>(p) = v; }

// The first n of V values; the others are 0, and are not written.
INLINE vf load_part(const float* p, std::size_t n) {
    if (n >= static_cast<std::size_t>(V)) return load(p);
    float parts[V] = {};
    for (std::size_t k = 0; k < n; ++k) parts[k] = p[k];
    return load(parts);
}
INLINE void store_part(float* p, vf v, std::size_t n) {
    if (n >= static_cast<std::size_t>(V)) return store(p, v);
    float parts[V];
    store(parts, v);
    for (std::size_t k = 0; k < n; ++k) p[k] = parts[k];
}

// a·b + c, rounded once where the machine can.
INLINE vf fma(vf a, vf b, vf c) {
#if defined(CARROUSEL_PLAIN)
    return a * b + c;
#elif defined(__AVX512F__)
    return reinterpret_cast<vf>(
        _mm512_fmadd_ps(reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b), reinterpret_cast<__m512>(c)));
#elif defined(__AVX2__)
    return reinterpret_cast<vf>(
        _mm256_fmadd_ps(reinterpret_cast<__m256>(a), reinterpret_cast<__m256>(b), reinterpret_cast<__m256>(c)));
#elif defined(__ARM_NEON)
    return reinterpret_cast<vf>(vfmaq_f32(reinterpret_cast<float32x4_t>(c), reinterpret_cast<float32x4_t>(a),
                                          reinterpret_cast<float32x4_t>(b)));
#else
    return a * b + c;
#endif
}

// Between low and high; NaN stays NaN.
INLINE vf clamp(vf v, vf low, vf high) {
#if defined(CARROUSEL_PLAIN)
    v = v < low ? low : v;
    return v > high ? high : v;
#elif defined(__AVX512F__)
    const __m512 raised = _mm512_max_ps(reinterpret_cast<__m512>(low), reinterpret_cast<__m512>(v));
    return reinterpret_cast<vf>(_mm512_min_ps(reinterpret_cast<__m512>(high), raised));
#elif defined(__AVX2__)
    const __m256 raised = _mm256_max_ps(reinterpret_cast<__m256>(low), reinterpret_cast<__m256>(v));
    return reinterpret_cast<vf>(_mm256_min_ps(reinterpret_cast<__m256>(high), raised));
#elif defined(__SSE2__)
    const __m128 raised = _mm_max_ps(reinterpret_cast<__m128>(low), reinterpret_cast<__m128>(v));
    return reinterpret_cast<vf>(_mm_min_ps(reinterpret_cast<__m128>(high), raised));
#elif defined(__ARM_NEON)
    return reinterpret_cast<vf>(
        vminq_f32(vmaxq_f32(reinterpret_cast<float32x4_t>(v), reinterpret_cast<float32x4_t>(low)),
                  reinterpret_cast<float32x4_t>(high)));
#else
    v = v < low ? low : v;
    return v > high ? high : v;
#endif
}

// acc + Σ_j w_j·x_j over four signed bytes w_j of each lane. x holds the four inputs in the form that quantised rows
// are stored in: with VNNI as bytes x + 128 in x0, elsewhere as int16 pairs (x_0, x_2) in x0 and (x_1, x_3) in x1.
#if defined(__AVX512VNNI__) && !defined(CARROUSEL_PLAIN)
constexpr bool UNSIGNED_INPUTS = true;
INLINE vi dot4(vi acc, vi w, vi x0, vi) {
    return reinterpret_cast<vi>(_mm512_dpbusd_epi32(reinterpret_cast<__m512i>(acc), reinterpret_cast<__m512i>(x0),
                                                    reinterpret_cast<__m512i>(w)));
}
#else
constexpr bool UNSIGNED_INPUTS = false;
using vs = std::int16_t __attribute__((vector_size(4 * V)));
INLINE vi madd(vs a, vs b) {  // a_0·b_0 + a_1·b_1 in each pair of int16
#if defined(CARROUSEL_PLAIN)
    const vi x = reinterpret_cast<vi>(a), y = reinterpret_cast<vi>(b);
    return ((x << 16) >> 16) * ((y << 16) >> 16) + (x >> 16) * (y >> 16);
#elif defined(__AVX512BW__)
    return reinterpret_cast<vi>(_mm512_madd_epi16(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
#elif defined(__AVX2__)
    return reinterpret_cast<vi>(_mm256_madd_epi16(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
#elif defined(__SSE2__)
    return reinterpret_cast<vi>(_mm_madd_epi16(reinterpret_cast<__m128i>(a), reinterpret_cast<__m128i>(b)));
#else
    const vi x = reinterpret_cast<vi>(a), y = reinterpret_cast<vi>(b);
    return ((x << 16) >> 16) * ((y << 16) >> 16) + (x >> 16) * (y >> 16);
#endif
}
INLINE vi dot4(vi acc, vi w, vi x0, vi x1) {
    const vs pairs = reinterpret_cast<vs>(w);
    const vs even = (pairs << 8) >> 8, odd = pairs >> 8;
    return acc + madd(even, reinterpret_cast<vs>(x0)) + madd(odd, reinterpret_cast<vs>(x1));
}
#endif

// acc + x_1·w_1 + x_0·w_0 over the two bfloat16 of each lane, summed in float32 by one instruction.
#if defined(__AVX512BF16__) && !defined(CARROUSEL_PLAIN)
constexpr bool PAIRED = true;
INLINE vf dot2(vf acc, vi w, vi x) {
    return reinterpret_cast<vf>(
        _mm512_dpbf16_ps(reinterpret_cast<__m512>(acc), reinterpret_cast<__m512bh>(w), reinterpret_cast<__m512bh>(x)));
}
#else
constexpr bool PAIRED = false;
#endif

// The second and third of every four lanes change places.
INLINE vi swap_inner(vi v) {
#if defined(CARROUSEL_PLAIN) || !defined(__AVX2__)
    return __builtin_shufflevector(v, v, 0, 2, 1, 3);
#elif !defined(__AVX512F__)
    return __builtin_shufflevector(v, v, 0, 2, 1, 3, 4, 6, 5, 7);
#else
    return __builtin_shufflevector(v, v, 0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15);
#endif
}

INLINE vf to_float(vi v) { return __builtin_convertvector(v, vf); }

// 2^r on [-1/2, 1/2], least greatest relative error (1.1e-7) with the constant 1.
constexpr float EXP2_C1 = 0x1.62e42ap-1f, EXP2_C2 = 0x1.ebf9bcp-3f, EXP2_C3 = 0x1.c6b752p-5f, EXP2_C4 = 0x1.3cea8ap-7f,
                EXP2_C5 = 0x1.5bba16p-10f;
constexpr float LOG2E = 1.44269504088896340736f;
constexpr float SATURATED = 60.0f;  // 2^±60 beside 1 is lost in float32, and two such factors do not overflow

// 2^v for v in [-SATURATED, SATURATED], relative error below 2e-7; saturates outside, NaN stays NaN.
// v = n + r with |r| <= 1/2: the exponent n is read off the bits of v + 1.5·2^23, 2^r is a polynomial (minimax, degree
// 5).
INLINE vf exp2_saturated(vf v) {
    v = clamp(v, splat(-SATURATED), splat(SATURATED));
#if defined(__AVX512F__) && !defined(CARROUSEL_PLAIN)  // has instructions for either end, to the same bits
    const __m512 n = _mm512_roundscale_ps(reinterpret_cast<__m512>(v), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const vf r = v - reinterpret_cast<vf>(n);
#else
    const vf magic = splat(12582912.0f);
    const vf shifted = v + magic;
    const vf r = v - (shifted - magic);
#endif
    vf p = splat(EXP2_C5);
    p = fma(p, r, splat(EXP2_C4));
    p = fma(p, r, splat(EXP2_C3));
    p = fma(p, r, splat(EXP2_C2));
    p = fma(p, r, splat(EXP2_C1));
    p = fma(p, r, splat(1.0f));
#if defined(__AVX512F__) && !defined(CARROUSEL_PLAIN)
    return reinterpret_cast<vf>(_mm512_scalef_ps(reinterpret_cast<__m512>(p), n));
#else
    const vu power = (reinterpret_cast<vu>(shifted) << 23) + 0x3f800000u;
    return p * reinterpret_cast<vf>(power);
#endif
}

// e^-v and e^-2v, from which σ(v) = 1 / (1 + e^-v) and tanh(v) = (1 − e^-2v) / (1 + e^-2v).
INLINE vf exp_minus(vf v) { return exp2_saturated(v * splat(-LOG2E)); }
INLINE vf exp_minus_twice(vf v) { return exp2_saturated(v * splat(-2.0f * LOG2E)); }

INLINE vf sigmoid(vf v) { return splat(1.0f) / (splat(1.0f) + exp_minus(v)); }
INLINE vf tanh(vf v) {
    const vf e = exp_minus_twice(v);
    return (splat(1.0f) - e) / (splat(1.0f) + e);
}

INLINE std::int32_t maximum(vi v) {
    std::int32_t parts[V], most = v[0];
    __builtin_memcpy(parts, &v, sizeof parts);
    for (int k = 1; k < V; ++k) most = parts[k] > most ? parts[k] : most;
    return most;
}
INLINE float sum(vf v) {  // in a fixed order
    float parts[V], total = 0.0f;
    store(parts, v);
    for (int k = 0; k < V; ++k) total += parts[k];
    return total;
}

}  // namespace
