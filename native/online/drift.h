// The twin of carrousel/online/drift.py.
#pragma once

#include "trend.h"

namespace carrousel {
namespace {

// Whole numbers in the order of numbers, the upper halves of their bits, and the number nearest to 0 that has one.
INLINE std::int32_t key_of(double x) {
    const std::int32_t half = static_cast<std::int32_t>(bits_of(x + 0.0) >> 32);  // no −0
    return half < 0 ? half ^ 0x7fffffff : half;
}

INLINE double number_of(std::int32_t key) {
    const std::uint32_t half = static_cast<std::uint32_t>(key < 0 ? key ^ 0x7fffffff : key);
    return from_bits(static_cast<std::uint64_t>(half) << 32);
}

// Keep the last value of a block; the last of them gives the edges.
void learn_edges(const WatchRules& w, const WatchDrift& d, size_t r, size_t block, double x) {
    constexpr std::int32_t highest = 0x7ff00000, lowest = -highest - 1;
    const size_t R = w.streams * w.variables, samples = w.drift.SAMPLES, B = w.drift.RANKS.count;
    if (block == 0) d.edge[r] = magnitude(x) < INFINITE ? x : 0.0;
    const double origin = d.edge[r];  // while they are learnt
    const std::int32_t key = key_of(x - origin);
    __builtin_memcpy(d.learnt + block * R + r, &key, sizeof(key));
    d.score[r] = 0;
    if (block != samples - 1) return;
    std::int32_t sorted[WATCH_SAMPLES];
    for (size_t k = 0; k < samples; ++k) __builtin_memcpy(sorted + k, d.learnt + k * R + r, sizeof(key));
    sort(sorted, samples);
    for (size_t b = 0; b < B; ++b) {
        const std::int32_t found = sorted[static_cast<size_t>(w.drift.RANKS.at[b])];
        const bool lower = b < w.drift.LOWER;
        const std::int32_t beside = lower             ? (found > lowest ? found - 1 : lowest)
                                    : found < highest ? found + 1
                                                      : highest;
        double edge = origin + number_of(beside);
        if (lower && edge == edge && edge != -INFINITE) {  // the next smaller number
            const std::uint64_t bits = bits_of(edge == 0 ? -0.0 : edge);
            edge = from_bits(edge > 0 ? bits - 1 : bits + 1);
        }
        d.edge[b * R + r] = edge;
    }
    for (size_t k = 0; k < (1 + 2 * w.drift.scales) * B; ++k) d.learnt[k * R + r] = 0;
}

// Move the shares on by a block, the k-th since the edges were known, and score their differences.
double judge_drift(const WatchRules& w, const WatchMoving& table, const WatchDrift& d, size_t r, const double* share,
                   size_t k) {
    const size_t R = w.streams * w.variables, B = w.drift.RANKS.count, length = w.drift.LONGEST + 1;
    const double count = static_cast<double>(k);
    double usual[WATCH_LIST], likely[WATCH_LIST], white[WATCH_LIST];
    for (size_t b = 0; b < B; ++b) {
        float& kept = d.learnt[b * R + r];
        usual[b] = static_cast<double>(kept) + (share[b] - static_cast<double>(kept)) / count;
        kept = static_cast<float>(usual[b]);
        likely[b] = (count * usual[b] + 0.5) / (count + 1);
        white[b] = likely[b] * (1 - likely[b]);
    }
    double most = 0;
    for (size_t j = 0; j < w.drift.scales; ++j) {
        const size_t at = j * length + k;
        const double gain = table.gain[at], variance = table.variance[at], judge = table.judge[at];
        for (size_t b = 0; b < B; ++b) {
            float &kept = d.learnt[((1 + j) * B + b) * R + r],
                  &far = d.learnt[((1 + w.drift.scales + j) * B + b) * R + r];
            double recent = kept, spread = far;
            recent += (share[b] - recent) * gain;
            kept = static_cast<float>(recent);
            const double difference = recent - usual[b], square = difference * difference / variance;
            const double known = greater(spread, white[b] / static_cast<double>(w.drift.BLOCK));
            const double skew = greater(difference * (1 - 2 * likely[b]), 0) / white[b] * w.drift.SKEW + 1;
            const double score = square / known / skew * judge;
            spread += (lesser(square, judge > 0 ? known * w.drift.CLIP : INFINITE) - spread) * table.remember[at];
            far = static_cast<float>(spread);
            most = j + b == 0 ? score : greater(most, score);
        }
    }
    return __builtin_sqrt(most);
}

// x (rows), NaN where a value is missing; drifts that are decided on these rows are added to `found`.
void update_drift(Block& block, const WatchDrift& d, const double* x, std::uint8_t* found) {
    const WatchRules& w = block.w;
    const size_t R = w.streams * w.variables, B = w.drift.RANKS.count, rows = block.rows, first = block.r;
    const std::uint8_t full = static_cast<std::uint8_t>(w.drift.BLOCK);
    fetch_next(block, d.edge, B);
    fetch_next(block, d.above, B);
    for (size_t b = 0; b < B; ++b) {
        std::uint8_t* above = d.above + b * R + first;
        const double* edge = d.edge + b * R + first;
        INDEPENDENT
        for (size_t i = 0; i < rows; ++i) above[i] = static_cast<std::uint8_t>(above[i] + (x[i] > edge[i]));
    }
    bool closing = false;
    for (size_t i = 0; i < rows; ++i) {
        std::uint8_t& present = d.present[first + i];
        present = static_cast<std::uint8_t>(present + (x[i] == x[i]));
        closing |= present == full;
    }
    if (!closing) return;
    const std::int32_t samples = static_cast<std::int32_t>(w.drift.SAMPLES);
    const std::int32_t most = samples + static_cast<std::int32_t>(w.drift.LONGEST);
    for (size_t i = 0; i < rows; ++i) {
        const size_t r = first + i;
        if (d.present[r] != full) continue;
        const std::int32_t given = d.blocks[r], blocks = given < 0 ? 0 : given > most ? most : given;
        double share[WATCH_LIST];
        for (size_t b = 0; b < B; ++b) {
            share[b] = d.above[b * R + r] / static_cast<double>(w.drift.BLOCK);
            d.above[b * R + r] = 0;
        }
        d.present[r] = 0;
        d.blocks[r] = static_cast<std::int16_t>(blocks < most ? blocks + 1 : most);
        if (blocks < samples) {
            learn_edges(w, d, r, static_cast<size_t>(blocks), x[i]);
            continue;
        }
        const size_t k = smaller(static_cast<size_t>(blocks - samples + 1), w.drift.LONGEST);
        const double score = judge_drift(w, block.s.drift_table, d, r, share, k);
        d.score[r] = static_cast<float>(score);
        if (!(score >= 1)) continue;
        found[i] = 1;
        d.blocks[r] = 0;
        for (size_t b = 0; b < B; ++b) d.edge[b * R + r] = __builtin_nan("");
    }
}

}  // namespace
}  // namespace carrousel
