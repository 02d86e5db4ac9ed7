// The detector's step: reads and writes nothing beyond its arrays, whatever they hold (sanitizers watch), allocates
// nothing, and gives a stream the same bits in any company. What it says is held by the Python tests.
#include "watch.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <memory>

#include "check.h"
#include "isa.h"
#include "random.h"

using namespace carrousel;

namespace {

using Numbers = std::map<std::string, std::vector<double>>;

// Sizes that are no multiples of a vector, beside which the others are as in Python or nearly so.
Numbers numbers() {
    return {{"rate", {0.1}},
            {"factor", {1}},
            {"per_second", {0}},
            {"watch.LARGEST", {1e150}},
            {"baseline.DAY", {5}},
            {"baseline.WEEK", {7}},
            {"baseline.DAY_S", {86400}},
            {"baseline.MEMORY", {50}},
            {"baseline.ERROR_MEMORY", {50}},
            {"baseline.DAY_MEMORY", {5}},
            {"baseline.WEEK_MEMORY", {3}},
            {"baseline.SETTLED", {10}},
            {"baseline.NEAR", {2}},
            {"baseline.ALIKE", {2}},
            {"baseline.MOST", {65504}},
            {"baseline.STEP", {0.001}},
            {"baseline.GOLDEN", {0.6}},
            {"forecast.HORIZONS", {1, 3, 2}},
            {"forecast.QUANTILES", {0.1, 0.3, 0.5, 0.7, 0.9}},
            {"forecast.LOG_SPREAD", {2, -1.5}},
            {"forecast.CANDIDATES", {4}},
            {"forecast.OFFSET", {0.3}},
            {"forecast.LEAST_SPREAD", {-9}},
            {"forecast.GAP", {0.5}},
            {"member.TOPS", {5, 5, 5, 3, 4, 4, 3}},
            {"member.LEVEL_ROWS", {8}},
            {"member.VARIANCE_ROWS", {12}},
            {"member.SPAN", {11}},
            {"member.KEPT", {13}},
            {"member.EVERY", {2}},
            {"member.STEPS", {21}},
            {"member.FEWEST", {4}},
            {"member.FAR", {6}},
            {"member.SEASONED", {20}},
            {"member.SETTLED", {20}},
            {"tail.BINS", {21}},
            {"tail.TAIL", {0.03}},
            {"tail.PRIOR", {1}},
            {"tail.EXCESS", {0.05}},
            {"tail.MEMORY", {100}},
            {"tail.YOUNG", {5}},
            {"tail.FULL", {301}},
            {"alarm.HOLD", {6}},
            {"alarm.PART", {2}},
            {"alarm.WARM", {10}},
            {"alarm.CALM", {3}},
            {"alarm.SECOND", {0.5}},
            {"alarm.TOP", {12}},
            {"alarm.EXCESSES", {10}},
            {"alarm.ELSEWHERE_ROWS", {40}},
            {"alarm.ELSEWHERE", {0, 0, 0.2, 0, 6, -4.7, 12, -6.5}},
            {"alarm.ORDINARY", {0.05}},
            {"watch.SHORTEST", {1e-3}},
            {"watch.LONGEST", {1e6}},
            {"season.clock", {1}},
            {"season.period", {0}},
            {"season.BINS", {11}},
            {"season.LEAST_VISITS", {2}},
            {"season.SURE", {3}},
            {"season.SETTLED", {4}},
            {"season.FEWEST_PARTS", {4}},
            {"season.MEMORY", {5}},
            {"season.FAR", {3}},
            {"season.FARTHER", {6}},
            {"season.PRIOR", {4}},
            {"season.QUANTILE", {1.96}},
            {"season.CLEAR", {0.1}},
            {"season.HUGE", {1e15}},
            {"season.DAY_S", {86400}},
            {"season.WEEK_S", {604800}},
            {"season.LARGEST", {1e150}},
            {"trend.SCALES", {1, 2, 4}},
            {"trend.YOUNG", {4}},
            {"trend.LONGEST", {20}},
            {"trend.LOST", {4}},
            {"trend.LARGEST", {1e300}},
            {"trend.LEAST", {1e-290}},
            {"trend.BOUND", {3}},
            {"trend.REMEMBERED", {16}},
            {"trend.CLIP", {9}},
            {"trend.WHITE", {0.01}},
            {"trend.WIDER", {1.2}},
            {"trend.memory", {64}},
            {"onset.BLOCK", {2}},
            {"onset.RECENT", {5}},
            {"onset.MIDDLE", {0.25}},
            {"onset.QUANTILE", {1.96}},
            {"onset.ALLOWANCE", {0.5}},
            {"onset.LIMIT", {11}},
            {"drift.SCALES", {2, 4}},
            {"drift.BLOCK", {3}},
            {"drift.SAMPLES", {7}},
            {"drift.LOWER", {1}},
            {"drift.LONGEST", {20}},
            {"drift.RANKS", {1, 3, 5}},
            {"drift.CLIP", {9}},
            {"drift.SKEW", {0.7}},
            {"covariate.TOPS", {6, 4}},
            {"covariate.SUSTAINED_ROWS", {8}},
            {"covariate.MOST", {30}},
            {"covariate.MEMORY", {20}},
            {"covariate.GRAIN", {0.02}},
            {"covariate.SETTLED", {10}},
            {"beyond.ROWS", {3, 6, 9}},
            {"beyond.WARM", {5}},
            {"beyond.LEARN", {40}},
            {"beyond.HOLD", {4}},
            {"beyond.LONGEST", {20}},
            {"beyond.GRAIN", {0.02}},
            {"beyond.ROUNDING", {1e-6}},
            {"beyond.LEFT", {2}},
            {"beyond.share", {0.1}}};
}

constexpr std::size_t FEATURES = 2 + 2 * 3 + 8, HEAD = 3 * (4 + 2 + 4);
std::string network_of(std::size_t features) {
    return R"({"layers": [{"kind": "lstm", "name": "lstm", "input_size": )" + std::to_string(features) +
           R"(, "hidden_size": 3}, {"kind": "linear", "name": "head", "input_size": 3, "output_size": 30}]})";
}

// Streams whose every array is a block of its own, of exactly the size that is promised.
class Streams {
public:
    Streams(std::size_t batch, std::size_t variables, const std::string& isa = "", std::size_t covariates = 0)
        : batch_(batch), variables_(variables), members_(covariates > 0 ? 9 : 7) {
        Random random(3);
        const Architecture architecture = parse_architecture(network_of(FEATURES + covariates), "architecture");
        const Network network = fill(architecture, random);
        model_ = std::make_shared<const Model>(architecture, network.tensors, Dtype::float32, isa);
        session_ = std::make_unique<Session>(model_, batch * variables);
        const std::size_t rows = batch * variables;
        for (const char* name : {"count", "mean", "spread", "last", "previous"})
            add<double>(std::string("baseline.") + name, 'd', rows);
        add<float>("baseline.error", 'f', rows * 4);
        for (const char* name : {"origin", "unit"}) add<double>(std::string("baseline.") + name, 'd', rows);
        add<std::uint16_t>("baseline.day", 'e', rows * 5);
        add<std::uint16_t>("baseline.week", 'e', rows * 7);
        add<std::uint8_t>("baseline.day_visits", 'B', rows * 5);
        add<std::uint8_t>("baseline.week_visits", 'B', rows * 7);
        add<double>("baseline.time", 'd', batch);
        add<double>("baseline.interval", 'd', batch);
        add<float>("forecast.middle", 'f', rows * 6);
        add<std::uint16_t>("forecast.gaps", 'e', rows * 6 * 4);
        add<double>("forecast.mean", 'd', rows * 3);
        add<float>("forecast.scale", 'f', rows * 3);
        add<std::int64_t>("forecast.made", 'l', batch);
        add<double>("members.low", 'd', rows, std::numeric_limits<double>::infinity());
        add<double>("members.high", 'd', rows, -std::numeric_limits<double>::infinity());
        for (const char* name : {"level", "change"}) add<float>(std::string("members.") + name, 'f', rows);
        add<double>("members.usual_change", 'd', rows);
        add<std::int8_t>("members.kept", 'b', rows * 2 * 13);
        add<std::int64_t>("members.rows", 'l', batch);
        for (const char* name : {"tail", "scores", "onsets"}) {
            const bool all = name == std::string("tail");
            add<std::uint16_t>(std::string(name) + ".counts", 'H', (all ? rows * members_ : batch) * 21);
            add<float>(std::string(name) + ".weight", 'f', all ? rows : batch, 1);
            add<float>(std::string(name) + ".seen", 'f', all ? rows : batch);
        }
        add<float>("alarm.recent", 'f', batch * 4);
        for (const char* name : {"row", "seen", "calm", "incident"})
            add<std::uint8_t>(std::string("alarm.") + name, 'B', batch);
        underneath(rows);
        if (covariates > 0) beside(rows, covariates);
    }

