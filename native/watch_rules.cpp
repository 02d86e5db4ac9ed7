// Constants and arrays held to what the kernels take for granted.
#include "watch_rules.h"

#include <algorithm>
#include <cmath>

#include "architecture.h"

namespace carrousel {

namespace {

constexpr double LONGEST = 1 << 20;  // of what is counted

class Numbers {
public:
    explicit Numbers(const WatchNumbers& all) : all_(all) {}

    void read(const std::string& name, double& into) const { into = list(name, 1, 1).front(); }
    void read(const std::string& name, std::size_t& into) const {
        const double value = list(name, 1, 1).front();
        if (!(value >= 1 && value <= LONGEST && value == std::floor(value)))
            throw Error("watch: expected a positive integer " + name + ", got " + std::to_string(value));
        into = static_cast<std::size_t>(value);
    }
    void read(const std::string& name, WatchList& into, std::size_t least) const {
        const std::vector<double>& values = list(name, least, WATCH_LIST);
        std::copy(values.begin(), values.end(), into.at);
        into.count = values.size();
    }

private:
    const std::vector<double>& list(const std::string& name, std::size_t least, std::size_t most) const {
        const auto found = all_.find(name);
        if (found == all_.end() || found->second.size() < least || found->second.size() > most)
            throw Error("watch: expected " + std::to_string(least) + " to " + std::to_string(most) + " numbers " +
                        name);
        return found->second;
    }
    const WatchNumbers& all_;
};

class Arrays {
public:
    explicit Arrays(const WatchArrays& all) : all_(all) {}

