// The twin of carrousel/online/member.py.
#pragma once

#include "block.h"

namespace carrousel {
namespace {

// Where the stretch of a number is kept: the first ones in order, then at random, the same for the same number.
INLINE size_t slot_of(const WatchRules& w, std::int64_t number) {
    if (number < static_cast<std::int64_t>(w.member.KEPT)) return modulo(number, w.member.KEPT);
    return ((static_cast<std::uint64_t>(number) * 0x9E3779B97F4A7C15u) >> 40) % w.member.KEPT;
}

// √ of the mean square distance to the two nearest of `filled` kept stretches, at least two where it matters. So many
// floats `ahead` lie those of a later row, asked for in parts: all at once they would be waited for.
INLINE double nearest(const float* kept, const float* stretch, size_t span, size_t filled, size_t ahead) {
    constexpr float far = __builtin_inff();
    v8 least = far - v8{}, second = least;
    for (size_t from = 0; from < filled; from += 8) {
        fetch(kept + from * span, ahead * sizeof(float), 8 * span * sizeof(float));
        const float* rows[8];
        for (size_t l = 0; l < 8; ++l) rows[l] = kept + smaller(from + l, filled - 1) * span;
        v8 total = {};
        for (size_t place = 0; place < span;) {
            const size_t column = smaller(place, span - 8);  // the last eight columns may have been here in part
            v8 columns[8];
            transpose(rows, column, columns);
            if (column == place) {
#pragma GCC unroll 8
                for (size_t j = 0; j < 8; ++j, ++place) {
                    const v8 off = columns[j] - stretch[place];
                    total += off * off;
                }
            } else {
                for (size_t j = place - column; j < 8; ++j, ++place) {
                    const v8 off = columns[j] - stretch[place];
                    total += off * off;
                }
            }
        }
        for (size_t l = filled - from; l < 8; ++l) total[l] = far;
        const v8 other = least > total ? least : total;
        second = second < other ? second : other;
        least = least < total ? least : total;
    }
    float one = far, two = far;
    for (int l = 0; l < 8; ++l) {
        two = minimum(two, maximum(one, least[l]));
        one = minimum(one, least[l]);
        two = minimum(two, maximum(one, second[l]));
    }
    return __builtin_sqrt((static_cast<double>(one) + static_cast<double>(two)) / static_cast<double>(2 * span));
}

// The last statistic of each row before its logarithm.
void shape(Block& block, double* out, size_t stride) {
    const WatchRules& w = block.w;
    const auto& m = block.s.members;
    const size_t span = w.member.SPAN, KEPT = w.member.KEPT;
    for (size_t stream = 0, i = 0; stream < block.streams; ++stream) {
        std::int64_t& rows = m.rows[block.n + stream];
        const std::int64_t number = quotient(rows, w.member.EVERY);
        const size_t filled = number < 0 ? 0 : smaller(static_cast<size_t>(number), KEPT);
        ++rows;
        const bool due = modulo(rows, w.member.EVERY) == 0;
        for (size_t k = 0; k < w.variables; ++k, ++i) {
            const size_t r = block.r + i;
            float* stretch = m.stretch + r * span;
            float* kept = m.kept + r * KEPT * span;
            __builtin_memmove(stretch, stretch + 1, (span - 1) * sizeof(float));
            const double off = (block.value[i] - block.s.baseline.mean[r]) / block.scale[i];
            stretch[span - 1] = static_cast<float>(minimum(maximum(off, -6), 6));
            out[i * stride] = filled > 8 ? nearest(kept, stretch, span, filled, AHEAD * KEPT * span) : 0.0;
            if (due)
                __builtin_memcpy(kept + slot_of(w, quotient(rows, w.member.EVERY) - 1) * span, stretch,
                                 span * sizeof(float));
        }
    }
}

void update_members(Block& block) {
    const WatchRules& w = block.w;
    const auto& m = block.s.members;
    const size_t rows = block.rows, M = w.member.TOPS.count, H = w.forecast.HORIZONS.count;
    double* plain = block.some;     // (rows, 3): what passes through log(1 + x): range, level, shape
    double* change = block.others;  // (rows): and through log
    for (size_t i = 0; i < rows; ++i) {
        const size_t r = block.r + i;
        const double x = block.value[i], scale = block.scale[i], count = block.s.baseline.count[r];
        const double *predicted = block.predicted + 4 * i, *usual = block.usual + 4 * i;
        const bool ok = block.ok[i] != 0;
        const double grain = 0.02 * scale;
        const bool old = count > w.member.SETTLED;
        const double span = m.high[r] >= m.low[r] ? m.high[r] - m.low[r] : 0.0;
        const double beyond = maximum(maximum(x - m.high[r], m.low[r] - x), 0);
        plain[3 * i] = count > 20 ? beyond / maximum(span, 1e-3 * scale) : 0.0;
        if (ok) {
            m.low[r] = minimum(m.low[r], x);
            m.high[r] = maximum(m.high[r], x);
        }

        size_t best = 1;
        if (count > w.member.SEASONED)
            for (size_t j = 2; j < 4; ++j) best = usual[j] < usual[best] ? j : best;
        const double off = (x - predicted[best]) / maximum(usual[best], grain);
        if (ok) m.level[r] += (minimum(maximum(off, -8), 8) - m.level[r]) / static_cast<double>(w.member.LEVEL_ROWS);
        plain[3 * i + 1] = magnitude(m.level[r]);

        const double step = magnitude(x - predicted[0]);
        const double ratio = minimum(step / maximum(m.usual_change[r], grain), 8);
        if (ok) m.change[r] += (ratio - m.change[r]) / static_cast<double>(w.member.VARIANCE_ROWS);
        change[i] = (m.change[r] + 0.02) / 1.02;
        const double rate = ok && count > 1 ? maximum(1 / maximum(count - 1, 1), 1 / 500.0) : 0.0;
        const double reach = old ? 10 * m.usual_change[r] + 0.05 * scale : INFINITE;
        m.usual_change[r] += rate * (minimum(step, reach) - m.usual_change[r]);
    }
    shape(block, plain + 2, 3);
    log1p_all(plain, padded(rows * 3));
    log_all(change, padded(rows));
    for (size_t i = 0; i < rows; ++i) {
        double* y = block.y + i * M + H;
        y[0] = plain[3 * i];
        y[1] = plain[3 * i + 1];
        y[2] = magnitude(change[i]);
        y[3] = plain[3 * i + 2];
    }
}

}  // namespace
}  // namespace carrousel
