// The twin of carrousel/online/beyond.py.
#pragma once

#include "block.h"

namespace carrousel {
namespace {

void learn_calm(const WatchRules& w, const WatchState& s, size_t n, const double* x, bool settled) {
    const auto& b = s.beyond;
    const size_t K = w.variables, S = w.beyond.ROWS.count;
    for (size_t k = 0; k < K; ++k) {
        const size_t r = n * K + k;
        if (magnitude(x[k]) < INFINITE) {
            double &mean = b.moments[2 * n * K + k], &square = b.moments[(2 * n + 1) * K + k];
            b.low[r] = lesser(b.low[r], x[k]);
            b.high[r] = greater(b.high[r], x[k]);
            b.count[r] += 1;
            const double off = x[k] - mean;
            mean += off / greater(b.count[r], 1);
            square += off * (x[k] - mean);
        }
        if (!settled) continue;
        for (size_t of = 0; of < S; ++of) {
            const size_t at = (n * S + of) * K + k;
            b.most[at] = greater(b.most[at], b.smooth[at]);
        }
    }
}

// Alarms by this rule in place of the promised ones.
void update_beyond(Block& block, const WatchReadings& out) {
    const WatchRules& w = block.w;
    const auto& rule = w.beyond;
    const auto& b = block.s.beyond;
    const size_t K = w.variables, S = rule.ROWS.count;
    const std::int64_t HOLD = static_cast<std::int64_t>(rule.HOLD), LONGEST = static_cast<std::int64_t>(rule.LONGEST);
    for (size_t stream = 0; stream < block.streams; ++stream) {
        const size_t n = block.n + stream;
        const double *x = block.x + stream * K, *residual = out.residual + n * K;
        const bool learns = b.taught[n] == 0;
        bool beyond = false;
        for (size_t k = 0; k < K; ++k) {
            const size_t r = n * K + k;
            const bool known = magnitude(x[k]) < INFINITE, ok = magnitude(residual[k]) < INFINITE;
            const double low = b.low[r], high = b.high[r], square = b.moments[(2 * n + 1) * K + k];
            const bool any = low <= high;
            const double size = rule.ROUNDING * greater(magnitude(any ? low : 0.0), magnitude(any ? high : 0.0));
            const double grain = rule.GRAIN * __builtin_sqrt(square / greater(b.count[r], 1)) + size;
            const double distance = ok ? magnitude(residual[k]) : 0.0;
            for (size_t of = 0; of < S; ++of) {
                const size_t at = (n * S + of) * K + k;
                const double gain = 2 / (rule.ROWS.at[of] + 1), limit = (1 + rule.share) * (b.most[at] + grain);
                const double far = learns ? INFINITE : rule.LEFT * limit / gain;
                if (ok) b.smooth[at] += gain * (lesser(distance, far) - b.smooth[at]);
                beyond |= ok && b.smooth[at] > limit;
            }
            const double span = (any ? high - low : 0.0) + size;
            beyond |= known && greater(low - x[k], x[k] - high) > rule.share * span;
        }
        const bool calms = learns || b.lasted[n] >= LONGEST;
        if (calms) learn_calm(w, block.s, n, x, b.rows[n] >= static_cast<std::int64_t>(rule.WARM));
        ++b.rows[n];
        b.taught[n] |= b.rows[n] >= static_cast<std::int64_t>(rule.LEARN) && b.table[n] == 0;
        beyond &= !learns;
        out.warming[n] |= learns;
        out.alarm[n] = beyond && b.calm[n] >= HOLD;
        b.calm[n] = beyond ? 0 : b.calm[n] < HOLD ? b.calm[n] + 1 : HOLD;
        out.incident[n] = b.calm[n] < HOLD;
        b.lasted[n] = b.calm[n] >= HOLD ? 0 : b.lasted[n] < LONGEST ? b.lasted[n] + 1 : LONGEST;
    }
}

}  // namespace
}  // namespace carrousel