    std::map<std::string, WatchArray> arrays;

    Watch watch(const Numbers& numbers) { return Watch(*session_, variables_, numbers, arrays); }

    // Whatever bytes a damaged file may bring.
    void scramble(Random& random) {
        for (auto& [name, array] : arrays) {
            const char kind = array.kind;
            const std::size_t each = kind == 'B' || kind == 'b'                  ? 1
                                     : kind == 'h' || kind == 'H' || kind == 'e' ? 2
                                     : kind == 'f' || kind == 'i'                ? 4
                                                                                 : 8;
            const std::size_t bytes = array.size * each;
            for (std::size_t k = 0; k < bytes; ++k)
                static_cast<unsigned char*>(array.data)[k] = static_cast<unsigned char>(random.next() >> 24);
        }
    }

    // One step; what was said of each stream, stream by stream.
    std::vector<std::vector<double>> step(Watch& watch, const std::vector<double>& values,
                                          const std::vector<double>& seconds) {
        const std::size_t N = batch_, R = batch_ * variables_;
        std::unique_ptr<double[]> numbers[18];
        std::unique_ptr<std::uint8_t[]> flags[5];
        const std::size_t sizes[] = {N, N, N, N, R, R, R, R, R * members_, R, R, R, R, R, R, R, R, R};
        const std::size_t counts[] = {N, N, N, R, R};
        for (std::size_t k = 0; k < 18; ++k) numbers[k] = std::make_unique<double[]>(sizes[k]);
        for (std::size_t k = 0; k < 5; ++k) flags[k] = std::make_unique<std::uint8_t[]>(counts[k]);
        const WatchReadings readings{numbers[0].get(),  numbers[1].get(),
                                     numbers[2].get(),  numbers[3].get(),
                                     flags[0].get(),    flags[1].get(),
                                     flags[2].get(),    numbers[4].get(),
                                     numbers[5].get(),  numbers[6].get(),
                                     numbers[7].get(),  numbers[8].get(),
                                     numbers[9].get(),  numbers[10].get(),
                                     numbers[11].get(), numbers[12].get(),
                                     numbers[13].get(), numbers[14].get(),
                                     numbers[15].get(), numbers[16].get(),
                                     numbers[17].get(), reinterpret_cast<std::int8_t*>(flags[3].get()),
                                     flags[4].get()};
        const std::size_t before = allocations;
        watch.step(values.data(), seconds.data(), readings);
        CHECK_EQUAL(allocations, before);
        std::vector<std::vector<double>> said(N);
        for (std::size_t n = 0; n < N; ++n) {
            for (std::size_t k = 0; k < 18; ++k)
                for (std::size_t j = 0; j < sizes[k] / N; ++j) said[n].push_back(numbers[k][n * (sizes[k] / N) + j]);
            for (std::size_t k = 0; k < 5; ++k)
                for (std::size_t j = 0; j < counts[k] / N; ++j) said[n].push_back(flags[k][n * (counts[k] / N) + j]);
        }
        return said;
    }

private:
    // Season, trend and drifts, fresh.
    void underneath(std::size_t rows) {
        constexpr double none = std::numeric_limits<double>::quiet_NaN();
        for (const char* name : {"mean", "spread", "latest"})
            add<std::uint16_t>(std::string("season.") + name, 'H', 11 * rows);
        for (const char* name : {"mean_rest", "latest_rest", "visits"})
            add<std::uint8_t>(std::string("season.") + name, 'B', 11 * rows);
        add<double>("season.sums", 'd', 7 * rows);
        add<double>("season.origin", 'd', rows, none);
        add<double>("season.visit", 'd', 2 * rows);
        add<float>("season.said", 'f', 3 * rows, none);
        add<std::uint8_t>("season.apart", 'B', rows);
        add<double>("season.period", 'd', batch_, 1);
        add<std::uint8_t>("season.parts", 'B', batch_);
        add<std::int16_t>("season.part", 'h', batch_, -1);
        add<std::int64_t>("season.rows", 'l', batch_);
        add<double>("trend.line", 'd', 6 * rows, none);
        add<double>("trend.weights", 'd', 6 * rows, none);
        add<double>("trend.bound", 'd', 2 * rows, 1e-290);
        add<double>("trend.sums", 'd', 4 * rows);
        add<double>("trend.elapsed", 'd', rows);
        add<std::uint8_t>("trend.present", 'B', rows, 1);
        add<std::int32_t>("trend.blocks", 'i', rows, -1);
        add<float>("trend.means", 'f', 3 * rows);
        add<float>("trend.spread", 'f', 3 * rows);
        add<double>("trend.runs", 'd', 18 * rows);
        add<double>("trend.recent", 'd', 5 * rows);
        add<std::uint8_t>("trend.lost", 'B', rows);
        add<std::int64_t>("trend.since", 'l', rows);
        add<double>("trend.table", 'd', 4 * 3 * 21, 0.5);
        for (const std::string name : {"value_drift", "residual_drift"}) {
            add<std::uint8_t>(name + ".present", 'B', rows);
            add<std::uint8_t>(name + ".above", 'B', 3 * rows);
            add<std::int16_t>(name + ".blocks", 'h', rows);
            add<double>(name + ".edge", 'd', 3 * rows, none);
            add<float>(name + ".learnt", 'f', 5 * 3 * rows);
            add<float>(name + ".score", 'f', rows);
        }
        add<double>("value_drift.table", 'd', 4 * 2 * 21, 0.5);
    }

