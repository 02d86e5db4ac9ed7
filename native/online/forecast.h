// The twin of carrousel/online/forecast.py.
#pragma once

#include "baseline.h"

namespace carrousel {
namespace {

// Where the mean and scale of a forecast lie: one row of stream n, variable k.
INLINE size_t slot_of(const WatchRules& w, size_t n, size_t slot, size_t k) {
    return (n * w.forecast.length + slot) * w.variables + k;
}

// Where the quantiles of a forecast of that horizon lie: as many of each wait as it is long.
INLINE size_t waiting_of(const WatchRules& w, size_t n, std::int64_t made, size_t h, size_t k) {
    size_t slot = modulo(made, static_cast<size_t>(w.forecast.HORIZONS.at[h]));
    for (size_t j = 0; j < h; ++j) slot += static_cast<size_t>(w.forecast.HORIZONS.at[j]);
    return (n * w.forecast.waiting + slot) * w.variables + k;
}

// For each of the statistics at z, of rows · H with the quantiles q (count, Q): z becomes log(1 + surprise).
void surprise(const WatchRules& w, double* z, const double* quantiles, size_t count, double* inner) {
    const WatchList& P = w.forecast.QUANTILES;
    const size_t Q = P.count;
    for (size_t i = 0; i < count; ++i) {
        const double* q = quantiles + i * Q;
        size_t k = 0;
        for (size_t j = 0; j < Q; ++j) k += z[i] > q[j];
        const size_t left = k == 0 ? 0 : smaller(k - 1, Q - 2);
        const double a = q[left], b = q[left + 1];
        const double part = minimum(maximum((z[i] - a) / maximum(b - a, 1e-9), 0), 1);
        const double f = P.at[left] + (P.at[left + 1] - P.at[left]) * part;
        inner[i] = maximum(2 * minimum(f, 1 - f), 1e-12);
        const double first = q[0], second = q[1], last = q[Q - 1], before = q[Q - 2];
        const double below = (first - z[i]) / maximum((second - first) / w.forecast.LOG_STEP, 1e-4);
        const double above = (z[i] - last) / maximum((last - before) / w.forecast.LOG_STEP, 1e-4);
        const double outer = maximum(maximum(below, above), 0) - w.forecast.LOG_EDGE;
        z[i] = k == 0 || k == Q ? outer : -1.0;  // −1: the inner one, which is never below 0
    }
    log_all(inner, padded(count));
    for (size_t i = 0; i < count; ++i) z[i] = z[i] < 0 ? -inner[i] : z[i];
    log1p_all(z, padded(count));
}

void take(Block& block, const WatchReadings& out) {
    const WatchRules& w = block.w;
    const auto& f = block.s.forecast;
    const size_t H = w.forecast.HORIZONS.count, Q = w.forecast.QUANTILES.count, M = w.member.TOPS.count;
    const size_t K = w.variables, rows = block.rows, count = rows * H, MIDDLE = w.forecast.MIDDLE;
    double* z = block.some;            // (rows, H)
    double* band = z + padded(count);  // (rows, 3)
    double* inner = block.others;      // (rows, H)
    double* q = block.quantiles;       // (rows, H, Q)
    for (size_t i = 0; i < rows; ++i) {
        const size_t n = block.n + i / K, k = i % K;
        for (size_t h = 0; h < H; ++h) {
            const size_t slot =
                modulo(f.made[n] - static_cast<std::int64_t>(w.forecast.HORIZONS.at[h]), w.forecast.length);
            const size_t at = slot_of(w, n, slot, k);
            const size_t waiting = waiting_of(w, n, f.made[n], h, k);
            const std::uint16_t* gaps = f.gaps + waiting * (Q - 1);
            const double middle = f.middle[waiting];
            double *each = q + (i * H + h) * Q, up = 0, down = 0;
            each[MIDDLE] = middle;
            for (size_t j = MIDDLE; j + 1 < Q; ++j) each[j + 1] = middle + (up += from_half(gaps[j]));
            for (size_t j = MIDDLE; j-- > 0;) each[j] = middle - (down += from_half(gaps[j]));
            const double scale = f.scale[at];
            z[i * H + h] = (block.value[i] - f.mean[at]) / (scale > 0 ? scale : 1);
        }
        const double* one = q + i * H * Q;
        band[3 * i] = one[1], band[3 * i + 1] = one[MIDDLE], band[3 * i + 2] = one[Q - 2];
    }
    asinh_all(z, padded(count));
    sinh_all(band, padded(rows * 3));
    surprise(w, z, q, count, inner);
    for (size_t i = 0; i < rows; ++i) {
        const size_t n = block.n + i / K, k = i % K;
        for (size_t h = 0; h < H; ++h) {
            const std::int64_t horizon = static_cast<std::int64_t>(w.forecast.HORIZONS.at[h]);
            const size_t at = slot_of(w, n, modulo(f.made[n] - horizon, w.forecast.length), k);
            const bool there = f.scale[at] > 0;
            block.y[i * M + h] = there && f.made[n] >= horizon ? z[i * H + h] : 0.0;
            if (h > 0) continue;
            const bool known = there && f.made[n] >= 1;
            double* const quantiles[3] = {out.lower, out.expected, out.upper};
            for (size_t j = 0; j < 3; ++j)
                quantiles[j][block.r + i] =
                    known ? f.mean[at] + static_cast<double>(f.scale[at]) * band[3 * i + j] : __builtin_nan("");
            out.residual[block.r + i] = block.ok[i] != 0 ? block.x[i] - out.expected[block.r + i] : __builtin_nan("");
        }
    }
}

// head (rows · H, head_size) and candidates (rows · H, 4) to found (rows · H, Q), ascending.
void quantiles(const WatchRules& w, const float* head, const double* candidates, size_t count, double* found,
               double* work) {
    const auto& f = w.forecast;
    const size_t C = f.CANDIDATES, Q = f.QUANTILES.count, G = Q - 1;
    double* share = work;                        // (count, C)
    double* spread = share + padded(count * C);  // (count)
    double* gaps = spread + padded(count);       // (count, G)
    double* soft = gaps + padded(count * G);     // (count, G)
    for (size_t i = 0; i < count; ++i) {
        const float* logits = head + i * f.head_size;
        float most = logits[0];
        for (size_t j = 1; j < C; ++j) most = maximum(most, logits[j]);
        for (size_t j = 0; j < C; ++j) share[i * C + j] = static_cast<double>(logits[j]) - static_cast<double>(most);
        spread[i] = minimum(
            maximum(f.LOG_SPREAD.at[0] * static_cast<double>(logits[C + 1]) + f.LOG_SPREAD.at[1], f.LEAST_SPREAD), 2.0);
        for (size_t j = 0; j < G; ++j) {
            gaps[i * G + j] = static_cast<double>(logits[C + 2 + j]) + f.GAP;
            soft[i * G + j] = -magnitude(gaps[i * G + j]);
        }
    }
    exp_all(share, padded(count * C));
    exp_all(spread, padded(count));
    exp_all(soft, padded(count * G));  // log(eᵍ + 1) is the larger of g and 0, and log(1 + e^-|g|)
    log1p_all(soft, padded(count * G));
    for (size_t i = 0; i < count; ++i) {
        double weighted = 0, total = 0;
        for (size_t j = 0; j < C; ++j) {
            weighted += share[i * C + j] * candidates[i * C + j];
            total += share[i * C + j];
        }
        weighted /= total;
        const double middle = weighted + f.OFFSET * static_cast<double>(head[i * f.head_size + C]);
        double* q = found + i * Q;
        const auto gap = [&](size_t j) { return (maximum(gaps[i * G + j], 0) + soft[i * G + j]) * spread[i]; };
        q[f.MIDDLE] = middle;
        double up = 0, down = 0;
        for (size_t j = f.MIDDLE; j < G; ++j) q[j + 1] = middle + (up += gap(j));
        for (size_t j = f.MIDDLE; j-- > 0;) q[j] = middle - (down += gap(j));
    }
}

void put(Block& block, const float* told, const float* head) {
    const WatchRules& w = block.w;
    const auto& f = block.s.forecast;
    const size_t H = w.forecast.HORIZONS.count, Q = w.forecast.QUANTILES.count, C = w.forecast.CANDIDATES;
    const size_t K = w.variables, rows = block.rows;
    double* found = block.some;                         // (rows, H, Q)
    double* candidates = found + padded(rows * H * Q);  // (rows, H, C)
    for (size_t i = 0; i < rows; ++i) {
        const float* row = told + (block.r + i) * (w.feature_count + w.covariates);
        for (size_t h = 0; h < H; ++h) {
            double* c = candidates + (i * H + h) * C;
            c[0] = row[0], c[1] = 0, c[2] = row[2 + 2 * h], c[3] = row[3 + 2 * h];
        }
    }
    quantiles(w, head + block.r * H * w.forecast.head_size, candidates, rows * H, found, block.others);
    for (size_t i = 0; i < rows; ++i) {
        const size_t n = block.n + i / K, r = block.r + i;
        const size_t at = slot_of(w, n, modulo(f.made[n], w.forecast.length), i % K);
        for (size_t h = 0; h < H; ++h) {
            const size_t waiting = waiting_of(w, n, f.made[n], h, i % K);
            const double* each = found + (i * H + h) * Q;
            f.middle[waiting] = static_cast<float>(each[w.forecast.MIDDLE]);
            for (size_t j = 0; j + 1 < Q; ++j) f.gaps[waiting * (Q - 1) + j] = rounded(w, each[j + 1] - each[j]);
        }
        f.mean[at] = block.s.baseline.mean[r];
        // A forecast of a row's values from its covariates is one only behind a first row.
        f.scale[at] =
            w.covariates == 0 || block.s.baseline.count[r] > 0 ? static_cast<float>(deviation(block.s, r)) : 0.0f;
    }
    for (size_t n = block.n; n < block.n + block.streams; ++n) ++f.made[n];
}

}  // namespace
}  // namespace carrousel
