// The twin of carrousel/online/tail.py.
#pragma once

#include "block.h"

namespace carrousel {
namespace {

using i8 = std::int32_t __attribute__((vector_size(32)));
using i8_loose = std::int32_t __attribute__((vector_size(32), aligned(4), may_alias));

// columns[j][r] = rows[r][column + j]
#if defined(__SSE2__) || defined(__ARM_NEON)
using u16 = std::uint16_t __attribute__((vector_size(16)));
using u16_loose = std::uint16_t __attribute__((vector_size(16), aligned(2), may_alias));
using u32 = std::uint32_t __attribute__((vector_size(16)));
using u64 = std::uint64_t __attribute__((vector_size(16)));

INLINE void transpose_counts(const std::uint16_t* const (&rows)[8], size_t column, i8 (&columns)[8]) {
    u16 a[8];
    for (int r = 0; r < 8; r += 2) {
        const u16 one = *reinterpret_cast<const u16_loose*>(rows[r] + column);
        const u16 two = *reinterpret_cast<const u16_loose*>(rows[r + 1] + column);
        a[r] = __builtin_shufflevector(one, two, 0, 8, 1, 9, 2, 10, 3, 11);
        a[r + 1] = __builtin_shufflevector(one, two, 4, 12, 5, 13, 6, 14, 7, 15);
    }
    u32 b[8];
    for (int r = 0; r < 8; r += 4)
        for (int half = 0; half < 2; ++half) {
            const u32 one = reinterpret_cast<u32>(a[r + half]), two = reinterpret_cast<u32>(a[r + 2 + half]);
            b[r + 2 * half] = __builtin_shufflevector(one, two, 0, 4, 1, 5);
            b[r + 2 * half + 1] = __builtin_shufflevector(one, two, 2, 6, 3, 7);
        }
    for (int j = 0; j < 4; ++j) {
        const u64 one = reinterpret_cast<u64>(b[j]), two = reinterpret_cast<u64>(b[j + 4]);
        const u16 even = reinterpret_cast<u16>(__builtin_shufflevector(one, two, 0, 2));
        const u16 odd = reinterpret_cast<u16>(__builtin_shufflevector(one, two, 1, 3));
        const u16 none = {};
        columns[2 * j] = reinterpret_cast<i8>(
            __builtin_shufflevector(even, none, 0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15));
        columns[2 * j + 1] = reinterpret_cast<i8>(
            __builtin_shufflevector(odd, none, 0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15));
    }
}
#else
INLINE void transpose_counts(const std::uint16_t* const (&rows)[8], size_t column, i8 (&columns)[8]) {
    for (int j = 0; j < 8; ++j)
        for (int r = 0; r < 8; ++r) columns[j][r] = rows[r][column + j];
}
#endif

// The p-values of up to eight statistics, each by a histogram of its own; `above` (BINS, 8) is memory to work in.
void tail_p_values(const WatchRules& w, const std::uint16_t* const (&counts)[8], const double (&share)[8],
                   const double (&seen)[8], double excesses, double (&p)[8], std::int32_t* above) {
    const double TAIL = w.tail.TAIL, PRIOR = w.tail.PRIOR, EXCESS = w.tail.EXCESS, MEMORY = w.tail.MEMORY;
    const double YOUNG = w.tail.YOUNG;
    const size_t bins = w.tail.BINS;
    const double BINS = static_cast<double>(bins);
    i8_loose* aboves = reinterpret_cast<i8_loose*>(above);  // (bins): of a bin and those over it
    i8 running = {};
    for (size_t end = bins; end > 0;) {
        const size_t column = end >= 8 ? end - 8 : 0;
        i8 columns[8];
        transpose_counts(counts, column, columns);
        if (end - column == 8) {
#pragma GCC unroll 8
            for (size_t j = 8; j-- > 0;) aboves[column + j] = running += columns[j];
            end = column;
        } else {
            while (end > 0) {
                --end;
                aboves[end] = running += columns[end];
            }
        }
    }
    double all[8];
    std::int32_t limits[8], edge[8], ladder[8];
    for (int l = 0; l < 8; ++l) {
        all[l] = maximum(static_cast<double>(running[l]), 1.0);
        const double tail = minimum(excesses / maximum(minimum(seen[l], MEMORY), 1), TAIL) * all[l];
        limits[l] = static_cast<std::int32_t>(minimum(maximum(tail, 0), 0x1p30));
    }
    {
        // What is not above the limit lies beyond the edge; its sums of sums there give the mean excess.
        const i8 limit = *reinterpret_cast<const i8_loose*>(limits);
        i8 count = {}, sum = {};
        for (size_t k = 0; k < bins; ++k) {
            const i8 here = aboves[k], inside = here > limit;  // true is −1
            count -= inside;
            sum += here & ~inside;
        }
        *reinterpret_cast<i8_loose*>(edge) = count;
        *reinterpret_cast<i8_loose*>(ladder) = sum;
    }
    double inner[8], beyond[8], sum[8], excess[8], outer[8], rate[8];
    for (size_t l = 0; l < 8; ++l) {
        const size_t k = place_of(share[l], bins), u = smaller(static_cast<size_t>(edge[l]), bins - 1);
        const double here = above[k * 8 + l], after = k < bins - 1 ? above[(k + 1) * 8 + l] : 0;
        inner[l] = (here + (after - here) * (share[l] * BINS - static_cast<double>(k))) / all[l];
        beyond[l] = above[u * 8 + l];
        sum[l] = static_cast<size_t>(edge[l]) < bins ? ladder[l] : beyond[l];
        excess[l] = share[l] - static_cast<double>(u) / BINS;
    }
    double base[8], power[8];
    for (int l = 0; l < 8; ++l) {
        const double rows = minimum(seen[l], MEMORY);
        const double a = PRIOR + beyond[l] / all[l] * rows;
        const double mean = maximum(sum[l] / maximum(beyond[l], 1e-12) - 0.5, 0) / BINS;
        const double s = PRIOR * EXCESS + (a - PRIOR) * mean;
        rate[l] = maximum(beyond[l] / all[l], 0.5 / (rows + 1));
        base[l] = 1 + maximum(excess[l], 0) / s;
        power[l] = -a;
    }
    log_all(base, 8);
    for (int l = 0; l < 8; ++l) outer[l] = power[l] * base[l];
    exp_all(outer, 8);
    for (int l = 0; l < 8; ++l) {
        const double found = excess[l] > 0 ? rate[l] * outer[l] : maximum(inner[l], rate[l]);
        const double within = minimum(maximum(found, 1e-30), 1);
        p[l] = seen[l] > YOUNG ? within : 1.0;
    }
}

// Of y (rows, columns), each with a histogram of its own.
void p_values(const WatchRules& w, const WatchTail& tail, size_t first, size_t rows, size_t columns, double excesses,
              const double* y, const double* top, double* share, size_t* bin, double* p, std::int32_t* above) {
    const size_t bins = w.tail.BINS;
    for (size_t at = 0; at < rows * columns; at += 8) {
        const size_t each = 8 * bins * sizeof(std::uint16_t);
        fetch(tail.counts + (first * columns + at) * bins, AHEAD * each, each);
        const std::uint16_t* counts[8];
        double shares[8], seen[8], found[8];
        for (size_t l = 0; l < 8; ++l) {
            const size_t of = smaller(at + l, rows * columns - 1);
            shares[l] = minimum(maximum(y[of] / top[of % columns], 0), 1);
            counts[l] = tail.counts + (first * columns + of) * bins;
            seen[l] = tail.seen[first + of / columns];
        }
        tail_p_values(w, counts, shares, seen, excesses, found, above);
        for (size_t l = 0; l < 8 && at + l < rows * columns; ++l) {
            share[at + l] = shares[l];
            bin[at + l] = place_of(shares[l], bins);
            p[at + l] = found[l];
        }
    }
}

INLINE std::uint16_t whole_weight(const WatchRules& w, float weight) {
    const float most = static_cast<float>(w.tail.FULL / 2);
    return static_cast<std::uint16_t>(minimum(maximum(__builtin_rintf(weight), 1.0f), most));
}

// Add statistics, whose bins `p_values` found, to the past of row r.
INLINE void learn(const WatchRules& w, const WatchTail& tail, size_t r, size_t columns, const size_t* bin, bool ok) {
    if (!ok) return;
    const size_t bins = w.tail.BINS;
    const std::int32_t full = static_cast<std::int32_t>(w.tail.FULL);
    std::uint16_t* counts = tail.counts + r * columns * bins;
    float& weight = tail.weight[r];
    std::uint16_t more = whole_weight(w, weight);
    bool over = false;
    for (size_t c = 0; c < columns; ++c) over |= counts[c * bins + bin[c]] > full - more;
    if (over) {  // halves, the even one of two that are as near
        for (size_t k = 0; k < columns * bins; ++k)
            counts[k] = static_cast<std::uint16_t>((counts[k] >> 1) + ((counts[k] & 3) == 3));
        weight *= 0.5f;
        more = whole_weight(w, weight);
    }
    for (size_t c = 0; c < columns; ++c) {
        std::uint16_t& count = counts[c * bins + bin[c]];
        count = static_cast<std::uint16_t>(count + more);
    }
    tail.seen[r] += 1;
    weight *= static_cast<float>(1 + 1 / w.tail.MEMORY);
}

}  // namespace
}  // namespace carrousel
