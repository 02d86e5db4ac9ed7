// Rows in the form in which products want them: floats as they are, or rounded to fewer bits. Included by kernel.cpp
// alone, as are the headers beside it.
#pragma once

#include "kernel.h"
#include "simd.h"

namespace carrousel {
namespace {

// What is multiplied with one part of a matrix: rows of floats, or their form in fewer bits.
struct Source {
    const float* const* rows = nullptr;
    const unsigned char* rounded = nullptr;  // of row r at rounded + r · stride: bfloat16, or integers with scales
    const float* scales = nullptr;           // of row r
    std::size_t stride = 0;
    bool used = false;
};

constexpr std::size_t pairs(std::size_t k) { return (k + 1) / 2; }
constexpr std::size_t quads(std::size_t k) { return (k + 3) / 4; }
constexpr std::size_t rounded(std::size_t floats) { return (floats + 15) / 16 * 16; }
// Floats that the quantised form of a row takes, in bytes or int16, and of some rows with their scales.
constexpr std::size_t quantised_row(std::size_t k) { return rounded(k) / (UNSIGNED_INPUTS ? 4 : 2); }
constexpr std::size_t quantised_floats(std::size_t rows, std::size_t k) {
    return rounded(rows * quantised_row(k)) + rounded(rows);
}
// Floats that a row of bfloat16 takes, in whole vectors.
constexpr std::size_t halved_row(std::size_t k) { return rounded(pairs(k)); }
constexpr std::size_t vectors_of(std::size_t n) { return (n + V - 1) / V; }

// A row as bytes, its largest magnitude at 127. What is not finite makes the scale NaN, and through it every output of
// the row.
float quantise_row(const float* x, std::size_t k, unsigned char* out) {
    vi largest = vi{};  // of the bits without the sign, which are in the order of the magnitudes
    for (std::size_t j = 0; j < k; j += V) {
        const vi magnitude = reinterpret_cast<vi>(load_part(x + j, k - j)) & 0x7fffffff;
        largest = magnitude > largest ? magnitude : largest;
    }
    const std::int32_t bits = maximum(largest);
    const float most = __builtin_bit_cast(float, bits);
    const bool finite = bits < 0x7f800000, flat = !finite || !(most > 1e-30f);
    const float inverse = flat ? 0.0f : 127.0f / most;
    const vf factor = splat(inverse), magic = splat(12582912.0f);
    for (std::size_t j = 0; j < rounded(k); j += V) {
        const vf v = flat || j >= k ? vf{} : load_part(x + j, k - j);
        const vi q = reinterpret_cast<vi>(v * factor + magic) - 0x4b400000;
        if constexpr (UNSIGNED_INPUTS) {
            using Bytes = signed char __attribute__((vector_size(V)));
            const Bytes bytes = __builtin_convertvector(q + 128, Bytes);
            __builtin_memcpy(out + j, &bytes, sizeof bytes);
        } else {
            using Shorts = std::int16_t __attribute__((vector_size(2 * V)));
            const Shorts shorts = __builtin_convertvector(swap_inner(q), Shorts);  // pairs (x_0, x_2), (x_1, x_3)
            __builtin_memcpy(out + 2 * j, &shorts, sizeof shorts);
        }
    }
    return finite ? most / 127.0f : __builtin_nanf("");
}

#if defined(__AVX512BF16__) && !defined(CARROUSEL_PLAIN)
// A row in bfloat16, to nearest, ties to even; behind an odd one stands a zero.
void halve_row(const float* x, std::size_t k, unsigned char* out) {
    for (std::size_t j = 0; j < k; j += 2 * V) {
        const vf low = load_part(x + j, k - j), high = j + V < k ? load_part(x + j + V, k - j - V) : vf{};
        const __m512bh both = _mm512_cvtne2ps_pbh(reinterpret_cast<__m512>(high), reinterpret_cast<__m512>(low));
        _mm512_storeu_si512(out + 2 * j, reinterpret_cast<__m512i>(both));
    }
}
#else
void halve_row(const float*, std::size_t, unsigned char*) {}  // no matrix is stored for it
#endif

std::size_t source_floats(const Matrix& m, std::size_t k, std::size_t rows) {
    switch (m.storage) {
        case Storage::paired: return rows * halved_row(k);
        case Storage::int8: return quantised_floats(rows, k);
        default: return 0;
    }
}

// A source of rows for a matrix; rounds them into scratch, which moves on.
Source source_of(const Matrix& m, std::size_t k, std::size_t rows, const float* const* x, float*& scratch) {
    Source source;
    source.used = k > 0;
    source.rows = x;
    if (k == 0 || m.storage == Storage::float32 || m.storage == Storage::bfloat16) return source;
    unsigned char* bytes = reinterpret_cast<unsigned char*>(scratch);
    const bool halved = m.storage == Storage::paired;
    const std::size_t floats = halved ? halved_row(k) : quantised_row(k);
    float* scales = scratch + rounded(rows * floats);
    for (std::size_t r = 0; r < rows; ++r) {
        if (halved)
            halve_row(x[r], k, bytes + r * floats * 4);
        else
            scales[r] = quantise_row(x[r], k, bytes + r * floats * 4);
    }
    source.rounded = bytes;
    source.stride = floats * 4;
    source.scales = scales;
    scratch += source_floats(m, k, rows);
    return source;
}

}  // namespace
}  // namespace carrousel