    std::size_t size(const std::string& name) const {
        const auto found = all_.find(name);
        return found == all_.end() ? 0 : found->second.size;
    }
    void find(const std::string& name, double*& into, std::size_t size) const { into = of<double>(name, 'd', size); }
    void find(const std::string& name, float*& into, std::size_t size) const { into = of<float>(name, 'f', size); }
    void find(const std::string& name, std::int64_t*& into, std::size_t size) const {
        into = of<std::int64_t>(name, 'l', size);
    }
    void find(const std::string& name, std::int32_t*& into, std::size_t size) const {
        into = of<std::int32_t>(name, 'i', size);
    }
    void find(const std::string& name, std::int16_t*& into, std::size_t size) const {
        into = of<std::int16_t>(name, 'h', size);
    }
    void find(const std::string& name, std::uint16_t*& into, std::size_t size, char kind = 'H') const {
        into = of<std::uint16_t>(name, kind, size);
    }
    void find(const std::string& name, std::int8_t*& into, std::size_t size) const {
        into = of<std::int8_t>(name, 'b', size);
    }
    void find(const std::string& name, std::uint8_t*& into, std::size_t size) const {
        into = of<std::uint8_t>(name, 'B', size);
    }
    void find(const std::string& part, WatchTail& into, std::size_t rows, std::size_t bins) const {
        find(part + ".counts", into.counts, bins * rows);
        find(part + ".weight", into.weight, rows);
        find(part + ".seen", into.seen, rows);
    }
    void find(const std::string& part, WatchDrift& into, std::size_t rows, const WatchRules& w) const {
        const std::size_t edges = w.drift.RANKS.count;
        find(part + ".present", into.present, rows);
        find(part + ".above", into.above, edges * rows);
        find(part + ".blocks", into.blocks, rows);
        find(part + ".edge", into.edge, edges * rows);
        find(part + ".learnt", into.learnt, (1 + 2 * w.drift.scales) * edges * rows);
        find(part + ".score", into.score, rows);
    }
    void find(const std::string& name, WatchMoving& into, std::size_t scales, std::size_t longest) const {
        const std::size_t each = scales * (longest + 1);
        find(name, into.gain, 4 * each);
        into.variance = into.gain + each;
        into.remember = into.variance + each;
        into.judge = into.remember + each;
    }

private:
    template <class T>
    T* of(const std::string& name, char kind, std::size_t size) const {
        const auto found = all_.find(name);
        if (found == all_.end() || found->second.kind != kind || found->second.size != size)
            throw Error("watch: expected an array " + name + " of " + std::to_string(size) + " numbers, '" + kind +
                        "'");
        return static_cast<T*>(found->second.data);
    }
    const WatchArrays& all_;
};

}  // namespace

WatchRules read_rules(const WatchNumbers& all, const WatchArrays& given, std::size_t streams, std::size_t variables) {
    const Numbers numbers(all);
    const Arrays arrays(given);
    WatchRules w{};
    w.streams = streams;
    w.variables = variables;
    w.covariates = arrays.size("covariates.scale");
    w.by_beyond = arrays.size("beyond.calm") > 0;
    double per_second = 0;
    numbers.read("rate", w.rate);
    numbers.read("factor", w.factor);
    numbers.read("per_second", per_second);
    w.per_second = per_second != 0;
    numbers.read("baseline.DAY", w.baseline.DAY);
    numbers.read("baseline.WEEK", w.baseline.WEEK);
    numbers.read("baseline.DAY_S", w.baseline.DAY_S);
    numbers.read("baseline.MEMORY", w.baseline.MEMORY);
    numbers.read("baseline.ERROR_MEMORY", w.baseline.ERROR_MEMORY);
    numbers.read("baseline.DAY_MEMORY", w.baseline.DAY_MEMORY);
    numbers.read("baseline.WEEK_MEMORY", w.baseline.WEEK_MEMORY);
    numbers.read("baseline.SETTLED", w.baseline.SETTLED);
    numbers.read("baseline.NEAR", w.baseline.NEAR);
    numbers.read("baseline.ALIKE", w.baseline.ALIKE);
    numbers.read("baseline.MOST", w.baseline.MOST);
    numbers.read("baseline.STEP", w.baseline.STEP);
    numbers.read("baseline.GOLDEN", w.baseline.GOLDEN);
    numbers.read("forecast.HORIZONS", w.forecast.HORIZONS, 1);
    numbers.read("forecast.QUANTILES", w.forecast.QUANTILES, 3);
    numbers.read("forecast.LOG_SPREAD", w.forecast.LOG_SPREAD, 2);
    numbers.read("forecast.CANDIDATES", w.forecast.CANDIDATES);
    numbers.read("forecast.OFFSET", w.forecast.OFFSET);
    numbers.read("forecast.LEAST_SPREAD", w.forecast.LEAST_SPREAD);
    numbers.read("forecast.GAP", w.forecast.GAP);
    numbers.read("member.TOPS", w.member.TOPS, 1);
    numbers.read("member.LEVEL_ROWS", w.member.LEVEL_ROWS);
    numbers.read("member.VARIANCE_ROWS", w.member.VARIANCE_ROWS);
    numbers.read("member.SPAN", w.member.SPAN);
    numbers.read("member.KEPT", w.member.KEPT);
    numbers.read("member.EVERY", w.member.EVERY);
    numbers.read("member.STEPS", w.member.STEPS);
    numbers.read("member.FEWEST", w.member.FEWEST);
    numbers.read("member.FAR", w.member.FAR);
    numbers.read("member.SEASONED", w.member.SEASONED);
    numbers.read("member.SETTLED", w.member.SETTLED);
    numbers.read("tail.BINS", w.tail.BINS);
    numbers.read("tail.TAIL", w.tail.TAIL);
    numbers.read("tail.PRIOR", w.tail.PRIOR);
    numbers.read("tail.EXCESS", w.tail.EXCESS);
    numbers.read("tail.MEMORY", w.tail.MEMORY);
    numbers.read("tail.YOUNG", w.tail.YOUNG);
    numbers.read("tail.FULL", w.tail.FULL);
    numbers.read("alarm.HOLD", w.alarm.HOLD);
    numbers.read("alarm.PART", w.alarm.PART);
    numbers.read("alarm.WARM", w.alarm.WARM);
    numbers.read("alarm.CALM", w.alarm.CALM);
    numbers.read("alarm.SECOND", w.alarm.SECOND);
    numbers.read("alarm.TOP", w.alarm.TOP);
    numbers.read("alarm.EXCESSES", w.alarm.EXCESSES);
    numbers.read("alarm.ELSEWHERE_ROWS", w.alarm.ELSEWHERE_ROWS);
    numbers.read("alarm.ELSEWHERE", w.alarm.ELSEWHERE, 2);
    numbers.read("alarm.ORDINARY", w.alarm.ORDINARY);
    numbers.read("watch.LARGEST", w.watch.LARGEST);
    numbers.read("watch.SHORTEST", w.watch.SHORTEST);
    numbers.read("watch.LONGEST", w.watch.LONGEST);
    double clock = 0;
    numbers.read("season.clock", clock);
    w.season.clock = clock != 0;
    numbers.read("season.period", w.season.period);
    numbers.read("season.BINS", w.season.BINS);
    numbers.read("season.LEAST_VISITS", w.season.LEAST_VISITS);
    numbers.read("season.SURE", w.season.SURE);
    numbers.read("season.SETTLED", w.season.SETTLED);
    numbers.read("season.FEWEST_PARTS", w.season.FEWEST_PARTS);
    numbers.read("season.MEMORY", w.season.MEMORY);
    numbers.read("season.FAR", w.season.FAR);
    numbers.read("season.FARTHER", w.season.FARTHER);
    numbers.read("season.PRIOR", w.season.PRIOR);
    numbers.read("season.QUANTILE", w.season.QUANTILE);
    numbers.read("season.CLEAR", w.season.CLEAR);
    numbers.read("season.HUGE", w.season.FARTHEST);
    numbers.read("season.DAY_S", w.season.DAY_S);
    numbers.read("season.WEEK_S", w.season.WEEK_S);
    numbers.read("season.LARGEST", w.season.LARGEST);
    WatchList scales{};
    numbers.read("trend.SCALES", scales, 2);
    w.trend.scales = scales.count;
    numbers.read("trend.YOUNG", w.trend.YOUNG);
    numbers.read("trend.LONGEST", w.trend.LONGEST);
    numbers.read("trend.LOST", w.trend.LOST);
    numbers.read("onset.BLOCK", w.trend.BLOCK);
    numbers.read("onset.RECENT", w.trend.RECENT);
    numbers.read("trend.LARGEST", w.trend.LARGEST);
    numbers.read("trend.LEAST", w.trend.LEAST);
    numbers.read("trend.BOUND", w.trend.BOUND);
    numbers.read("trend.REMEMBERED", w.trend.REMEMBERED);
    numbers.read("trend.CLIP", w.trend.CLIP);
    numbers.read("trend.WHITE", w.trend.WHITE);
    numbers.read("trend.WIDER", w.trend.WIDER);
    numbers.read("onset.MIDDLE", w.trend.MIDDLE);
    numbers.read("onset.QUANTILE", w.trend.QUANTILE);
    numbers.read("onset.ALLOWANCE", w.trend.ALLOWANCE);
    numbers.read("onset.LIMIT", w.trend.LIMIT);
    numbers.read("trend.memory", w.trend.memory);
    numbers.read("drift.SCALES", scales, 1);
    w.drift.scales = scales.count;
    numbers.read("drift.BLOCK", w.drift.BLOCK);
    numbers.read("drift.SAMPLES", w.drift.SAMPLES);
    numbers.read("drift.LOWER", w.drift.LOWER);
    numbers.read("drift.LONGEST", w.drift.LONGEST);
    numbers.read("drift.RANKS", w.drift.RANKS, 1);
    numbers.read("drift.CLIP", w.drift.CLIP);
    numbers.read("drift.SKEW", w.drift.SKEW);
    if (w.covariates > 0) {
        numbers.read("covariate.SUSTAINED_ROWS", w.covariate.SUSTAINED_ROWS);
        numbers.read("covariate.MOST", w.covariate.MOST);
        numbers.read("covariate.MEMORY", w.covariate.MEMORY);
        numbers.read("covariate.GRAIN", w.covariate.GRAIN);
        numbers.read("covariate.SETTLED", w.covariate.SETTLED);
    }
    if (w.by_beyond) {
        numbers.read("beyond.ROWS", w.beyond.ROWS, 1);
        numbers.read("beyond.WARM", w.beyond.WARM);
        numbers.read("beyond.LEARN", w.beyond.LEARN);
        numbers.read("beyond.HOLD", w.beyond.HOLD);
        numbers.read("beyond.LONGEST", w.beyond.LONGEST);
        numbers.read("beyond.GRAIN", w.beyond.GRAIN);
        numbers.read("beyond.ROUNDING", w.beyond.ROUNDING);
        numbers.read("beyond.LEFT", w.beyond.LEFT);
        numbers.read("beyond.share", w.beyond.share);
    }

    auto& f = w.forecast;
    const std::size_t horizons = f.HORIZONS.count;
    for (std::size_t k = 0; k < horizons; ++k) {
        if (!(f.HORIZONS.at[k] >= 1 && f.HORIZONS.at[k] <= LONGEST))
            throw Error("watch: expected forecast.HORIZONS of at least 1");
        f.length = std::max(f.length, static_cast<std::size_t>(f.HORIZONS.at[k]));
        f.waiting += static_cast<std::size_t>(f.HORIZONS.at[k]);
    }
    f.MIDDLE = f.QUANTILES.count / 2;
    f.head_size = f.CANDIDATES + 2 + f.QUANTILES.count - 1;
    f.LOG_STEP = std::log(f.QUANTILES.at[1] / f.QUANTILES.at[0]);
    f.LOG_EDGE = std::log(2 * f.QUANTILES.at[0]);
    w.feature_count = 2 + 2 * horizons + 4 + 4;
    // What the kernel is written for: transposes of 8 by 8, bytes, and the statistics that it has a formula of.
    if (w.tail.BINS < 8 || w.tail.BINS > 256 || w.tail.FULL % 2 == 0 || w.tail.FULL < 3 || w.tail.FULL > 65535)
        throw Error("watch: expected tail.BINS from 8 to 256, and an odd tail.FULL up to 65535");
    if (w.alarm.HOLD % w.alarm.PART != 0 || w.alarm.HOLD + w.alarm.PART > 255 || w.alarm.WARM > 254 ||
        w.alarm.CALM > 254)
        throw Error("watch: expected alarm.HOLD of whole parts, and that, alarm.WARM and alarm.CALM in a byte");
    const auto& m = w.member;
    if (m.SPAN > WATCH_SPAN || m.SPAN > m.EVERY * m.KEPT || !(m.FAR > 0 && m.FAR * static_cast<double>(m.STEPS) <= 127))
        throw Error("watch: expected stretches of the sizes that the kernel is written for");
    if (f.CANDIDATES != 4) throw Error("watch: expected forecast.CANDIDATES = 4");
    if (w.member.TOPS.count != horizons + 4)
        throw Error("watch: expected member.TOPS for " + std::to_string(horizons) + " horizons and 4 statistics");
    // A part of a cycle and a visit to it are bytes, as are the rows of a block; the last four means make a line.
    if (w.season.BINS > 255 || 2 * w.season.MEMORY > 255 || w.trend.BLOCK > 255 || w.drift.BLOCK > 255 ||
        w.trend.YOUNG != 4 || w.trend.RECENT < 4 || w.trend.RECENT > WATCH_RECENT || w.drift.SAMPLES > WATCH_SAMPLES ||
        w.drift.SAMPLES > (1 + 2 * w.drift.scales) * w.drift.RANKS.count ||
        w.drift.SAMPLES + w.drift.LONGEST > INT16_MAX)
        throw Error("watch: expected a season, a trend and a drift of the sizes that the kernel is written for");
    for (std::size_t b = 0; b < w.drift.RANKS.count; ++b)
        if (!(w.drift.RANKS.at[b] >= 0 && w.drift.RANKS.at[b] < static_cast<double>(w.drift.SAMPLES)))
            throw Error("watch: expected drift.RANKS from 0 to drift.SAMPLES - 1");
    if (w.covariates > 0) {
        WatchList more{};
        numbers.read("covariate.TOPS", more, 2);
        if (more.count != 2 || w.member.TOPS.count + 2 > WATCH_LIST) throw Error("watch: expected two covariate.TOPS");
        for (std::size_t k = 0; k < 2; ++k) w.member.TOPS.at[w.member.TOPS.count++] = more.at[k];
    }
    return w;
}

WatchState find_state(const WatchArrays& given, const WatchRules& w) {
    const Arrays arrays(given);
    WatchState s{};
    const std::size_t batch = w.streams, rows = batch * w.variables;
    arrays.find("baseline.count", s.baseline.count, rows);
    arrays.find("baseline.mean", s.baseline.mean, rows);
    arrays.find("baseline.spread", s.baseline.spread, rows);
    arrays.find("baseline.last", s.baseline.last, rows);
    arrays.find("baseline.previous", s.baseline.previous, rows);
    arrays.find("baseline.error", s.baseline.error, rows * 4);
    arrays.find("baseline.origin", s.baseline.origin, rows);
    arrays.find("baseline.unit", s.baseline.unit, rows);
    arrays.find("baseline.day", s.baseline.day, rows * w.baseline.DAY, 'e');
    arrays.find("baseline.week", s.baseline.week, rows * w.baseline.WEEK, 'e');
    arrays.find("baseline.day_visits", s.baseline.day_visits, rows * w.baseline.DAY);
    arrays.find("baseline.week_visits", s.baseline.week_visits, rows * w.baseline.WEEK);
    arrays.find("baseline.time", s.baseline.time, batch);
    arrays.find("baseline.interval", s.baseline.interval, batch);
    arrays.find("forecast.middle", s.forecast.middle, rows * w.forecast.waiting);
    arrays.find("forecast.gaps", s.forecast.gaps, rows * w.forecast.waiting * (w.forecast.QUANTILES.count - 1), 'e');
    arrays.find("forecast.mean", s.forecast.mean, rows * w.forecast.length);
    arrays.find("forecast.scale", s.forecast.scale, rows * w.forecast.length);
    arrays.find("forecast.made", s.forecast.made, batch);
    arrays.find("members.low", s.members.low, rows);
    arrays.find("members.high", s.members.high, rows);
    arrays.find("members.level", s.members.level, rows);
    arrays.find("members.change", s.members.change, rows);
    arrays.find("members.usual_change", s.members.usual_change, rows);
    arrays.find("members.kept", s.members.kept, rows * w.member.EVERY * w.member.KEPT);
    arrays.find("members.rows", s.members.rows, batch);
    arrays.find("tail", s.tail, rows, w.member.TOPS.count * w.tail.BINS);
    arrays.find("scores", s.scores, batch, w.tail.BINS);
    arrays.find("onsets", s.onsets, batch, w.tail.BINS);
    arrays.find("alarm.recent", s.alarm.recent, batch * (w.alarm.HOLD / w.alarm.PART + 1));
    arrays.find("alarm.row", s.alarm.row, batch);
    arrays.find("alarm.seen", s.alarm.seen, batch);
    arrays.find("alarm.calm", s.alarm.calm, batch);
    arrays.find("alarm.incident", s.alarm.incident, batch);
    arrays.find("season.mean", s.season.mean, w.season.BINS * rows);
    arrays.find("season.spread", s.season.spread, w.season.BINS * rows);
    arrays.find("season.latest", s.season.latest, w.season.BINS * rows);
    arrays.find("season.mean_rest", s.season.mean_rest, w.season.BINS * rows);
    arrays.find("season.latest_rest", s.season.latest_rest, w.season.BINS * rows);
    arrays.find("season.visits", s.season.visits, w.season.BINS * rows);
    arrays.find("season.sums", s.season.sums, WATCH_SUMS * rows);
    arrays.find("season.origin", s.season.origin, rows);
    arrays.find("season.visit", s.season.visit, 2 * rows);
    arrays.find("season.said", s.season.said, 3 * rows);
    arrays.find("season.apart", s.season.apart, rows);
    arrays.find("season.period", s.season.period, batch);
    arrays.find("season.parts", s.season.parts, batch);
    arrays.find("season.part", s.season.part, batch);
    arrays.find("season.rows", s.season.rows, batch);
    arrays.find("trend.line", s.trend.line, 6 * rows);
    arrays.find("trend.weights", s.trend.weights, 6 * rows);
    arrays.find("trend.bound", s.trend.bound, 2 * rows);
    arrays.find("trend.sums", s.trend.sums, 4 * rows);
    arrays.find("trend.elapsed", s.trend.elapsed, rows);
    arrays.find("trend.present", s.trend.present, rows);
    arrays.find("trend.blocks", s.trend.blocks, rows);
    arrays.find("trend.means", s.trend.means, w.trend.scales * rows);
    arrays.find("trend.spread", s.trend.spread, w.trend.scales * rows);
    arrays.find("trend.runs", s.trend.runs, WATCH_RUN * 2 * rows);
    arrays.find("trend.recent", s.trend.recent, w.trend.RECENT * rows);
    arrays.find("trend.lost", s.trend.lost, rows);
    arrays.find("trend.since", s.trend.since, rows);
    arrays.find("trend.table", s.trend.table, w.trend.scales, w.trend.LONGEST);
    arrays.find("value_drift", s.drifts[0], rows, w);
    arrays.find("residual_drift", s.drifts[1], rows, w);
    arrays.find("value_drift.table", s.drift_table, w.drift.scales, w.drift.LONGEST);
    if (w.covariates > 0) {
        arrays.find("covariates.mean", s.covariates.mean, w.covariates);
        arrays.find("covariates.scale", s.covariates.scale, w.covariates);
        arrays.find("covariates.last", s.covariates.last, batch * w.covariates);
        arrays.find("covariates.waiting", s.covariates.waiting, rows * w.feature_count);
        arrays.find("residuals.usual", s.residuals.usual, rows);
        arrays.find("residuals.sustained", s.residuals.sustained, rows);
        arrays.find("residuals.seen", s.residuals.seen, rows);
    }
    if (w.by_beyond) {
        arrays.find("beyond.smooth", s.beyond.smooth, w.beyond.ROWS.count * rows);
        arrays.find("beyond.most", s.beyond.most, w.beyond.ROWS.count * rows);
        arrays.find("beyond.low", s.beyond.low, rows);
        arrays.find("beyond.high", s.beyond.high, rows);
        arrays.find("beyond.moments", s.beyond.moments, 2 * rows);
        arrays.find("beyond.count", s.beyond.count, rows);
        arrays.find("beyond.rows", s.beyond.rows, batch);
        arrays.find("beyond.table", s.beyond.table, batch);
        arrays.find("beyond.taught", s.beyond.taught, batch);
        arrays.find("beyond.calm", s.beyond.calm, batch);
        arrays.find("beyond.lasted", s.beyond.lasted, batch);
    }
    return s;
}

}  // namespace carrousel
