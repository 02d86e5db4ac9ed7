// What the detector's kernel needs of numbers: functions of float64 that the compiler turns into vectors, and eight
// lanes of float32. Included by watch_kernel.cpp alone, which is compiled once per instruction set, so nothing here may
// be shared with other translation units.
#pragma once

#if defined(__F16C__)
#include <immintrin.h>
#endif

#include <cstddef>
#include <cstdint>

namespace {

using std::size_t;

#define INLINE inline __attribute__((always_inline))

// In front of a loop whose turns write nothing that another one reads, which the compiler could not prove.
#if defined(__clang__)
#define INDEPENDENT  // which checks at run time
#else
#define INDEPENDENT _Pragma("GCC ivdep")
#endif

constexpr size_t LANES = 8;
constexpr double INFINITE = __builtin_inf();

INLINE double maximum(double a, double b) { return a > b ? a : b; }
INLINE double minimum(double a, double b) { return a < b ? a : b; }
INLINE double magnitude(double a) { return __builtin_fabs(a); }
INLINE float maximum(float a, float b) { return a > b ? a : b; }
INLINE float minimum(float a, float b) { return a < b ? a : b; }
INLINE size_t smaller(size_t a, size_t b) { return a < b ? a : b; }
INLINE size_t padded(size_t n) { return (n + LANES - 1) / LANES * LANES; }
INLINE std::uint64_t bits_of(double v) { return __builtin_bit_cast(std::uint64_t, v); }
INLINE double from_bits(std::uint64_t v) { return __builtin_bit_cast(double, v); }

// A float16, whose bits these are, as float32, and the nearest one of a number up to 65,504, the even one of two; what
// is infinite or no number is none in either.
#if defined(__F16C__)
INLINE float from_half(std::uint16_t half) { return _cvtsh_ss(half); }
INLINE std::uint16_t to_half(float x) { return _cvtss_sh(x, _MM_FROUND_TO_NEAREST_INT); }
#else
INLINE float from_half(std::uint16_t half) {
    const std::uint32_t size = half & 0x7fffu, sign = static_cast<std::uint32_t>(half & 0x8000u) << 16;
    const float small = static_cast<float>(size) * 0x1p-24f;
    const float usual = __builtin_bit_cast(float, (size << 13) + 0x38000000u);
    return __builtin_bit_cast(float, __builtin_bit_cast(std::uint32_t, size < 0x400 ? small : usual) | sign);
}

INLINE std::uint16_t to_half(float x) {
    const std::uint32_t all = __builtin_bit_cast(std::uint32_t, x), bits = all & 0x7fffffffu;
    const float size = __builtin_bit_cast(float, bits);
    const float scaled = size < 0x1p-14f ? size * 0x1p24f : 0.0f;
    const std::uint32_t small = static_cast<std::uint32_t>(static_cast<std::int32_t>(__builtin_rintf(scaled)));
    const std::uint32_t usual = (bits + 0xfffu + ((bits >> 13) & 1) - 0x38000000u) >> 13;
    return static_cast<std::uint16_t>((size < 0x1p-14f ? small : usual & 0x7fffu) | (all >> 31 << 15));
}
#endif

// Functions free of branches; ranges as said.

constexpr double LN2_HIGH = 0x1.62e42feep-1, LN2_LOW = 0x1.a39ef35793c76p-33, LN2 = 0x1.62e42fefa39efp-1;
constexpr double LOG2E = 0x1.71547652b82fep+0, LOG10E = 0x1.bcb7b1526e50ep-2, LN10 = 0x1.26bb1bbb55516p+1;

// log of a normal number above 0; what is infinite or no number stays so. x = 2^k (1 + f) with √½ <= 1 + f < √2, and
// log(1 + f) as in Sun's fdlibm.
INLINE double log_of(double x) {
    constexpr std::uint64_t offset = 0x3fe6a09e00000000u;
    const std::uint64_t moved = bits_of(x) - offset;
    // moved / 2^52 is k, which a signed shift would give; k + 1023 is positive, and the bits 0x433 make it a number.
    const double k = from_bits(((moved + (std::uint64_t{1023} << 52)) >> 52) | 0x4330000000000000u) - (0x1p52 + 1023);
    const double f = from_bits(bits_of(x) - (moved & 0xfff0000000000000u)) - 1.0;
    const double s = f / (2.0 + f), z = s * s, w = z * z;
    const double even = w * (3.999999999940941908e-01 + w * (2.222219843214978396e-01 + w * 1.531383769920937332e-01));
    const double odd =
        z * (6.666666666666735130e-01 +
             w * (2.857142874366239149e-01 + w * (1.818357216161805012e-01 + w * 1.479819860511658591e-01)));
    const double half = 0.5 * f * f;
    const double result = k * LN2_HIGH - ((half - (s * (half + (even + odd)) + k * LN2_LOW)) - f);
    return x <= 0x1.fffffffffffffp+1023 ? result : x;
}

// e^x for any x that gives a normal number; 2^-1020 or so below, 2^1020 or so above. Fdlibm's as well.
INLINE double exp_of(double x) {
    constexpr double magic = 0x1.8p52;
    x = x < -707.0 ? -707.0 : x;
    x = x > 707.0 ? 707.0 : x;
    const double shifted = x * LOG2E + magic, k = shifted - magic;
    const double high = x - k * LN2_HIGH, low = k * LN2_LOW, r = high - low, t = r * r;
    const double c = r - t * (1.66666666666666019037e-01 +
                              t * (-2.77777777770155933842e-03 +
                                   t * (6.61375632143793436117e-05 +
                                        t * (-1.65339022054652515390e-06 + t * 4.13813679705723846039e-08))));
    const double y = 1.0 - ((low - r * c / (2.0 - c)) - high);
    return y * from_bits((bits_of(shifted) << 52) + 0x3ff0000000000000u);
}

// log(1 + x), x >= 0: what 1 + x lost is added again.
INLINE double log1p_of(double x) {
    const double u = 1.0 + x, lost = x < 1.0 ? x - (u - 1.0) : 1.0 - (u - x);
    const double result = log_of(u) + lost / u;
    return u <= 0x1.fffffffffffffp+1023 ? result : u;
}

INLINE double asinh_of(double x) {
    const double a = magnitude(x);
    const bool large = a > 0x1p60;  // asinh(x) is log(2x) then, and a² may be too large for a number
    const double b = large ? 1.0 : a, square = b * b;
    const double small = b + square / (1.0 + __builtin_sqrt(1.0 + square));
    const double result = log1p_of(large ? a : small) + (large ? LN2 : 0.0);
    return __builtin_copysign(result, x);
}

// (e^x − e^-x) / 2, where that would cancel its series.
INLINE double sinh_of(double x) {
    const double e = exp_of(magnitude(x)), z = x * x;
    const double far = 0.5 * (e - 1.0 / e);
    const double near =
        x + x * z *
                (1.0 / 6 +
                 z * (1.0 / 120 + z * (1.0 / 5040 +
                                       z * (1.0 / 362880 + z * (1.0 / 39916800 + z * (1.0 / 6227020800.0 +
                                                                                      z * (1.0 / 1307674368000.0 +
                                                                                           z / 355687428096000.0)))))));
    return magnitude(x) < 1.0 ? near : __builtin_copysign(far, x);
}

// In place, n a multiple of LANES.
#define OVER_ALL(name, function)                                                    \
    void name(double* x, size_t n) {                                                \
        for (size_t from = 0; from < n; from += LANES)                              \
            for (size_t k = 0; k < LANES; ++k) x[from + k] = function(x[from + k]); \
    }
OVER_ALL(exp_all, exp_of)
OVER_ALL(log_all, log_of)
OVER_ALL(log1p_all, log1p_of)
OVER_ALL(asinh_all, asinh_of)
OVER_ALL(sinh_all, sinh_of)

// Eight lanes of float32, and the columns of eight rows that lie anywhere.

using v8 = float __attribute__((vector_size(32)));
using v8_loose = float __attribute__((vector_size(32), aligned(4), may_alias));

#if defined(__AVX2__)
#define ZIP_LOW(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 4, 12, 5, 13)
#define ZIP_HIGH(a, b) __builtin_shufflevector(a, b, 2, 10, 3, 11, 6, 14, 7, 15)
#define PAIR_LOW(a, b) __builtin_shufflevector(a, b, 0, 1, 8, 9, 4, 5, 12, 13)
#define PAIR_HIGH(a, b) __builtin_shufflevector(a, b, 2, 3, 10, 11, 6, 7, 14, 15)
#define HALF_LOW(a, b) __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11)
#define HALF_HIGH(a, b) __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15)

// columns[j][r] = rows[r][column + j]
INLINE void transpose(const float* const (&rows)[8], size_t column, v8 (&columns)[8]) {
    v8 a[8], b[8];
    for (int r = 0; r < 8; ++r) a[r] = *reinterpret_cast<const v8_loose*>(rows[r] + column);
    for (int r = 0; r < 8; r += 2) b[r] = ZIP_LOW(a[r], a[r + 1]), b[r + 1] = ZIP_HIGH(a[r], a[r + 1]);
    for (int r = 0; r < 8; r += 4) {
        a[r] = PAIR_LOW(b[r], b[r + 2]), a[r + 1] = PAIR_HIGH(b[r], b[r + 2]);
        a[r + 2] = PAIR_LOW(b[r + 1], b[r + 3]), a[r + 3] = PAIR_HIGH(b[r + 1], b[r + 3]);
    }
    for (int r = 0; r < 4; ++r) {
        columns[r] = HALF_LOW(a[r], a[r + 4]);
        columns[r + 4] = HALF_HIGH(a[r], a[r + 4]);
    }
}
#else
INLINE void transpose(const float* const (&rows)[8], size_t column, v8 (&columns)[8]) {
    for (int j = 0; j < 8; ++j)
        for (int r = 0; r < 8; ++r) columns[j][r] = rows[r][column + j];
}
#endif

}  // namespace
