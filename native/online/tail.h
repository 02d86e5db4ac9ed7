// The twin of carrousel/online/tail.py.
#pragma once

#include "block.h"

namespace carrousel {
namespace {

// The p-values of up to eight statistics, each by a histogram of its own.
void tail_p_values(const WatchRules& w, const float* const (&counts)[8], const double (&share)[8],
                   const double (&seen)[8], double excesses, double (&p)[8], float* sums) {
    const double TAIL = w.tail.TAIL, PRIOR = w.tail.PRIOR, EXCESS = w.tail.EXCESS, MEMORY = w.tail.MEMORY;
    const double YOUNG = w.tail.YOUNG;
    const size_t bins = w.tail.BINS;
    const double BINS = static_cast<double>(bins);
    v8_loose* aboves = reinterpret_cast<v8_loose*>(sums);  // (bins): of a bin and those over it
    v8_loose* ladders = aboves + bins;                     // (bins): of those sums
    v8 above = {}, ladder = {};
    for (size_t end = bins; end > 0;) {
        const size_t column = end >= 8 ? end - 8 : 0;
        v8 columns[8];
        transpose(counts, column, columns);
        if (end - column == 8) {
#pragma GCC unroll 8
            for (size_t j = 8; j-- > 0;) {
                aboves[column + j] = above += columns[j];
                ladders[column + j] = ladder += above;
            }
            end = column;
        } else {
            while (end > 0) {
                --end;
                aboves[end] = above += columns[end];
                ladders[end] = ladder += above;
            }
        }
    }
    float total[8], tail[8];
    for (int l = 0; l < 8; ++l) {
        total[l] = maximum(above[l], 1e-12f);
        tail[l] = static_cast<float>(minimum(excesses / maximum(minimum(seen[l], MEMORY), 1), TAIL)) * total[l];
    }
    const v8 limit = *reinterpret_cast<const v8_loose*>(tail);
    std::int32_t edge[8];
    {
        using i8 = std::int32_t __attribute__((vector_size(32), aligned(4), may_alias));
        i8 count = {};
        for (size_t k = 0; k < bins; ++k) count -= aboves[k] > limit;  // true is −1
        *reinterpret_cast<i8*>(edge) = count;
    }
    double inner[8], beyond[8], sum[8], all[8], excess[8], outer[8], rate[8];
    for (size_t l = 0; l < 8; ++l) {
        const size_t k = place_of(share[l], bins), u = smaller(static_cast<size_t>(edge[l]), bins - 1);
        const double here = sums[k * 8 + l], after = k < bins - 1 ? sums[(k + 1) * 8 + l] : 0.0f;
        all[l] = total[l];
        inner[l] = (here + (after - here) * (share[l] * BINS - static_cast<double>(k))) / all[l];
        beyond[l] = sums[u * 8 + l];
        sum[l] = sums[(bins + u) * 8 + l];
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

// Of y (rows, columns) with the histograms of those rows; column c with that of tails[c], or all with those of one
// tail.
void p_values(const WatchRules& w, const WatchTail* tails, bool apart, size_t first, size_t rows, size_t columns,
              double excesses, const double* y, const double* top, double* share, size_t* bin, double* p, float* sums) {
    const size_t bins = w.tail.BINS;
    const auto histogram = [&](size_t at) {
        const size_t r = first + at / columns, c = at % columns;
        return apart ? tails[c].counts + r * bins : tails[0].counts + (r * columns + c) * bins;
    };
    for (size_t at = 0; at < rows * columns; at += 8) {
        const size_t each = (apart ? 8 / columns : 8) * bins * sizeof(float);  // of one array, by eight histograms
        for (size_t c = 0; c < (apart ? columns : 1); ++c) fetch(histogram(at + c), AHEAD * each, each);
        const float* counts[8];
        double shares[8], seen[8], found[8];
        for (size_t l = 0; l < 8; ++l) {
            const size_t of = smaller(at + l, rows * columns - 1), c = of % columns;
            shares[l] = minimum(maximum(y[of] / top[c], 0), 1);
            counts[l] = histogram(of);
            seen[l] = tails[apart ? c : 0].seen[first + of / columns];
        }
        tail_p_values(w, counts, shares, seen, excesses, found, sums);
        for (size_t l = 0; l < 8 && at + l < rows * columns; ++l) {
            share[at + l] = shares[l];
            bin[at + l] = place_of(shares[l], bins);
            p[at + l] = found[l];
        }
    }
}

// Add statistics, whose bins `p_values` found, to the past of row r.
INLINE void learn(const WatchRules& w, const WatchTail& tail, size_t r, size_t columns, const size_t* bin,
                  size_t stride, bool ok) {
    const size_t bins = w.tail.BINS;
    const float LARGEST = static_cast<float>(w.tail.LARGEST);
    float* counts = tail.counts + r * columns * bins;
    float& weight = tail.weight[r];
    if (ok) {
        for (size_t c = 0; c < columns; ++c) counts[c * bins + bin[c * stride]] += weight;
        tail.seen[r] += 1;
        weight *= static_cast<float>(1 + 1 / w.tail.MEMORY);
    }
    if (weight > LARGEST) {
        for (size_t k = 0; k < columns * bins; ++k) counts[k] /= LARGEST;
        weight /= LARGEST;
    }
}

}  // namespace
}  // namespace carrousel