    // Covariates, and the other rule of alarms.
    void beside(std::size_t rows, std::size_t covariates) {
        add<double>("covariates.mean", 'd', covariates);
        add<double>("covariates.scale", 'd', covariates, 1);
        add<float>("covariates.last", 'f', batch_ * covariates);
        add<float>("covariates.waiting", 'f', rows * FEATURES);
        for (const char* name : {"usual", "sustained", "seen"})
            add<double>(std::string("residuals.") + name, 'd', rows);
        add<double>("beyond.smooth", 'd', 3 * rows);
        add<double>("beyond.most", 'd', 3 * rows);
        add<double>("beyond.low", 'd', rows, std::numeric_limits<double>::infinity());
        add<double>("beyond.high", 'd', rows, -std::numeric_limits<double>::infinity());
        add<double>("beyond.moments", 'd', 2 * rows);
        add<double>("beyond.count", 'd', rows);
        add<std::uint8_t>("beyond.table", 'B', batch_);
        add<std::uint8_t>("beyond.taught", 'B', batch_);
        for (const char* name : {"rows", "calm", "lasted"})
            add<std::int64_t>(std::string("beyond.") + name, 'l', batch_, 4);
    }

    template <class T>
    void add(const std::string& name, char kind, std::size_t size, double start = 0) {
        auto block = std::make_shared<std::vector<T>>(size, static_cast<T>(start));
        block->shrink_to_fit();
        arrays[name] = {block->data(), kind, size};
        memory_.push_back(block);
    }

