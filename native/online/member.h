// The twin of carrousel/online/member.py.
#pragma once

#include "block.h"

namespace carrousel {
namespace {

#if defined(__AVX512F__)
constexpr size_t WIDE = 16;
#else
constexpr size_t WIDE = 8;
#endif
using Whole = std::int32_t __attribute__((vector_size(4 * WIDE)));
constexpr size_t TOGETHER = 3;
using Modular = std::uint32_t __attribute__((vector_size(4 * WIDE)));
using WholeLoose = std::int32_t __attribute__((vector_size(4 * WIDE), aligned(4), may_alias));

constexpr std::int32_t COUNTING[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

#if defined(__AVX512BW__)
#define OFF_PAIRS(row, now) _mm512_sub_epi16(_mm512_loadu_si512(row), _mm512_set1_epi32(now))
#define SQUARE_PAIRS(off) reinterpret_cast<Modular>(_mm512_madd_epi16(off, off))
#elif defined(__AVX2__)
#define OFF_PAIRS(row, now) \
    _mm256_sub_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(row)), _mm256_set1_epi32(now))
#define SQUARE_PAIRS(off) reinterpret_cast<Modular>(_mm256_madd_epi16(off, off))
#endif

// The squared distances, in steps, of the last rows `now` (SPAN) from the stretches that begin in each column, into
// total (KEPT, filled up); `lines` is memory to work in. The later rows of a stretch lie behind the first ones: every
// line stands once more behind itself.
INLINE void distances(const WatchRules& w, const std::int8_t* kept, const std::int32_t* now, std::int32_t* lines,
                      std::int32_t* total) {
    const size_t SPAN = w.member.SPAN, EVERY = w.member.EVERY, KEPT = w.member.KEPT;
    const size_t width = member_line(w), again = (SPAN - 1) / EVERY;
#if defined(OFF_PAIRS)
    if (EVERY % 2 == 0 && SPAN % 2 == 0) {  // two rows at once
        for (size_t line = 0; line < EVERY; line += 2) {
            const std::int8_t *one = kept + line * KEPT, *two = one + KEPT;
            std::int16_t* wide = reinterpret_cast<std::int16_t*>(lines + line / 2 * width);
            INDEPENDENT
            for (size_t k = 0; k < KEPT; ++k) wide[2 * k] = one[k], wide[2 * k + 1] = two[k];
            __builtin_memcpy(wide + 2 * KEPT, wide, again * 2 * sizeof(*wide));
        }
        for (size_t column = 0; column < KEPT; column += TOGETHER * WIDE) {
            Modular sums[TOGETHER] = {};  // numbers behind the last column are nobody's, and may overflow
            for (size_t line = 0; line < EVERY && line < SPAN; line += 2)
                for (size_t place = line, from = line / 2 * width + column; place < SPAN; place += EVERY, ++from) {
                    const std::int32_t both = (now[place] & 0xffff) | now[place + 1] * 0x10000;
#pragma GCC unroll 8
                    for (size_t part = 0; part < TOGETHER; ++part) {
                        const auto off = OFF_PAIRS(lines + from + part * WIDE, both);
                        sums[part] += SQUARE_PAIRS(off);
                    }
                }
            for (size_t part = 0; part < TOGETHER; ++part)
                *reinterpret_cast<WholeLoose*>(total + column + part * WIDE) = reinterpret_cast<Whole>(sums[part]);
        }
        return;
    }
#endif
    for (size_t line = 0; line < EVERY; ++line) {
        const std::int8_t* one = kept + line * KEPT;
        std::int32_t* wide = lines + line * width;
        INDEPENDENT
        for (size_t k = 0; k < KEPT; ++k) wide[k] = one[k];
        __builtin_memcpy(wide + KEPT, wide, again * sizeof(*wide));
    }
    for (size_t column = 0; column < KEPT; column += WIDE) {
        Modular sum = {};
        for (size_t line = 0; line < EVERY && line < SPAN; ++line)
            for (size_t place = line, from = line * width + column; place < SPAN; place += EVERY, ++from) {
                const Whole row = *reinterpret_cast<const WholeLoose*>(lines + from);
                const Modular off = reinterpret_cast<Modular>(row) - static_cast<std::uint32_t>(now[place]);
                sum += off * off;
            }
        *reinterpret_cast<WholeLoose*>(total + column) = reinterpret_cast<Whole>(sum);
    }
}

// The sum of the squared distances, in steps, from the two nearest of the stretches that ended before row t, whose
// value is among the `kept`; how many there were. `lines` is memory to work in.
double nearest(const WatchRules& w, const std::int8_t* kept, std::int64_t t, size_t& count, std::int32_t* lines) {
    const size_t SPAN = w.member.SPAN, EVERY = w.member.EVERY, KEPT = w.member.KEPT;
    const std::int64_t newest = quotient(t, EVERY), last = quotient(t - static_cast<std::int64_t>(SPAN), EVERY);
    std::int64_t first = newest - static_cast<std::int64_t>(KEPT) + 1;
    first = first > 0 ? first : 0;
    count = last >= first ? static_cast<size_t>(last - first + 1) : 0;
    if (count < w.member.FEWEST) return 0;
    std::int32_t now[WATCH_SPAN];
    const std::int64_t from = t - static_cast<std::int64_t>(SPAN) + 1;
    size_t line = modulo(from, EVERY), at = modulo(quotient(from, EVERY), KEPT);
    for (size_t place = 0; place < SPAN; ++place) {
        now[place] = kept[line * KEPT + at];
        if (++line < EVERY) continue;
        line = 0;
        at = at + 1 < KEPT ? at + 1 : 0;
    }
    std::int32_t* total = lines + EVERY * member_line(w);
    distances(w, kept, now, lines, total);
    const Whole counting = *reinterpret_cast<const WholeLoose*>(COUNTING);
    const Whole far = INT32_MAX - Whole{};
    // The columns of those that ended follow each other, the first one behind the last.
    const std::int32_t begin = static_cast<std::int32_t>(modulo(first, KEPT));
    const std::int32_t columns = static_cast<std::int32_t>(KEPT), ended = static_cast<std::int32_t>(count);
    Whole least = far, second = far;
    for (size_t column = 0; column < KEPT; column += WIDE) {
        const Whole place = counting + static_cast<std::int32_t>(column);
        const Whole since = place < begin ? place + (columns - begin) : place - begin;
        const Whole here = *reinterpret_cast<const WholeLoose*>(total + column);
        const Whole sum = (since >= ended) | (place >= columns) ? far : here;
        const Whole other = least > sum ? least : sum;
        second = second < other ? second : other;
        least = least < sum ? least : sum;
    }
    std::int32_t one[WIDE], two[WIDE];
    *reinterpret_cast<WholeLoose*>(one) = least;
    *reinterpret_cast<WholeLoose*>(two) = second;
    for (size_t half = WIDE / 2; half > 0; half /= 2)
        for (size_t l = 0; l < half; ++l) {
            const std::int32_t a = one[l], b = one[l + half], other = a > b ? a : b;
            const std::int32_t next = two[l] < two[l + half] ? two[l] : two[l + half];
            one[l] = a < b ? a : b;
            two[l] = next < other ? next : other;
        }
    return static_cast<double>(one[0]) + static_cast<double>(two[0]);
}

// The last statistic of each row before its logarithm.
void shape(Block& block, double* out, size_t stride) {
    const WatchRules& w = block.w;
    const auto& m = block.s.members;
    const size_t SPAN = w.member.SPAN, EVERY = w.member.EVERY, KEPT = w.member.KEPT, each = EVERY * KEPT;
    const double STEPS = static_cast<double>(w.member.STEPS), unit = 2.0 * static_cast<double>(SPAN) * STEPS * STEPS;
    for (size_t stream = 0, i = 0; stream < block.streams; ++stream) {
        const std::int64_t t = m.rows[block.n + stream]++;
        const size_t slot = modulo(t, EVERY) * KEPT + modulo(quotient(t, EVERY), KEPT);
        for (size_t k = 0; k < w.variables; ++k, ++i) {
            const size_t r = block.r + i;
            std::int8_t* kept = m.kept + r * each;
            fetch(kept, AHEAD * each, each);
            const double off = (block.value[i] - block.s.baseline.mean[r]) / block.scale[i];
            const double within = minimum(maximum(off, -w.member.FAR), w.member.FAR);
            kept[slot] = static_cast<std::int8_t>(__builtin_rint(STEPS * within));
            size_t count;
            const double sum = nearest(w, kept, t, count, block.lines);
            out[i * stride] = count >= w.member.FEWEST ? __builtin_sqrt(sum / unit) : 0.0;
        }
    }
}

void update_members(Block& block) {
    const WatchRules& w = block.w;
    const auto& m = block.s.members;
    const size_t rows = block.rows, M = w.member.TOPS.count, H = w.forecast.HORIZONS.count;
    const double* const all[] = {m.low, m.high, m.usual_change};
    for (const double* each : all) fetch_next(block, each);
    fetch_next(block, m.level);
    fetch_next(block, m.change);
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
        const double level = m.level[r], varies = m.change[r];
        const double moved = (minimum(maximum(off, -8), 8) - level) / static_cast<double>(w.member.LEVEL_ROWS);
        if (ok) m.level[r] = static_cast<float>(level + moved);
        plain[3 * i + 1] = magnitude(static_cast<double>(m.level[r]));

        const double step = magnitude(x - predicted[0]);
        const double ratio = minimum(step / maximum(m.usual_change[r], grain), 8);
        const double turned = (ratio - varies) / static_cast<double>(w.member.VARIANCE_ROWS);
        if (ok) m.change[r] = static_cast<float>(varies + turned);
        change[i] = (static_cast<double>(m.change[r]) + 0.02) / 1.02;
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
