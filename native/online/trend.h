// The twin of carrousel/online/trend.py, line.py and onset.py.
#pragma once

#include "block.h"

namespace carrousel {
namespace {

// Numbers of a trend, each an array of all variables; `stride` is how many these are.
enum Line { SLOPE, LEVEL, SLOPE_LOWER, SLOPE_UPPER, MARGIN, HALF };
enum Run { SUM, BLOCKS, ELAPSED, D, TD, TT, RUN_SLOPE, RUN_LEVEL, MARK };

// Of level and slope, for independent noise of variance 1 a row.
INLINE void line_variance(const double* weights, size_t stride, double& level, double& slope) {
    double s0 = weights[0], s1 = weights[stride], s2 = weights[2 * stride];
    const double q0 = weights[3 * stride], q1 = weights[4 * stride], q2 = weights[5 * stride];
    const double det = s0 * s2 - s1 * s1;
    s0 /= det, s1 /= det, s2 /= det;
    level = s2 * s2 * q0 - 2 * s2 * s1 * q1 + s1 * s1 * q2;
    slope = s1 * s1 * q0 - 2 * s1 * s0 * q1 + s0 * s0 * q2;
}

// Ascending, what is no number last.
template <class T>
INLINE void sort(T* x, size_t n) {
    for (size_t i = 1; i < n; ++i) {
        const T moved = x[i];
        size_t j = i;
        for (; j > 0 && (moved < x[j - 1] || (x[j - 1] != x[j - 1] && moved == moved)); --j) x[j] = x[j - 1];
        x[j] = moved;
    }
}

// The median of the slopes between any two of four means.
INLINE double median_slope(const double (&mean)[4]) {
    double pairs[6] = {mean[1] - mean[0],       mean[2] - mean[1],       mean[3] - mean[2],
                       (mean[2] - mean[0]) / 2, (mean[3] - mean[1]) / 2, (mean[3] - mean[0]) / 3};
    sort(pairs, 6);
    return (pairs[2] + pairs[3]) / 2;
}

void forget_trend(const WatchRules& w, const WatchState& s, size_t r) {
    const auto& t = s.trend;
    const size_t R = w.streams * w.variables;
    constexpr double none = __builtin_nan("");
    for (size_t k = 0; k < 6; ++k) t.line[k * R + r] = t.weights[k * R + r] = none;
    for (size_t k = 0; k < 2; ++k) t.bound[k * R + r] = w.trend.LEAST;
    for (size_t k = 0; k < 4; ++k) t.sums[k * R + r] = 0;
    t.elapsed[r] = 0;
    t.present[r] = static_cast<std::uint8_t>(w.trend.BLOCK - 1);
    t.blocks[r] = -1;
    for (size_t j = 0; j < w.trend.scales; ++j) t.means[j * R + r] = t.spread[j * R + r] = 0;
    for (size_t k = 0; k < 2 * WATCH_RUN; ++k) t.runs[k * R + r] = 0;
    for (size_t k = 0; k < w.trend.RECENT; ++k) t.recent[k * R + r] = 0;
    t.lost[r] = 0;
    t.since[r] = 0;
}

// The first value: a flat line through it.
void begin_trend(const WatchRules& w, const WatchState& s, size_t r, double x) {
    const auto& t = s.trend;
    const size_t R = w.streams * w.variables;
    constexpr double none = __builtin_nan("");
    const double line[6] = {0, x, none, none, 0, none}, weights[6] = {1, 0, 1, 1, 0, 1};
    for (size_t k = 0; k < 6; ++k) t.line[k * R + r] = line[k], t.weights[k * R + r] = weights[k];
    t.bound[r] = w.trend.LEAST, t.bound[R + r] = -w.trend.LEAST;
    t.sums[r] = x;
    for (size_t k = 1; k < 4; ++k) t.sums[k * R + r] = 0;
    t.elapsed[r] = 0;
    t.since[r] = 0;
    t.present[r] = 1;
}

struct Onset {
    std::int8_t change;
    double level, slope, blocks, ago, margin;
};

// The step or bend that leaves least of the squared distances from the line as it was.
Onset explain(const WatchRules& w, const double (&run)[WATCH_RUN], const double* recent, double noise) {
    const size_t count = w.trend.RECENT;
    const double BLOCK = static_cast<double>(w.trend.BLOCK), MIDDLE = w.trend.MIDDLE;
    const double blocks = run[BLOCKS], elapsed = run[ELAPSED], slope = run[RUN_SLOPE], level = run[RUN_LEVEL];
    const double duration = elapsed / blocks;
    double distance[WATCH_RECENT], total[WATCH_RECENT], size[WATCH_RECENT], share[WATCH_RECENT];
    double moment[WATCH_RECENT], squares[WATCH_RECENT];
    double most = 0;
    for (size_t i = 0; i < count; ++i) {
        const double back = static_cast<double>(count - i);  // blocks from the onset on
        const double off = recent[i] - (level + slope * (elapsed - duration * (back - 1 + MIDDLE)));
        distance[i] = back <= blocks ? off : 0.0;
        most = i == 0 ? magnitude(distance[i]) : greater(most, magnitude(distance[i]));
    }
    most = greater(most, 1e-290);
    for (size_t i = 0; i < count; ++i) distance[i] /= most;
    const double offset = 0.5 - MIDDLE;
    double sum = 0, sums = 0;
    for (size_t i = count; i-- > 0;) {
        sum = i + 1 == count ? distance[i] : sum + distance[i];
        sums = i + 1 == count ? sum : sums + sum;
        total[i] = sum;
        moment[i] = sums - sum * (0.5 - offset);
    }
    // Before all of them; steps; bends. The first of the largest, or of those that are no numbers.
    double explained[2][WATCH_RECENT + 1];
    const bool older = blocks > static_cast<double>(count);
    const double d = run[D] / most, td = run[TD] / most, grain = noise / most;
    explained[0][0] = older ? d * d / blocks : 0.0;
    explained[1][0] = (older ? td * td / run[TT] : 0.0) - grain * grain / BLOCK;
    for (size_t i = 0; i < count; ++i) {
        const double back = static_cast<double>(count - i), valid = back <= blocks ? 1.0 : 0.0;
        const double later = i + 1 < count ? total[i + 1] : 0.0;
        size[i] = back > 1 ? later / maximum(back - 1, 1) : total[i];
        share[i] = lesser(greater(distance[i] / size[i], 0), 1);
        const double step = total[i] * total[i] / back;
        const bool part = share[i] > 0 && share[i] < 1 && back > 1;
        const double inside = part ? distance[i] * distance[i] + later * size[i] : 0.0;
        explained[0][i + 1] = greater(step, inside) * valid;
        squares[i] = back * back * back / 3 - back / 12 + back * back * offset + back * (offset * offset);
        explained[1][i + 1] = moment[i] * moment[i] / squares[i] * valid - grain * grain / BLOCK;
    }
    size_t best = 0;
    double largest = explained[0][0];
    for (size_t k = 1; k < 2 * (count + 1) && largest == largest; ++k) {
        const double one = explained[k / (count + 1)][k % (count + 1)];
        if (!(one <= largest)) largest = one, best = k;
    }
    const bool is_step = best <= count;
    const size_t place = best % (count + 1), cell = place == 0 ? 0 : place - 1;
    const bool whole = place == 0;
    const double m = whole ? blocks : static_cast<double>(count + 1 - place);
    const double step = whole ? run[D] / blocks : size[cell] * most;
    const double bend = whole ? run[TD] / run[TT] : moment[cell] / squares[cell] * most / duration;
    const bool partly = is_step && !whole && m > 1;
    const double ratio = noise / step;
    const double far = is_step ? w.trend.LIMIT * (ratio * ratio)
                               : 2 * w.trend.QUANTILE * noise / magnitude(bend * duration) / __builtin_sqrt(m / BLOCK);
    return {static_cast<std::int8_t>(is_step ? 1 : 2),
            level + slope * elapsed + (is_step ? step : bend * m * duration),
            is_step ? slope : slope + bend,
            m,
            m - 1 + (partly ? share[cell] : 1.0),
            far};
}

INLINE std::int64_t whole_number(double x) {
    x = __builtin_rint(x);
    return x >= -0x1p62 && x <= 0x1p62 ? static_cast<std::int64_t>(x) : INT64_MIN;
}

// Begin the line at the onset that explains most of the distances of a run.
std::int8_t start_anew(const WatchRules& w, const WatchState& s, size_t r, size_t down, const double* recent,
                       double noise) {
    const auto& t = s.trend;
    const size_t R = w.streams * w.variables;
    double run[WATCH_RUN];
    for (size_t k = 0; k < WATCH_RUN; ++k) run[k] = t.runs[(2 * k + down) * R + r];
    const Onset onset = explain(w, run, recent, noise);
    t.line[SLOPE * R + r] = onset.slope, t.line[LEVEL * R + r] = onset.level;
    const double later = greater(onset.blocks - 1, 1);
    const double count = lesser(static_cast<double>(w.trend.BLOCK) * later, w.trend.memory);
    const double span = later * run[ELAPSED] / run[BLOCKS];
    for (size_t k = 0; k < 6; k += 3) {
        t.weights[k * R + r] = count;
        t.weights[(k + 1) * R + r] = count * span / 2;
        t.weights[(k + 2) * R + r] = count * span * span / 3 + 1;
    }
    const double rows = (static_cast<double>(t.since[r]) - run[MARK]) / run[BLOCKS];
    t.since[r] = whole_number(rows * onset.ago);
    t.line[MARGIN * R + r] = lesser(onset.margin + rows, 1e6);
    for (size_t j = 0; j < w.trend.scales; ++j) t.means[j * R + r] = 0;
    for (size_t of = 0; of < 2; ++of) {
        for (size_t k = 0; k < 6; ++k) t.runs[(2 * k + of) * R + r] = 0;
        t.runs[(2 * RUN_SLOPE + of) * R + r] = t.line[SLOPE * R + r];
        t.runs[(2 * RUN_LEVEL + of) * R + r] = t.line[LEVEL * R + r];
        t.runs[(2 * MARK + of) * R + r] = static_cast<double>(t.since[r]);
    }
    return onset.change;
}

// Renew the deviation by a block.
INLINE void rescale(const WatchRules& w, const WatchState& s, size_t r, double blocks, double x, double elapsed,
                    double absolute, double square) {
    const auto& t = s.trend;
    const size_t R = w.streams * w.variables;
    const double slope = t.line[SLOPE * R + r], level = t.line[LEVEL * R + r], BOUND = w.trend.BOUND;
    const double deviation = t.bound[r] / BOUND;
    const double gain = maximum(1 / blocks, 1 / w.trend.REMEMBERED);
    double grown = deviation * __builtin_sqrt(1 + gain * (BOUND * BOUND * square - 1));
    const double aside = magnitude(x - (level - slope * elapsed * w.trend.MIDDLE));
    const double within = 1.9 * greater(absolute - aside, 0);
    if (square > 5.0 / 9.0) grown = greater(grown, within);
    if (blocks <= static_cast<double>(w.trend.YOUNG)) grown = deviation + (within - deviation) / blocks;
    const double now = greater(grown, magnitude(level) * 0x1p-40 + w.trend.LEAST);
    t.bound[r] = BOUND * now;
    t.bound[R + r] = -BOUND * now;
}

// Put a young line through the means of its blocks.
INLINE void place_line(const WatchRules& w, const WatchState& s, size_t r, bool flat, const double* recent,
                       double elapsed) {
    const auto& t = s.trend;
    const size_t R = w.streams * w.variables;
    const double* last = recent + w.trend.RECENT - 4;
    const double slope = (flat ? 0.0 : median_slope({last[0], last[1], last[2], last[3]})) / elapsed;
    const double age = elapsed * w.trend.MIDDLE, count = static_cast<double>(w.trend.BLOCK);
    t.line[SLOPE * R + r] = slope;
    t.line[LEVEL * R + r] = last[3] + slope * age;
    for (size_t k = 0; k < 6; k += 3) {
        t.weights[k * R + r] = count;
        t.weights[(k + 1) * R + r] = count * age;
        t.weights[(k + 2) * R + r] = count * age * age + 1;
    }
}

std::int8_t judge_trend(const WatchRules& w, const WatchState& s, size_t r, std::int32_t number) {
    const auto& t = s.trend;
    const auto& rule = w.trend;
    const size_t R = w.streams * w.variables, J = rule.scales, length = rule.LONGEST + 1;
    const double BLOCK = static_cast<double>(rule.BLOCK);
    const std::int32_t YOUNG = static_cast<std::int32_t>(rule.YOUNG);
    const double x = t.sums[r] / BLOCK, absolute = t.sums[R + r] / BLOCK;
    const double z = t.sums[2 * R + r] / BLOCK, square = t.sums[3 * R + r] / BLOCK, elapsed = t.elapsed[r];
    for (size_t k = 0; k < 4; ++k) t.sums[k * R + r] = 0;
    t.elapsed[r] = 0;
    t.present[r] = 0;
    double recent[WATCH_RECENT];
    for (size_t k = 0; k + 1 < rule.RECENT; ++k) recent[k] = t.recent[(k + 1) * R + r];
    recent[rule.RECENT - 1] = x;
    for (size_t k = 0; k < rule.RECENT; ++k) t.recent[k * R + r] = recent[k];
    rescale(w, s, r, number, x, elapsed, absolute, square);
    const std::uint8_t lost = magnitude(z) > 0.9 ? static_cast<std::uint8_t>(t.lost[r] + 1) : 0;
    const bool astray = lost >= rule.LOST && number > YOUNG;
    if (astray && t.table.judge[number - YOUNG] == 0) t.blocks[r] = number = YOUNG;
    if (number <= YOUNG) place_line(w, s, r, number != YOUNG, recent, elapsed);
    t.lost[r] = astray ? 0 : lost;
    const double slope = t.line[SLOPE * R + r], level = t.line[LEVEL * R + r], high = t.bound[r];
    double of_level, of_slope;
    line_variance(t.weights + r, R, of_level, of_slope);
    const size_t k = number > YOUNG ? static_cast<size_t>(number - YOUNG) : 0;
    size_t left = J;
    double longest = 0, spreads[WATCH_LIST];
    for (size_t j = 0; j < J; ++j) {
        const size_t at = j * length + k;
        const double judge = t.table.judge[at];
        double mean = t.means[j * R + r], spread = t.spread[j * R + r];
        mean += (z - mean) * t.table.gain[at];
        const double usual = mean * mean / (t.table.variance[at] + BLOCK * of_level);
        const double known = greater(spread, rule.WHITE);
        if (left == J && judge > 0 && (usual * judge >= known || astray)) left = j;
        spread += (lesser(usual, judge > 0 ? known * rule.CLIP : INFINITE) - spread) * t.table.remember[at];
        t.means[j * R + r] = static_cast<float>(mean);
        t.spread[j * R + r] = static_cast<float>(spread);
        spreads[j] = spread;
        longest = j == 0 ? spread : greater(longest, spread);
    }
    const double grows = minimum(maximum(spreads[J - 1] / spreads[J - 2], 1), 2);
    const double noise = __builtin_sqrt(BLOCK * rule.WIDER * longest * grows) * high;
    const bool waits = t.table.judge[k] == 0;
    const double half = waits ? __builtin_nan("") : rule.QUANTILE * noise * __builtin_sqrt(of_slope);
    t.line[SLOPE_LOWER * R + r] = slope - half;
    t.line[SLOPE_UPPER * R + r] = slope + half;
    t.line[HALF * R + r] = waits ? __builtin_nan("") : rule.QUANTILE * noise * __builtin_sqrt(of_level);

    const double off = z / greater(__builtin_sqrt(spreads[0]), 0.02);
    for (size_t down = 0; down < 2; ++down) {
        double* const run = t.runs + down * R + r;
        const size_t each = 2 * R;
        const double middle = run[ELAPSED * each] + elapsed * (1 - rule.MIDDLE);
        const double distance = x - (run[RUN_LEVEL * each] + run[RUN_SLOPE * each] * middle);
        run[SUM * each] += down == 0 ? off : -off;
        run[SUM * each] -= rule.ALLOWANCE;
        run[BLOCKS * each] += 1;
        run[ELAPSED * each] += elapsed;
        run[D * each] += distance;
        run[TD * each] += middle * distance;
        run[TT * each] += middle * middle;
        if (!(run[SUM * each] <= 0 || number <= YOUNG)) continue;
        for (size_t of = 0; of < 6; ++of) run[of * each] = 0;
        run[RUN_SLOPE * each] = slope;
        run[RUN_LEVEL * each] = level;
        run[MARK * each] = static_cast<double>(t.since[r]);
    }
    if (left == J) return 0;
    const size_t down = t.means[left * R + r] < 0;
    if (!(t.runs[(2 * BLOCKS + down) * R + r] >= 2)) return 0;
    return start_anew(w, s, r, down, recent, noise);
}

// x (rows), what came; steps (rows), usual steps since the row before.
void update_trend(Block& block, const double* x, const double* steps, const WatchReadings& out) {
    const WatchRules& w = block.w;
    const auto& t = block.s.trend;
    const size_t R = w.streams * w.variables, rows = block.rows, first = block.r;
    fetch_next(block, t.line, 6);
    fetch_next(block, t.weights, 6);
    fetch_next(block, t.bound, 2);
    fetch_next(block, t.sums, 4);
    fetch_next(block, t.elapsed);
    fetch_next(block, t.since);
    const double beta = 1 - 1 / w.trend.memory, square_beta = beta * beta;
    const std::uint8_t full = static_cast<std::uint8_t>(w.trend.BLOCK);
    double* const line = t.line + first;
    double* const weights = t.weights + first;
    double* const sums = t.sums + first;
    bool closing = false;
    INDEPENDENT
    for (size_t i = 0; i < rows; ++i) {
        const double step = steps[i];
        const bool there = magnitude(x[i]) <= w.trend.LARGEST;
        const double one = there ? 1.0 : 0.0;
        double s[6];
        for (size_t k = 0; k < 6; k += 3) {
            const double sum = weights[k * R + i];
            double age = weights[(k + 1) * R + i], square = weights[(k + 2) * R + i];
            const double fade = there ? k == 0 ? beta : square_beta : 1.0;
            square += step * age;
            age += step * sum;
            square += step * age;
            s[k] = weights[k * R + i] = sum * fade + one;
            s[k + 1] = weights[(k + 1) * R + i] = age * fade;
            s[k + 2] = weights[(k + 2) * R + i] = square * fade;
        }
        const double level = line[LEVEL * R + i] + step * line[SLOPE * R + i];
        const double high = t.bound[first + i], low = t.bound[R + first + i];
        const double off = x[i] - level;
        double bounded = off < high || high != high ? off : high;  // the one that is a number, if one is
        bounded = bounded > low || low != low ? bounded : low;
        bounded *= one;
        const double z = bounded / high;
        t.elapsed[first + i] += step;
        sums[i] += there ? x[i] : 0.0;
        sums[R + i] += there ? magnitude(off) : 0.0;
        sums[2 * R + i] += there ? z : 0.0;
        sums[3 * R + i] += there ? z * z : 0.0;
        const double move = bounded / (s[0] * s[2] - s[1] * s[1]);
        line[SLOPE * R + i] += s[1] * move;
        line[LEVEL * R + i] = level + s[2] * move;
    }
    for (size_t i = 0; i < rows; ++i) {
        ++t.since[first + i];
        std::uint8_t& present = t.present[first + i];
        present = static_cast<std::uint8_t>(present + (magnitude(x[i]) <= w.trend.LARGEST));
        closing |= present == full;
        out.change[first + i] = 0;
    }
    if (closing)
        for (size_t i = 0; i < rows; ++i) {
            const size_t r = first + i;
            if (t.present[r] != full) continue;
            const std::int32_t most = static_cast<std::int32_t>(w.trend.YOUNG + w.trend.LONGEST);
            std::int32_t& blocks = t.blocks[r];
            blocks = blocks < 0 ? blocks + 1 : blocks < most ? blocks + 1 : most;
            blocks = blocks < 0 ? 0 : blocks;
            if (blocks == 0)
                begin_trend(w, block.s, r, x[i]);
            else
                out.change[r] = judge_trend(w, block.s, r, blocks);
        }
    INDEPENDENT
    for (size_t i = 0; i < rows; ++i) {
        const size_t r = first + i;
        const double level = line[LEVEL * R + i], half = line[HALF * R + i];
        out.level[r] = level;
        out.level_lower[r] = level - half;
        out.level_upper[r] = level + half;
        out.slope[r] = line[SLOPE * R + i];
        out.slope_lower[r] = line[SLOPE_LOWER * R + i];
        out.slope_upper[r] = line[SLOPE_UPPER * R + i];
    }
}

}  // namespace
}  // namespace carrousel