    std::size_t batch_, variables_, members_;
    std::shared_ptr<const Model> model_;
    std::unique_ptr<Session> session_;
    std::vector<std::shared_ptr<void>> memory_;
};

double value(Random& random) {
    const double any[] = {std::nan(""), INFINITY, -1e149, 1e-310, 0};
    const std::size_t kind = random.below(40);
    return kind < 5 ? any[kind] : static_cast<double>(random.value());
}

}  // namespace

TEST(a_stream_is_watched_to_the_same_bits_in_any_company) {
    for (const Isa& isa : instruction_sets()) {
        if (!isa.supported) continue;
        for (std::size_t P : {0, 2}) {
            Random random(1);
            const std::size_t N = 19, K = 3, width = K + P;
            Streams together(N, K, isa.name, P), alone(1, K, isa.name, P);
            Numbers given = numbers();
            given["member.SPAN"] = {P > 0 ? 12.0 : 11.0};  // pairs of rows, or not
            Watch many = together.watch(given), one = alone.watch(given);
            for (int row = 0; row < 150; ++row) {
                std::vector<double> values(N * width), seconds(N);
                for (double& x : values) x = value(random);
                for (double& t : seconds) t = 4000.0 * row + random.value();
                const auto said = together.step(many, values, seconds);
                const std::size_t n = 17;
                const auto again = alone.step(one, {&values[n * width], &values[n * width] + width}, {seconds[n]});
                CHECK(std::memcmp(said[n].data(), again[0].data(), said[n].size() * sizeof(double)) == 0);
            }
        }
    }
}

