// The twin of carrousel/online/baseline.py.
#pragma once

#include "block.h"

namespace carrousel {
namespace {

// Where the habits of a time lie in the tables of day and week.
struct Bins {
    size_t day, week;
};

INLINE Bins bins(const WatchRules& w, double seconds) {
    const auto& b = w.baseline;
    const double day = modulo(seconds, b.DAY_S) * (static_cast<double>(b.DAY) / b.DAY_S);
    const double week = modulo(seconds, 7 * b.DAY_S) * (static_cast<double>(b.WEEK) / (7 * b.DAY_S));
    return {day > 0 ? smaller(static_cast<size_t>(minimum(day, static_cast<double>(b.DAY))), b.DAY - 1) : 0,
            week > 0 ? smaller(static_cast<size_t>(minimum(week, static_cast<double>(b.WEEK))), b.WEEK - 1) : 0};
}

// The habits of bins, as far as they are known: else the day's for the week, the mean for the day.
struct Habits {
    double day, week;
};

INLINE Habits habits(const WatchRules& w, const WatchState& s, size_t r, Bins at) {
    const size_t day = r * w.baseline.DAY + at.day, week = r * w.baseline.WEEK + at.week;
    const auto& b = s.baseline;
    const double of_day = b.day_visits[day] > 0 ? b.origin[r] + b.unit[r] * from_half(b.day[day]) : b.mean[r];
    return {of_day, b.week_visits[week] > 0 ? b.origin[r] + b.unit[r] * from_half(b.week[week]) : of_day};
}

INLINE std::uint16_t rounded(const WatchRules& w, double habit) {
    return to_half(static_cast<float>(minimum(maximum(habit, -w.baseline.MOST), w.baseline.MOST)));
}

INLINE double deviation(const WatchState& s, size_t r) {
    return magnitude(s.baseline.mean[r]) * 1e-9 + s.baseline.spread[r] + 1e-12;
}

INLINE void tick(const WatchRules& w, const WatchState& s, size_t n, double seconds) {
    double& time = s.baseline.time[n];
    double& interval = s.baseline.interval[n];
    const double step = maximum(seconds - time, 0.0);
    double rows = s.baseline.count[n * w.variables];
    for (size_t k = 1; k < w.variables; ++k) rows = maximum(rows, s.baseline.count[n * w.variables + k]);
    const double usual = interval + 0.05 * (minimum(step, 3 * interval) - interval);
    interval = rows < 2 ? (rows < 1 ? 0.0 : step) : usual;
    time = seconds;
}

// Tell the habits from the present mean and spread, where these are far from those before.
INLINE void follow(const WatchRules& w, const WatchState& s, size_t r) {
    const auto& b = s.baseline;
    const double mean = b.mean[r], scale = deviation(s, r), origin = b.origin[r], unit = b.unit[r];
    if (!(magnitude(mean - origin) > w.baseline.NEAR * unit || scale > w.baseline.ALIKE * unit ||
          unit > w.baseline.ALIKE * scale))
        return;
    const auto tell = [&](std::uint16_t* habits, const std::uint8_t* visits, size_t bins) {
        for (size_t k = r * bins; k < (r + 1) * bins; ++k) {
            const double moved = (origin + unit * from_half(habits[k]) - mean) / scale;
            habits[k] = visits[k] > 0 ? rounded(w, moved) : 0;
        }
    };
    tell(b.day, b.day_visits, w.baseline.DAY);
    tell(b.week, b.week_visits, w.baseline.WEEK);
    b.origin[r] = mean;
    b.unit[r] = scale;
}

INLINE void learn(const WatchRules& w, const WatchState& s, size_t r, std::uint16_t& habit, std::uint8_t& visits,
                  double value, size_t memory) {
    const double origin = s.baseline.origin[r], unit = s.baseline.unit[r];
    const double known = visits > 0 ? origin + unit * from_half(habit) : value;
    const size_t seen = smaller(static_cast<std::uint8_t>(visits + 1), memory);
    visits = static_cast<std::uint8_t>(seen);
    const double now = known + (value - known) / static_cast<double>(seen),
                 turn = s.baseline.count[r] * w.baseline.GOLDEN;
    habit = rounded(w, (now - origin) / unit * (1 + w.baseline.STEP * (turn - __builtin_floor(turn) - 0.5)));
}

void update(Block& block) {
    const WatchRules& w = block.w;
    const WatchState& s = block.s;
    const auto& b = s.baseline;
    const auto& rule = w.baseline;
    const double* const all[] = {b.count, b.mean, b.spread, b.last, b.previous, b.origin, b.unit};
    for (const double* each : all) fetch_next(block, each);
    fetch(b.error + 4 * (block.r + block.rows), 0, 4 * block.rows * sizeof(float));
    for (size_t stream = 0, i = 0; stream < block.streams; ++stream) {
        const double seconds = block.seconds[stream];
        const Bins at = bins(w, seconds);
        tick(w, s, block.n + stream, seconds);
        const size_t next = block.r + i + block.rows;  // most streams have rows of the same time
        __builtin_prefetch(b.day + next * rule.DAY + at.day);
        __builtin_prefetch(b.week + next * rule.WEEK + at.week);
        __builtin_prefetch(b.day_visits + next * rule.DAY + at.day);
        __builtin_prefetch(b.week_visits + next * rule.WEEK + at.week);
        for (size_t k = 0; k < w.variables; ++k, ++i) {
            const size_t r = block.r + i;
            const double x = block.x[i];
            const bool ok = magnitude(x) <= w.watch.LARGEST;
            block.ok[i] = ok;
            if (ok && b.count[r] == 0) b.mean[r] = b.last[r] = x;
            const double value = block.value[i] = ok ? x : b.last[r];
            const Habits habit = habits(w, s, r, at);
            double* predicted = block.predicted + 4 * i;
            double* usual = block.usual + 4 * i;
            predicted[0] = b.last[r], predicted[1] = b.mean[r], predicted[2] = habit.day, predicted[3] = habit.week;
            const double scale = block.scale[i] = deviation(s, r);
            b.count[r] += ok;
            const double count = b.count[r];
            const bool young = count <= rule.SETTLED;
            double rate = ok && count > 1 ? maximum(1 / maximum(count - 1, 1), 1 / rule.ERROR_MEMORY) : 0.0;
            for (size_t j = 0; j < 4; ++j) {
                const double error = usual[j] = b.error[4 * r + j];
                const double limit = young ? INFINITE : 10 * error + 0.5 * scale;
                const double moved = (minimum(magnitude(value - predicted[j]), limit) - error) * rate;
                b.error[4 * r + j] = static_cast<float>(error + moved);
            }
            const double reach = young ? INFINITE : 6 * scale;
            const double moved = minimum(maximum(value - b.mean[r], -reach), reach);
            rate = ok ? maximum(1 / maximum(count, 1), 1 / rule.MEMORY) : 0.0;
            b.mean[r] += rate * moved;
            if (count > 1) b.spread[r] += (magnitude(moved) - b.spread[r]) * rate;
            follow(w, s, r);
            if (ok) {
                const size_t day = r * rule.DAY + at.day, week = r * rule.WEEK + at.week;
                learn(w, s, r, b.day[day], b.day_visits[day], value, rule.DAY_MEMORY);
                learn(w, s, r, b.week[week], b.week_visits[week], value, rule.WEEK_MEMORY);
            }
            b.previous[r] = b.last[r];
            b.last[r] = value;
        }
    }
}

void features(Block& block, float* out) {
    const WatchRules& w = block.w;
    const auto& b = block.s.baseline;
    const size_t H = w.forecast.HORIZONS.count, F = w.feature_count, rows = block.rows;
    double* column = block.some;   // (2 + 2 H, rows): what passes through asinh
    double* error = block.others;  // (rows, 4)
    for (size_t stream = 0, i = 0; stream < block.streams; ++stream) {
        const size_t n = block.n + stream;
        Bins at[WATCH_LIST];
        for (size_t h = 0; h < H; ++h) at[h] = bins(w, b.time[n] + w.forecast.HORIZONS.at[h] * b.interval[n]);
        for (size_t k = 0; k < w.variables; ++k, ++i) {
            const size_t r = block.r + i;
            const double scale = deviation(block.s, r), mean = b.mean[r];
            column[i] = (b.last[r] - mean) / scale;
            column[rows + i] = (b.last[r] - b.previous[r]) / scale;
            for (size_t h = 0; h < H; ++h) {
                const Habits habit = habits(w, block.s, r, at[h]);
                column[(2 + 2 * h) * rows + i] = (habit.day - mean) / scale;
                column[(3 + 2 * h) * rows + i] = (habit.week - mean) / scale;
            }
            for (size_t j = 0; j < 4; ++j)
                error[4 * i + j] = maximum(static_cast<double>(b.error[4 * r + j]) / scale, 1e-3);
            float* known = out + r * F + 2 + 2 * H + 4;
            const size_t day = r * w.baseline.DAY + at[0].day, week = r * w.baseline.WEEK + at[0].week;
            known[0] = static_cast<float>(minimum(b.day_visits[day] / 10.0, 1));
            known[1] = static_cast<float>(minimum(b.week_visits[week] / 5.0, 1));
            known[2] = static_cast<float>(minimum(b.count[r] / 1000, 1));
            known[3] = block.ok[i] != 0 ? 0.0f : 1.0f;
        }
    }
    asinh_all(column, padded((2 + 2 * H) * rows));
    log_all(error, padded(4 * rows));
    for (size_t i = 0; i < rows; ++i) {
        float* row = out + (block.r + i) * F;
        for (size_t c = 0; c < 2 + 2 * H; ++c) row[c] = static_cast<float>(column[c * rows + i]);
        for (size_t j = 0; j < 4; ++j)
            row[2 + 2 * H + j] = static_cast<float>(minimum(maximum(error[4 * i + j] / 2, -3.5), 1.0));
    }
}

}  // namespace
}  // namespace carrousel
