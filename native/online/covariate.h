// The twin of carrousel/online/covariate.py.
#pragma once

#include "baseline.h"

namespace carrousel {
namespace {

// The features of the last row beside the covariates of this one, told (N · K, F + P) of values (N, K + P); a missing
// one is as it was last.
void join_covariates(const WatchRules& w, const WatchState& s, size_t first, size_t streams, const double* values,
                     float* told) {
    const auto& c = s.covariates;
    const size_t P = w.covariates, K = w.variables, F = w.feature_count;
    for (size_t n = first; n < first + streams; ++n) {
        const double* given = values + n * (K + P) + K;
        float* last = c.last + n * P;
        for (size_t p = 0; p < P; ++p) {
            const bool known = c.scale[p] > 0;
            const double scaled = known ? asinh_of((given[p] - c.mean[p]) / c.scale[p]) : 0.0;
            if (magnitude(scaled) < INFINITE) last[p] = static_cast<float>(scaled);
        }
        for (size_t r = n * K; r < (n + 1) * K; ++r) {
            float* row = told + r * (F + P);
            __builtin_memcpy(row, c.waiting + r * F, F * sizeof(float));
            __builtin_memcpy(row + F, last, P * sizeof(float));
        }
    }
}

// The statistics of residuals (rows), NaN where there is none, behind those of the members; and learn from them.
void update_residuals(Block& block, const double* residual) {
    const WatchRules& w = block.w;
    const auto& rule = w.covariate;
    const size_t rows = block.rows, M = w.member.TOPS.count;
    double* plain = block.some;  // (rows, 2): what passes through log(1 + x)
    for (size_t i = 0; i < rows; ++i) {
        const size_t r = block.r + i;
        double &usual = block.s.residuals.usual[r], &sustained = block.s.residuals.sustained[r];
        double& seen = block.s.residuals.seen[r];
        const bool ok = magnitude(residual[i])<INFINITE, old = seen> rule.SETTLED;
        const double size = ok ? magnitude(residual[i]) : 0.0, grain = rule.GRAIN * block.scale[i];
        const double ratio = size / greater(usual, grain), fresh = 1 / (seen + 1), one = ok ? 1.0 : 0.0;
        sustained += greater(fresh, 1 / rule.SUSTAINED_ROWS) * one * (lesser(ratio, rule.MOST) - sustained);
        plain[2 * i] = ok && old ? ratio : 0.0;
        plain[2 * i + 1] = old ? sustained : 0.0;
        const double reach = old ? 10 * usual + grain : INFINITE;
        usual += greater(fresh, 1 / rule.MEMORY) * one * (lesser(size, reach) - usual);
        seen += one;
    }
    log1p_all(plain, padded(rows * 2));
    for (size_t i = 0; i < rows; ++i)
        for (size_t j = 0; j < 2; ++j) block.y[i * M + M - 2 + j] = plain[2 * i + j];
}

}  // namespace
}  // namespace carrousel