TEST(a_watch_survives_any_state_and_any_time) {
    for (const Isa& isa : instruction_sets()) {
        if (!isa.supported) continue;
        for (std::size_t P : {0, 3}) {
            Random random(2);
            Streams streams(9, 2, isa.name, P);
            Numbers given = numbers();
            given["member.SPAN"] = {P > 0 ? 12.0 : 11.0};
            Watch watch = streams.watch(given);
            for (int round = 0; round < 30; ++round) {
                streams.scramble(random);
                for (int row = 0; row < 10; ++row) {
                    std::vector<double> values(9 * (2 + P)), seconds(9);
                    for (double& x : values) x = value(random);
                    for (double& t : seconds) t = std::ldexp(random.value(), static_cast<int>(random.below(490)));
                    streams.step(watch, values, seconds);
                }
            }
        }
    }
}

TEST(a_watch_refuses_what_does_not_fit) {
    Streams streams(2, 1);
    CHECK_EQUAL(streams.watch(numbers()).batch(), 2U);
    Numbers wrong = numbers();
    wrong.erase("tail.PRIOR");
    CHECK_REFUSED(streams.watch(wrong), "watch: expected 1 to 1 numbers tail.PRIOR");
    wrong = numbers();
    wrong["tail.BINS"] = {7};
    CHECK_REFUSED(streams.watch(wrong), "watch: expected tail.BINS from 8 to 256, and an odd tail.FULL up to 65535");
    wrong = numbers();
    for (const double span : {27.0, 65.0}) {
        wrong["member.SPAN"] = {span};
        CHECK_REFUSED(streams.watch(wrong), "watch: expected stretches of the sizes that the kernel is written for");
    }
    wrong["member.SPAN"] = {11};
    wrong["member.FAR"] = {6.1};
    CHECK_REFUSED(streams.watch(wrong), "watch: expected stretches of the sizes that the kernel is written for");
    wrong = numbers();
    wrong["member.SPAN"] = {11.5};
    CHECK_REFUSED(streams.watch(wrong), "watch: expected a positive integer member.SPAN, got 11.500000");
    wrong = numbers();
    wrong["member.KEPT"] = {12};
    CHECK_REFUSED(streams.watch(wrong), "watch: expected an array members.kept of 48 numbers, 'b'");
    wrong = numbers();
    wrong["member.TOPS"] = {1, 2, 3};
    CHECK_REFUSED(streams.watch(wrong), "watch: expected member.TOPS for 3 horizons and 4 statistics");
    wrong = numbers();
    wrong["drift.RANKS"] = {1, 7};
    CHECK_REFUSED(streams.watch(wrong), "watch: expected drift.RANKS from 0 to drift.SAMPLES - 1");
    wrong["drift.SAMPLES"] = {65};
    CHECK_REFUSED(streams.watch(wrong),
                  "watch: expected a season, a trend and a drift of the sizes that the kernel is written for");
    wrong = numbers();
    wrong["forecast.HORIZONS"] = {1, 3};
    wrong["member.TOPS"] = {1, 2, 3, 4, 5, 6};
    CHECK_REFUSED(streams.watch(wrong), "watch: expected an array forecast.middle of 8 numbers, 'f'");
    wrong = numbers();
    wrong["alarm.PART"] = {4};
    CHECK_REFUSED(streams.watch(wrong),
                  "watch: expected alarm.HOLD of whole parts, and that, alarm.WARM and alarm.CALM in a byte");
    streams.arrays["alarm.row"].kind = 'd';
    CHECK_REFUSED(streams.watch(numbers()), "watch: expected an array alarm.row of 2 numbers, 'B'");
    streams.arrays.erase("alarm.row");
    CHECK_REFUSED(streams.watch(numbers()), "watch: expected an array alarm.row of 2 numbers, 'B'");
}
