// What watch_kernel.cpp, compiled once per instruction set, shares with watch.cpp: plain data, no inline code.
#pragma once

#include <cstddef>
#include <cstdint>

namespace carrousel {

constexpr std::size_t WATCH_LIST = 16;  // at most so many horizons, quantiles and members

struct WatchList {
    double at[WATCH_LIST];
    std::size_t count;
};

// The constants of carrousel.online under the names that they have in its modules, which hand them over.
struct WatchRules {
    std::size_t variables;  // K
    double rate, factor;
    bool per_second;

    struct {
        std::size_t DAY, WEEK, DAY_MEMORY, WEEK_MEMORY;
        double DAY_S, MEMORY, ERROR_MEMORY, SETTLED, NEAR, ALIKE, MOST, STEP, GOLDEN;
    } baseline;
    struct {
        WatchList HORIZONS, QUANTILES, LOG_SPREAD;
        std::size_t CANDIDATES;
        double OFFSET, LEAST_SPREAD, GAP;
        std::size_t MIDDLE, length, waiting, head_size;  // these follow from the others
        double LOG_STEP, LOG_EDGE;  // log(QUANTILES[1] / QUANTILES[0]), log(2 QUANTILES[0]): so do these
    } forecast;
    struct {
        WatchList TOPS;
        std::size_t LEVEL_ROWS, VARIANCE_ROWS, SPAN, EVERY, KEPT, STEPS, FEWEST;
        double SEASONED, SETTLED, FAR;
    } member;
    struct {
        std::size_t BINS, FULL;
        double TAIL, PRIOR, EXCESS, MEMORY, YOUNG;
    } tail;
    struct {
        std::size_t HOLD, PART, WARM, CALM;
        double SECOND, TOP, EXCESSES, ORDINARY, ELSEWHERE_ROWS;
        WatchList ELSEWHERE;
    } alarm;
    struct {
        double LARGEST, SHORTEST, LONGEST;
    } watch;
    struct {
        std::size_t BINS, LEAST_VISITS, SURE, SETTLED, FEWEST_PARTS;
        double MEMORY, FAR, FARTHER, PRIOR, QUANTILE, CLEAR, FARTHEST, DAY_S, WEEK_S, LARGEST;  // FARTHEST: HUGE
        double period;
        bool clock;
    } season;
    struct {
        std::size_t YOUNG, LONGEST, LOST, BLOCK, RECENT;  // the last two are those of onset
        std::size_t scales;                               // J, of SCALES
        double LARGEST, LEAST, BOUND, REMEMBERED, CLIP, WHITE, WIDER, MIDDLE, QUANTILE, ALLOWANCE, LIMIT, memory;
    } trend;
    struct {
        std::size_t BLOCK, SAMPLES, LOWER, LONGEST, scales;
        WatchList RANKS;
        double CLIP, SKEW;
    } drift;
    struct {
        double SUSTAINED_ROWS, MOST, MEMORY, GRAIN, SETTLED;
    } covariate;
    struct {
        WatchList ROWS;
        std::size_t WARM, LEARN, HOLD, LONGEST;
        double GRAIN, ROUNDING, LEFT, share;
    } beyond;
    bool by_beyond;             // its alarms take the place of the promised ones
    std::size_t feature_count;  // F
    std::size_t streams;        // N
    std::size_t covariates;     // P, or 0; behind the members' statistics there are two of what forecasts leave then
};

constexpr std::size_t WATCH_RUN = 9;       // numbers of a cumulative sum, onset.RUN
constexpr std::size_t WATCH_SUMS = 7;      // of the parts of a cycle, season.SUMS
constexpr std::size_t WATCH_SAMPLES = 64;  // at most so many values give the edges of a drift
constexpr std::size_t WATCH_RECENT = 16;   // at most so many means of blocks are kept
constexpr std::size_t WATCH_SPAN = 64;     // at most so many rows of a stretch

// The tables of carrousel.online.moving: of each scale a number for each count of blocks.
struct WatchMoving {
    double *gain, *variance, *remember, *judge;  // (scales, LONGEST + 1)
};

struct WatchTail {
    std::uint16_t* counts;
    float *weight, *seen;
};

struct WatchDrift {
    std::uint8_t *present, *above;
    std::int16_t* blocks;
    double* edge;
    float *learnt, *score;
};

// The arrays that the Python components own, C order, N first; of season, trend and drift, N before K and behind all
// else.
struct WatchState {
    struct {
        double *count, *mean, *spread, *last, *previous, *origin, *unit;
        float* error;
        std::uint16_t *day, *week;  // float16
        std::uint8_t *day_visits, *week_visits;
        double *time, *interval;
    } baseline;
    struct {
        float* middle;
        std::uint16_t* gaps;  // float16
        double* mean;
        float* scale;
        std::int64_t* made;
    } forecast;
    struct {
        double *low, *high, *usual_change;
        float *level, *change;
        std::int8_t* kept;
        std::int64_t* rows;
    } members;
    WatchTail tail, scores, onsets;
    struct {
        float* recent;
        std::uint8_t *row, *seen, *calm, *incident;
    } alarm;
    struct {
        std::uint16_t *mean, *latest, *spread;  // the upper bits of float32
        std::uint8_t *mean_rest, *latest_rest, *visits;
        double *sums, *origin, *visit;
        float* said;
        std::uint8_t *apart, *parts;
        double* period;
        std::int16_t* part;
        std::int64_t* rows;
    } season;
    struct {
        double *line, *weights, *bound, *sums, *elapsed;
        std::uint8_t* present;
        std::int32_t* blocks;
        float *means, *spread;
        double *runs, *recent;
        std::uint8_t* lost;
        std::int64_t* since;
        WatchMoving table;
    } trend;
    WatchDrift drifts[2];  // of the values, and of what the forecast leaves of them
    WatchMoving drift_table;
    struct {
        double *mean, *scale;  // (P): these two say how they are told
        float *last, *waiting;
    } covariates;
    struct {
        double *usual, *sustained, *seen;
    } residuals;
    struct {
        double *smooth, *most, *low, *high, *moments, *count;
        std::int64_t* rows;
        std::uint8_t *table, *taught;
        std::int64_t *calm, *lasted;
    } beyond;
};

// What is said of one row: the fields of carrousel.online.watch.Readings.
struct WatchReadings {
    double *score, *onset, *rarity, *p_value;                                       // (N)
    std::uint8_t *warming, *alarm, *incident;                                       // (N)
    double *expected, *lower, *upper;                                               // (N, K)
    double *residual, *contributions;                                               // (N, K), (N, K, M)
    double *level, *level_lower, *level_upper, *slope, *slope_lower, *slope_upper;  // (N, K), as those behind them
    double *season, *season_lower, *season_upper;
    std::int8_t* change;
    std::uint8_t* drift;
};

// One instruction set's work on some streams. Pointers are to the arrays of all streams.
struct WatchKernel {
    // Bytes that a block of so many streams needs to work in, zeroed once, at a multiple of 64.
    std::size_t (*scratch)(const WatchRules& rules, std::size_t streams);
    // What the network is told (N · K, F + P) before a row whose covariates have come with its values (N, K + P).
    void (*join)(const WatchRules& rules, const WatchState& state, std::size_t first, std::size_t streams,
                 const double* values, float* told);
    // Everything up to the features (N · K, F) of the row; values (N, K).
    void (*before)(const WatchRules& rules, const WatchState& state, std::size_t first, std::size_t streams,
                   const double* values, const double* seconds, const WatchReadings& readings, float* features,
                   unsigned char* scratch);
    // Keeps what the network said, head (N · K, HORIZONS · head_size), of what it was told (N · K, F + P).
    void (*after)(const WatchRules& rules, const WatchState& state, std::size_t first, std::size_t streams,
                  const float* told, const float* head, unsigned char* scratch);
    // For tests: exp, log (of x > 0), log1p (of x >= 0), asinh and sinh of n numbers, n a multiple of 8.
    void (*functions)(const double* x, double* exp, double* log, double* log1p, double* asinh, double* sinh,
                      std::size_t n);
};

}  // namespace carrousel
