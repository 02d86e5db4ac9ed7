// The twin of carrousel/online/season.py.
#pragma once

#include "block.h"

namespace carrousel {
namespace {

// Numbers of which the upper bits of float32 are kept, 16 or 24.
INLINE double from_upper(std::uint16_t upper, std::uint8_t rest = 0) {
    return __builtin_bit_cast(float, static_cast<std::uint32_t>(upper) << 16 | static_cast<std::uint32_t>(rest) << 8);
}

template <unsigned dropped>
INLINE double to_upper(double x, std::uint16_t& upper, std::uint8_t& rest) {
    std::uint32_t bits = __builtin_bit_cast(std::uint32_t, static_cast<float>(x));
    bits = (bits + ((1U << (dropped - 1)) - 1) + (bits >> dropped & 1)) >> dropped << dropped;
    upper = static_cast<std::uint16_t>(bits >> 16);
    rest = static_cast<std::uint8_t>(bits >> 8);
    return __builtin_bit_cast(float, bits);
}

INLINE double unbiased(const WatchRules& w, double visits) {
    const double n = minimum(visits, w.season.MEMORY);
    return n / maximum(n - 1, 1);
}

// Of the visits of a part about their mean, drawn towards that of all parts.
INLINE double variance_of(const WatchRules& w, double spread, double visits, double common) {
    const double own = maximum(visits - 1, 0);
    return (w.season.PRIOR * common + own * spread * unbiased(w, visits)) / (w.season.PRIOR + own);
}

// The sums over all parts of a cycle, or what one adds to them.
enum Sum { LATEST, MEAN, VARIANCE, ERROR, SQUARE, VISITED, KNOWN };
struct Sums {
    double of[WATCH_SUMS];
};

INLINE Sums share_of(const WatchRules& w, double latest, double mean, double spread, double visits) {
    const double old = visits - 1;
    const double own = old > 1 ? spread * unbiased(w, old) : 0.0;
    const bool known = old >= static_cast<double>(w.season.LEAST_VISITS);
    return {{latest, mean, own, own / maximum(old, 1), mean * mean, visits > 0 ? 1.0 : 0.0, known ? 1.0 : 0.0}};
}

INLINE Sums read_sums(const WatchRules& w, const WatchState& s, size_t r) {
    Sums sums;
    for (size_t k = 0; k < WATCH_SUMS; ++k) sums.of[k] = s.season.sums[k * w.streams * w.variables + r];
    return sums;
}

INLINE void write_sums(const WatchRules& w, const WatchState& s, size_t r, const Sums& sums) {
    for (size_t k = 0; k < WATCH_SUMS; ++k) s.season.sums[k * w.streams * w.variables + r] = sums.of[k];
}

INLINE void add(Sums& to, const Sums& more) {
    for (size_t k = 0; k < WATCH_SUMS; ++k) to.of[k] += more.of[k];
}

INLINE void subtract(Sums& from, const Sums& less) {
    for (size_t k = 0; k < WATCH_SUMS; ++k) from.of[k] -= less.of[k];
}

// Parts of a cycle of so many rows: as many, or as many as divide it where some of at least half of the bins do.
INLINE size_t parts_of(const WatchRules& w, double rows) {
    const size_t bins = w.season.BINS, count = rows > 0 ? static_cast<size_t>(minimum(rows, 1e9)) : 0;
    if (count <= bins) return count;
    for (size_t parts = bins; parts > bins / 2; --parts)
        if (count % parts == 0) return parts;
    return bins;
}

// Say of a stream that has no parts yet how many there are.
void begin_season(const WatchRules& w, const WatchState& s, size_t n, double interval) {
    const auto& rule = w.season;
    const auto& of = s.season;
    const std::int64_t settled = static_cast<std::int64_t>(rule.SETTLED);
    double rows = __builtin_trunc(rule.period);
    if (!(of.rows[n] <= settled)) return;
    if (rule.clock) {
        if (of.rows[n] != settled || !(interval > 0)) return;
        const double fewest = static_cast<double>(rule.FEWEST_PARTS);
        const double length = interval <= rule.WEEK_S / fewest ? rule.WEEK_S : 0.0;
        if (rule.period == 0) of.period[n] = interval <= rule.DAY_S / fewest ? rule.DAY_S : length;
        rows = __builtin_rint(of.period[n] / interval);
    }
    const size_t parts = parts_of(w, rows);
    of.parts[n] = parts >= rule.FEWEST_PARTS ? static_cast<std::uint8_t>(parts) : 0;
    of.part[n] = -1;
}

// Take in a visit of a part.
void learn_visit(const WatchRules& w, const WatchState& s, size_t r, size_t part, double parts, double visit) {
    const auto& rule = w.season;
    const size_t cell = part * w.streams * w.variables + r;
    const double visits = s.season.visits[cell], old = visits - 1;
    const double m = from_upper(s.season.mean[cell], s.season.mean_rest[cell]);
    const double last = from_upper(s.season.latest[cell], s.season.latest_rest[cell]);
    const double v = from_upper(s.season.spread[cell]);
    Sums sums = read_sums(w, s, r);
    const double deviation = __builtin_sqrt(variance_of(w, v, old, sums.of[VARIANCE] / parts));
    const bool sure = old >= static_cast<double>(rule.SURE);
    const double centre = sums.of[LATEST] / parts + m, reach = sure ? rule.FARTHER * deviation : INFINITE;
    visit = to_upper<8>(lesser(greater(visit, centre - reach), centre + reach), s.season.latest[cell],
                        s.season.latest_rest[cell]);
    const bool learns = sums.of[VISITED] + (visits == 0 ? 1.0 : 0.0) == parts && visits > 0;
    const double now = learns ? minimum(visits + 1, 2 * rule.MEMORY) : 1.0;
    s.season.visits[cell] = static_cast<std::uint8_t>(now);
    double mean = m, spread = v;
    if (learns) {
        const double n = maximum(minimum(now - 1, rule.MEMORY), 1);
        const double far = sure ? rule.FAR * deviation : INFINITE;
        const double off = lesser(greater(visit - (sums.of[LATEST] + visit - last) / parts - m, -far), far);
        mean = to_upper<8>(m + off / n, s.season.mean[cell], s.season.mean_rest[cell]);
        std::uint8_t none;
        spread = to_upper<16>(v + (off * off * (n - 1) / n - v) / n, s.season.spread[cell], none);
    }
    add(sums, share_of(w, visit, mean, spread, now));
    subtract(sums, share_of(w, last, m, v, visits));
    write_sums(w, s, r, sums);
}

// Renew the sums over all parts: what was added and taken away again must not leave its rounding behind.
void add_up(const WatchRules& w, const WatchState& s, size_t r, size_t parts) {
    Sums sums{};
    for (size_t b = 0; b < w.season.BINS && b < parts; ++b) {
        const size_t cell = b * w.streams * w.variables + r;
        const Sums more = share_of(w, from_upper(s.season.latest[cell], s.season.latest_rest[cell]),
                                   from_upper(s.season.mean[cell], s.season.mean_rest[cell]),
                                   from_upper(s.season.spread[cell]), s.season.visits[cell]);
        add(sums, more);
    }
    write_sums(w, s, r, sums);
}

// What the part that begins adds: season, half its interval, and its share.
INLINE void say(const WatchRules& w, const WatchState& s, size_t r, size_t part, size_t parts, double (&said)[3]) {
    const size_t cell = part * w.streams * w.variables + r;
    const Sums sums = read_sums(w, s, r);
    const double count = static_cast<double>(parts);
    said[0] = said[1] = __builtin_nan(""), said[2] = 0;
    if (parts == 0 || sums.of[KNOWN] != count) return;
    const double old = s.season.visits[cell] - 1.0;
    const double variance = variance_of(w, from_upper(s.season.spread[cell]), old, sums.of[VARIANCE] / count);
    const double size = sums.of[SQUARE] - sums.of[MEAN] * sums.of[MEAN] / count;
    said[0] = from_upper(s.season.mean[cell], s.season.mean_rest[cell]) - sums.of[MEAN] / count;
    said[1] = w.season.QUANTILE * __builtin_sqrt(variance / maximum(old, 1));
    said[2] = size > sums.of[ERROR] ? 1 - sums.of[ERROR] / size : 0.0;
}

// End the visit of a stream's variables, and say what the part that begins adds.
void turn(const WatchRules& w, const WatchState& s, size_t n, size_t part, size_t parts) {
    const auto& of = s.season;
    const size_t R = w.streams * w.variables;
    const std::int64_t last = static_cast<std::int64_t>(w.season.BINS) - 1;
    const std::int64_t before = of.part[n] < last ? std::int64_t{of.part[n]} : last;
    for (size_t r = n * w.variables; r < (n + 1) * w.variables; ++r) {
        const double count = of.visit[R + r], value = of.visit[r] / count;
        if (of.origin[r] != of.origin[r] && count > 0) of.origin[r] = value;
        if (count > 0 && before >= 0 && parts > 0) {
            const double far = w.season.FARTHEST;
            const double visit = lesser(greater(value - of.origin[r], -far), far);
            learn_visit(w, s, r, static_cast<size_t>(before), static_cast<double>(parts), visit);
        }
        if (static_cast<std::int64_t>(part) < before) add_up(w, s, r, parts);
        double said[3];
        say(w, s, r, part, parts, said);
        for (size_t k = 0; k < 3; ++k) of.said[k * R + r] = static_cast<float>(said[k]);
        of.visit[r] = of.visit[R + r] = 0;
    }
    of.part[n] = static_cast<std::int16_t>(part);
}

void forget_trend(const WatchRules& w, const WatchState& s, size_t r);

// Takes the rows in; rest (rows) are those that a trend is to see: without the season, from where on it is clear that
// there is one. There the trend begins anew.
void update_season(Block& block, const WatchReadings& out, double* rest) {
    const WatchRules& w = block.w;
    const WatchState& s = block.s;
    const auto& of = s.season;
    const size_t R = w.streams * w.variables, bins = w.season.BINS;
    fetch_next(block, of.visit, 2);
    fetch_next(block, of.said, 3);
    for (size_t stream = 0, i = 0; stream < block.streams; ++stream) {
        const size_t n = block.n + stream;
        if (of.parts[n] == 0) begin_season(w, s, n, s.baseline.interval[n]);
        const double position = w.season.clock ? block.seconds[stream] : static_cast<double>(of.rows[n]);
        const size_t parts = smaller(of.parts[n], bins);
        const double own = of.period[n] > 0 ? of.period[n] : 1.0;
        const double place = modulo(position, own) / own * static_cast<double>(parts);
        const size_t part = place > 0 ? smaller(static_cast<size_t>(minimum(place, 255)), bins - 1) : 0;
        ++of.rows[n];
        if (static_cast<std::int64_t>(part) != of.part[n]) turn(w, s, n, part, parts);
        for (size_t k = 0; k < w.variables; ++k, ++i) {
            const size_t r = block.r + i;
            const double x = block.x[i];
            const bool there = magnitude(x) <= w.season.LARGEST;
            of.visit[r] += there ? x : 0.0;
            of.visit[R + r] += there;
            const double season = of.said[r], half = of.said[R + r], share = of.said[2 * R + r];
            out.season[r] = season;
            out.season_lower[r] = season - half;
            out.season_upper[r] = season + half;
            if (share > w.season.CLEAR && of.apart[r] == 0) {
                forget_trend(w, s, r);
                of.apart[r] = 1;
            }
            rest[i] = of.apart[r] != 0 && share > 0 ? x - share * season : x;
        }
    }
}

}  // namespace
}  // namespace carrousel
