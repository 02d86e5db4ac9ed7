// The detector's arithmetic, compiled once per instruction set: each function is that of the same name in the Python
// file over it, with the same operations in the same order, over a block of rows R = streams · K.
//
// A value never depends on what else is in the block: every number has a lane of its own, no sum runs across lanes, and
// nothing is contracted. Functions of float64 are of this file, within 2 units in the last place, for the compiler to
// vectorise over full blocks of eight; NumPy's differ from them as they do from each other.
#include "watch_kernel.h"

namespace carrousel {
namespace {

using std::size_t;

#define INLINE inline __attribute__((always_inline))

constexpr size_t LANES = 8;
constexpr double INFINITE = __builtin_inf();

INLINE double maximum(double a, double b) { return a > b ? a : b; }
INLINE double minimum(double a, double b) { return a < b ? a : b; }
INLINE double magnitude(double a) { return __builtin_fabs(a); }
INLINE float maximum(float a, float b) { return a > b ? a : b; }
INLINE float minimum(float a, float b) { return a < b ? a : b; }
INLINE size_t smaller(size_t a, size_t b) { return a < b ? a : b; }
INLINE size_t padded(size_t n) { return (n + LANES - 1) / LANES * LANES; }
INLINE std::uint64_t bits_of(double v) { return __builtin_bit_cast(std::uint64_t, v); }
INLINE double from_bits(std::uint64_t v) { return __builtin_bit_cast(double, v); }

// ---- Functions. Free of branches; ranges as said.

constexpr double LN2_HIGH = 0x1.62e42feep-1, LN2_LOW = 0x1.a39ef35793c76p-33, LN2 = 0x1.62e42fefa39efp-1;
constexpr double LOG2E = 0x1.71547652b82fep+0, LOG10E = 0x1.bcb7b1526e50ep-2, LN10 = 0x1.26bb1bbb55516p+1;

// log of a normal number above 0; what is infinite or no number stays so. x = 2^k (1 + f) with √½ <= 1 + f < √2, and
// log(1 + f) as in Sun's fdlibm.
INLINE double log_of(double x) {
    constexpr std::uint64_t offset = 0x3fe6a09e00000000u;
    const std::uint64_t moved = bits_of(x) - offset;
    // moved / 2^52 is k, which a signed shift would give; k + 1023 is positive, and the bits 0x433 make it a number.
    const double k = from_bits(((moved + (std::uint64_t{1023} << 52)) >> 52) | 0x4330000000000000u) - (0x1p52 + 1023);
    const double f = from_bits(bits_of(x) - (moved & 0xfff0000000000000u)) - 1.0;
    const double s = f / (2.0 + f), z = s * s, w = z * z;
    const double even = w * (3.999999999940941908e-01 + w * (2.222219843214978396e-01 + w * 1.531383769920937332e-01));
    const double odd =
        z * (6.666666666666735130e-01 +
             w * (2.857142874366239149e-01 + w * (1.818357216161805012e-01 + w * 1.479819860511658591e-01)));
    const double half = 0.5 * f * f;
    const double result = k * LN2_HIGH - ((half - (s * (half + (even + odd)) + k * LN2_LOW)) - f);
    return x <= 0x1.fffffffffffffp+1023 ? result : x;
}

// e^x for any x that gives a normal number; 2^-1020 or so below, 2^1020 or so above. Fdlibm's as well.
INLINE double exp_of(double x) {
    constexpr double magic = 0x1.8p52;
    x = x < -707.0 ? -707.0 : x;
    x = x > 707.0 ? 707.0 : x;
    const double shifted = x * LOG2E + magic, k = shifted - magic;
    const double high = x - k * LN2_HIGH, low = k * LN2_LOW, r = high - low, t = r * r;
    const double c = r - t * (1.66666666666666019037e-01 +
                              t * (-2.77777777770155933842e-03 +
                                   t * (6.61375632143793436117e-05 +
                                        t * (-1.65339022054652515390e-06 + t * 4.13813679705723846039e-08))));
    const double y = 1.0 - ((low - r * c / (2.0 - c)) - high);
    return y * from_bits((bits_of(shifted) << 52) + 0x3ff0000000000000u);
}

// log(1 + x), x >= 0: what 1 + x lost is added again.
INLINE double log1p_of(double x) {
    const double u = 1.0 + x, lost = x < 1.0 ? x - (u - 1.0) : 1.0 - (u - x);
    const double result = log_of(u) + lost / u;
    return u <= 0x1.fffffffffffffp+1023 ? result : u;
}

INLINE double asinh_of(double x) {
    const double a = magnitude(x);
    const bool large = a > 0x1p60;  // asinh(x) is log(2x) then, and a² may be too large for a number
    const double b = large ? 1.0 : a, square = b * b;
    const double small = b + square / (1.0 + __builtin_sqrt(1.0 + square));
    const double result = log1p_of(large ? a : small) + (large ? LN2 : 0.0);
    return __builtin_copysign(result, x);
}

// (e^x − e^-x) / 2, where that would cancel its series.
INLINE double sinh_of(double x) {
    const double e = exp_of(magnitude(x)), z = x * x;
    const double far = 0.5 * (e - 1.0 / e);
    const double near =
        x + x * z *
                (1.0 / 6 +
                 z * (1.0 / 120 + z * (1.0 / 5040 +
                                       z * (1.0 / 362880 + z * (1.0 / 39916800 + z * (1.0 / 6227020800.0 +
                                                                                      z * (1.0 / 1307674368000.0 +
                                                                                           z / 355687428096000.0)))))));
    return magnitude(x) < 1.0 ? near : __builtin_copysign(far, x);
}

// In place, n a multiple of LANES.
#define OVER_ALL(name, function)                                                    \
    void name(double* x, size_t n) {                                                \
        for (size_t from = 0; from < n; from += LANES)                              \
            for (size_t k = 0; k < LANES; ++k) x[from + k] = function(x[from + k]); \
    }
OVER_ALL(exp_all, exp_of)
OVER_ALL(log_all, log_of)
OVER_ALL(log1p_all, log1p_of)
OVER_ALL(asinh_all, asinh_of)
OVER_ALL(sinh_all, sinh_of)

// ---- Eight lanes of float32, and the columns of eight rows that lie anywhere.

using v8 = float __attribute__((vector_size(32)));
using v8_loose = float __attribute__((vector_size(32), aligned(4), may_alias));

#if defined(__AVX2__)
#define ZIP_LOW(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 4, 12, 5, 13)
#define ZIP_HIGH(a, b) __builtin_shufflevector(a, b, 2, 10, 3, 11, 6, 14, 7, 15)
#define PAIR_LOW(a, b) __builtin_shufflevector(a, b, 0, 1, 8, 9, 4, 5, 12, 13)
#define PAIR_HIGH(a, b) __builtin_shufflevector(a, b, 2, 3, 10, 11, 6, 7, 14, 15)
#define HALF_LOW(a, b) __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11)
#define HALF_HIGH(a, b) __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15)

// columns[j][r] = rows[r][column + j]
INLINE void transpose(const float* const (&rows)[8], size_t column, v8 (&columns)[8]) {
    v8 a[8], b[8];
    for (int r = 0; r < 8; ++r) a[r] = *reinterpret_cast<const v8_loose*>(rows[r] + column);
    for (int r = 0; r < 8; r += 2) b[r] = ZIP_LOW(a[r], a[r + 1]), b[r + 1] = ZIP_HIGH(a[r], a[r + 1]);
    for (int r = 0; r < 8; r += 4) {
        a[r] = PAIR_LOW(b[r], b[r + 2]), a[r + 1] = PAIR_HIGH(b[r], b[r + 2]);
        a[r + 2] = PAIR_LOW(b[r + 1], b[r + 3]), a[r + 3] = PAIR_HIGH(b[r + 1], b[r + 3]);
    }
    for (int r = 0; r < 4; ++r) {
        columns[r] = HALF_LOW(a[r], a[r + 4]);
        columns[r + 4] = HALF_HIGH(a[r], a[r + 4]);
    }
}
#else
INLINE void transpose(const float* const (&rows)[8], size_t column, v8 (&columns)[8]) {
    for (int j = 0; j < 8; ++j)
        for (int r = 0; r < 8; ++r) columns[j][r] = rows[r][column + j];
}
#endif

// Ask for memory that is needed a little later: the streams' arrays are far larger than the caches, and a row of each
// is too short for the processor to see a pattern in. Addresses behind an array's end do no harm.
INLINE void fetch(const void* from, size_t ahead, size_t bytes) {
    const std::uintptr_t first = reinterpret_cast<std::uintptr_t>(from) + ahead;
    for (size_t k = 0; k < bytes; k += 64) __builtin_prefetch(reinterpret_cast<const void*>(first + k), 0, 2);
}
constexpr size_t AHEAD = 2;  // rows, or eight histograms

// ---- The block.

// Arrays of a block, one behind the other in the memory that it works in. Up to LANES numbers behind the end of one may
// be read and written: they are nobody's.
class Room {
public:
    explicit Room(unsigned char* from) : from_(from) {}  // null: only to measure
    template <class T>
    T* of(size_t n) {
        unsigned char* found = from_ == nullptr ? nullptr : from_ + used_;
        used_ += (padded(n) * sizeof(T) + 63) / 64 * 64;
        return reinterpret_cast<T*>(found);
    }
    size_t used() const { return used_; }

private:
    unsigned char* from_;
    size_t used_ = 0;
};

// The rows `first` ... first + rows of N · K, and what the stations say of them to each other.
struct Block {
    const WatchRules& w;
    const WatchState& s;
    size_t n, streams, r, rows;  // the first stream, how many; the first variable, how many

    const double *x = nullptr, *seconds = nullptr;  // of the block

    double *ok = nullptr, *value = nullptr, *scale = nullptr;                  // (rows), ok 1 or 0
    double *predicted = nullptr, *usual = nullptr;                             // (rows, 4)
    double *y = nullptr, *surprise = nullptr, *share = nullptr, *p = nullptr;  // (rows, M)
    size_t* bin = nullptr;                                                     // (rows, M)
    double *score_y = nullptr, *score_share = nullptr, *score_p = nullptr;     // (streams, 2): score, onset
    size_t* score_bin = nullptr;                                               // (streams, 2)
    double *some = nullptr, *others = nullptr;                                 // whatever a function needs
    const float** pointers = nullptr;                                          // (rows, H)
    float* sums = nullptr;                                                     // (2, BINS, 8)

    // Find a place for all; returns the bytes that they take.
    size_t lay(unsigned char* memory) {
        const size_t M = w.member.TOPS.count, H = w.forecast.HORIZONS.count, Q = w.forecast.QUANTILES.count;
        Room room(memory);
        ok = room.of<double>(rows);
        value = room.of<double>(rows);
        scale = room.of<double>(rows);
        predicted = room.of<double>(rows * 4);
        usual = room.of<double>(rows * 4);
        y = room.of<double>(rows * M);
        surprise = room.of<double>(rows * M);
        share = room.of<double>(rows * M);
        p = room.of<double>(rows * M);
        bin = room.of<size_t>(rows * M);
        score_y = room.of<double>(streams * 2);
        score_share = room.of<double>(streams * 2);
        score_p = room.of<double>(streams * 2);
        score_bin = room.of<size_t>(streams * 2);
        // The largest user is `quantiles`: of each horizon four shares, a spread and two numbers a gap, each padded.
        const size_t most = rows * (H + 1) * (2 * Q + w.forecast.CANDIDATES + 4) + 4 * LANES;
        some = room.of<double>(most);
        others = room.of<double>(most);
        pointers = room.of<const float*>(rows * H);
        sums = room.of<float>(2 * w.tail.BINS * LANES);
        return room.used();
    }
};

// Where a share from 0 to 1 falls; the last bin for 1, some bin for what is no number.
INLINE size_t place_of(double share, size_t bins) {
    const double place = share * static_cast<double>(bins);
    return place >= static_cast<double>(bins - 1) ? bins - 1 : place > 0 ? static_cast<size_t>(place) : 0;
}

// a − b·floor(a / b), as Python's %.
INLINE double modulo(double a, double b) {
    if (!(magnitude(a) < 1e15)) {
        const double rest = __builtin_fmod(a, b);
        return rest < 0 ? rest + b : rest;
    }
    double rest = a - __builtin_floor(a / b) * b;  // exact: b has few digits
    if (rest < 0) rest += b;
    return rest;
}

INLINE size_t modulo(std::int64_t a, size_t b) {
    const std::int64_t rest = a % static_cast<std::int64_t>(b);
    return static_cast<size_t>(rest < 0 ? rest + static_cast<std::int64_t>(b) : rest);
}

INLINE std::int64_t quotient(std::int64_t a, size_t b) {  // rounded down
    return (a - static_cast<std::int64_t>(modulo(a, b))) / static_cast<std::int64_t>(b);
}

// ---- online/baseline.py

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
    const double of_day = s.baseline.day_visits[day] > 0 ? s.baseline.day[day] : s.baseline.mean[r];
    return {of_day, s.baseline.week_visits[week] > 0 ? s.baseline.week[week] : of_day};
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

INLINE void learn(double& habit, std::uint8_t& visits, double value, size_t memory) {
    const size_t seen = smaller(static_cast<std::uint8_t>(visits + 1), memory);
    visits = static_cast<std::uint8_t>(seen);
    habit += (value - habit) / static_cast<double>(seen);
}

void update(Block& block) {
    const WatchRules& w = block.w;
    const WatchState& s = block.s;
    const auto& b = s.baseline;
    const auto& rule = w.baseline;
    for (size_t stream = 0, i = 0; stream < block.streams; ++stream) {
        const double seconds = block.seconds[stream];
        const Bins at = bins(w, seconds);
        tick(w, s, block.n + stream, seconds);
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
                double& error = b.error[4 * r + j];
                usual[j] = error;
                const double limit = young ? INFINITE : 10 * error + 0.5 * scale;
                error += (minimum(magnitude(value - predicted[j]), limit) - error) * rate;
            }
            const double reach = young ? INFINITE : 6 * scale;
            const double moved = minimum(maximum(value - b.mean[r], -reach), reach);
            rate = ok ? maximum(1 / maximum(count, 1), 1 / rule.MEMORY) : 0.0;
            b.mean[r] += rate * moved;
            if (count > 1) b.spread[r] += (magnitude(moved) - b.spread[r]) * rate;
            if (ok) {
                const size_t day = r * rule.DAY + at.day, week = r * rule.WEEK + at.week;
                learn(b.day[day], b.day_visits[day], value, rule.DAY_MEMORY);
                learn(b.week[week], b.week_visits[week], value, rule.WEEK_MEMORY);
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
            for (size_t j = 0; j < 4; ++j) error[4 * i + j] = maximum(b.error[4 * r + j] / scale, 1e-3);
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

// ---- online/forecast.py

// Where a forecast for some rows ahead lies: one row of stream n, variable k.
INLINE size_t slot_of(const WatchRules& w, size_t n, size_t slot, size_t k) {
    return (n * w.forecast.length + slot) * w.variables + k;
}

// For each of the statistics at z, of rows · H with the quantiles q (count, Q): z becomes log(1 + surprise).
void surprise(const WatchRules& w, double* z, const float* const* q, size_t count, double* inner) {
    const WatchList& P = w.forecast.QUANTILES;
    const size_t Q = P.count;
    for (size_t i = 0; i < count; ++i) {
        size_t k = 0;
        for (size_t j = 0; j < Q; ++j) k += z[i] > static_cast<double>(q[i][j]);
        const size_t left = k == 0 ? 0 : smaller(k - 1, Q - 2);
        const double a = q[i][left], b = q[i][left + 1];
        const double part = minimum(maximum((z[i] - a) / maximum(b - a, 1e-9), 0), 1);
        const double f = P.at[left] + (P.at[left + 1] - P.at[left]) * part;
        inner[i] = maximum(2 * minimum(f, 1 - f), 1e-12);
        const double first = q[i][0], second = q[i][1], last = q[i][Q - 1], before = q[i][Q - 2];
        const double below = (first - z[i]) / maximum((second - first) / w.forecast.LOG_STEP, 1e-4);
        const double above = (z[i] - last) / maximum((last - before) / w.forecast.LOG_STEP, 1e-4);
        const double outer = maximum(maximum(below, above), 0) - w.forecast.LOG_EDGE;
        z[i] = k == 0 || k == Q ? outer : -1.0;  // −1: the inner one, which is never below 0
    }
    log_all(inner, padded(count));
    for (size_t i = 0; i < count; ++i) z[i] = z[i] < 0 ? -inner[i] : z[i];
    log1p_all(z, padded(count));
}

void take(Block& block, const WatchReadings& out) {
    const WatchRules& w = block.w;
    const auto& f = block.s.forecast;
    const size_t H = w.forecast.HORIZONS.count, Q = w.forecast.QUANTILES.count, M = w.member.TOPS.count;
    const size_t K = w.variables, rows = block.rows, count = rows * H;
    double* z = block.some;            // (rows, H)
    double* band = z + padded(count);  // (rows, 3)
    double* inner = block.others;      // (rows, H)
    const float** q = block.pointers;  // (rows, H)
    for (size_t i = 0; i < rows; ++i) {
        const size_t n = block.n + i / K, k = i % K;
        for (size_t h = 0; h < H; ++h) {
            const size_t slot =
                modulo(f.made[n] - static_cast<std::int64_t>(w.forecast.HORIZONS.at[h]), w.forecast.length);
            const size_t at = slot_of(w, n, slot, k);
            q[i * H + h] = f.ring + (at * H + h) * Q;
            z[i * H + h] = (block.value[i] - f.mean[at]) / (f.scale[at] > 0 ? f.scale[at] : 1);
        }
        const float* one = q[i * H];
        band[3 * i] = one[1], band[3 * i + 1] = one[w.forecast.MIDDLE], band[3 * i + 2] = one[Q - 2];
    }
    asinh_all(z, padded(count));
    sinh_all(band, padded(rows * 3));
    surprise(w, z, q, count, inner);
    for (size_t i = 0; i < rows; ++i) {
        const size_t n = block.n + i / K, k = i % K;
        for (size_t h = 0; h < H; ++h) {
            const std::int64_t horizon = static_cast<std::int64_t>(w.forecast.HORIZONS.at[h]);
            const size_t at = slot_of(w, n, modulo(f.made[n] - horizon, w.forecast.length), k);
            const bool there = f.scale[at] > 0;
            block.y[i * M + h] = there && f.made[n] >= horizon ? z[i * H + h] : 0.0;
            if (h > 0) continue;
            const bool known = there && f.made[n] >= 1;
            double* const quantiles[3] = {out.lower, out.expected, out.upper};
            for (size_t j = 0; j < 3; ++j)
                quantiles[j][block.r + i] = known ? f.mean[at] + f.scale[at] * band[3 * i + j] : __builtin_nan("");
            out.residual[block.r + i] = block.ok[i] != 0 ? block.x[i] - out.expected[block.r + i] : __builtin_nan("");
        }
    }
}

// head (rows · H, head_size) and candidates (rows · H, 4) to found (rows · H, Q), ascending.
void quantiles(const WatchRules& w, const float* head, const double* candidates, size_t count, double* found,
               double* work) {
    const auto& f = w.forecast;
    const size_t C = f.CANDIDATES, Q = f.QUANTILES.count, G = Q - 1;
    double* share = work;                        // (count, C)
    double* spread = share + padded(count * C);  // (count)
    double* gaps = spread + padded(count);       // (count, G)
    double* soft = gaps + padded(count * G);     // (count, G)
    for (size_t i = 0; i < count; ++i) {
        const float* logits = head + i * f.head_size;
        float most = logits[0];
        for (size_t j = 1; j < C; ++j) most = maximum(most, logits[j]);
        for (size_t j = 0; j < C; ++j) share[i * C + j] = static_cast<double>(logits[j]) - static_cast<double>(most);
        spread[i] = minimum(
            maximum(f.LOG_SPREAD.at[0] * static_cast<double>(logits[C + 1]) + f.LOG_SPREAD.at[1], f.LEAST_SPREAD), 2.0);
        for (size_t j = 0; j < G; ++j) {
            gaps[i * G + j] = static_cast<double>(logits[C + 2 + j]) + f.GAP;
            soft[i * G + j] = -magnitude(gaps[i * G + j]);
        }
    }
    exp_all(share, padded(count * C));
    exp_all(spread, padded(count));
    exp_all(soft, padded(count * G));  // log(eᵍ + 1) is the larger of g and 0, and log(1 + e^-|g|)
    log1p_all(soft, padded(count * G));
    for (size_t i = 0; i < count; ++i) {
        double weighted = 0, total = 0;
        for (size_t j = 0; j < C; ++j) {
            weighted += share[i * C + j] * candidates[i * C + j];
            total += share[i * C + j];
        }
        weighted /= total;
        const double middle = weighted + f.OFFSET * static_cast<double>(head[i * f.head_size + C]);
        double* q = found + i * Q;
        const auto gap = [&](size_t j) { return (maximum(gaps[i * G + j], 0) + soft[i * G + j]) * spread[i]; };
        q[f.MIDDLE] = middle;
        double up = 0, down = 0;
        for (size_t j = f.MIDDLE; j < G; ++j) q[j + 1] = middle + (up += gap(j));
        for (size_t j = f.MIDDLE; j-- > 0;) q[j] = middle - (down += gap(j));
    }
}

void put(Block& block, const float* features, const float* head) {
    const WatchRules& w = block.w;
    const auto& f = block.s.forecast;
    const size_t H = w.forecast.HORIZONS.count, Q = w.forecast.QUANTILES.count, C = w.forecast.CANDIDATES;
    const size_t K = w.variables, rows = block.rows;
    double* found = block.some;                         // (rows, H, Q)
    double* candidates = found + padded(rows * H * Q);  // (rows, H, C)
    for (size_t i = 0; i < rows; ++i) {
        const float* row = features + (block.r + i) * w.feature_count;
        for (size_t h = 0; h < H; ++h) {
            double* c = candidates + (i * H + h) * C;
            c[0] = row[0], c[1] = 0, c[2] = row[2 + 2 * h], c[3] = row[3 + 2 * h];
        }
    }
    quantiles(w, head + block.r * H * w.forecast.head_size, candidates, rows * H, found, block.others);
    for (size_t i = 0; i < rows; ++i) {
        const size_t n = block.n + i / K, r = block.r + i;
        const size_t at = slot_of(w, n, modulo(f.made[n], w.forecast.length), i % K);
        for (size_t j = 0; j < H * Q; ++j) f.ring[at * H * Q + j] = static_cast<float>(found[i * H * Q + j]);
        f.mean[at] = block.s.baseline.mean[r];
        f.scale[at] = deviation(block.s, r);
    }
    for (size_t n = block.n; n < block.n + block.streams; ++n) ++f.made[n];
}

// ---- online/member.py

// Where the stretch of a number is kept: the first ones in order, then at random, the same for the same number.
INLINE size_t slot_of(const WatchRules& w, std::int64_t number) {
    if (number < static_cast<std::int64_t>(w.member.KEPT)) return modulo(number, w.member.KEPT);
    return ((static_cast<std::uint64_t>(number) * 0x9E3779B97F4A7C15u) >> 40) % w.member.KEPT;
}

// √ of the mean square distance to the two nearest of `filled` kept stretches, at least two where it matters.
INLINE double nearest(const float* kept, const float* stretch, size_t span, size_t filled) {
    constexpr float far = __builtin_inff();
    v8 least = far - v8{}, second = least;
    for (size_t from = 0; from < filled; from += 8) {
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
            fetch(kept, AHEAD * KEPT * span * sizeof(float), KEPT * span * sizeof(float));
            __builtin_memmove(stretch, stretch + 1, (span - 1) * sizeof(float));
            const double off = (block.value[i] - block.s.baseline.mean[r]) / block.scale[i];
            stretch[span - 1] = static_cast<float>(minimum(maximum(off, -6), 6));
            out[i * stride] = filled > 8 ? nearest(kept, stretch, span, filled) : 0.0;
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

// ---- online/tail.py

// The p-values of up to eight statistics, each by a histogram of its own.
void tail_p_values(const WatchRules& w, const float* const (&counts)[8], const double (&share)[8],
                   const double (&seen)[8], double excesses, double (&p)[8], float* sums) {
    const double TAIL = w.tail.TAIL, PRIOR = w.tail.PRIOR, EXCESS = w.tail.EXCESS, MEMORY = w.tail.MEMORY;
    const double YOUNG = w.tail.YOUNG;
    const size_t bins = w.tail.BINS;
    const double BINS = static_cast<double>(bins);
    v8_loose* aboves = reinterpret_cast<v8_loose*>(sums);  // (bins): of a bin and those over it
    v8_loose* ladders = aboves + bins;                     // (bins): of those sums
    v8 above = {}, ladder = {};
    for (size_t end = bins; end > 0;) {
        const size_t column = end >= 8 ? end - 8 : 0;
        v8 columns[8];
        transpose(counts, column, columns);
        if (end - column == 8) {
#pragma GCC unroll 8
            for (size_t j = 8; j-- > 0;) {
                aboves[column + j] = above += columns[j];
                ladders[column + j] = ladder += above;
            }
            end = column;
        } else {
            while (end > 0) {
                --end;
                aboves[end] = above += columns[end];
                ladders[end] = ladder += above;
            }
        }
    }
    float total[8], tail[8];
    for (int l = 0; l < 8; ++l) {
        total[l] = maximum(above[l], 1e-12f);
        tail[l] = static_cast<float>(minimum(excesses / maximum(minimum(seen[l], MEMORY), 1), TAIL)) * total[l];
    }
    const v8 limit = *reinterpret_cast<const v8_loose*>(tail);
    std::int32_t edge[8];
    {
        using i8 = std::int32_t __attribute__((vector_size(32), aligned(4), may_alias));
        i8 count = {};
        for (size_t k = 0; k < bins; ++k) count -= aboves[k] > limit;  // true is −1
        *reinterpret_cast<i8*>(edge) = count;
    }
    double inner[8], beyond[8], sum[8], all[8], excess[8], outer[8], rate[8];
    for (size_t l = 0; l < 8; ++l) {
        const size_t k = place_of(share[l], bins), u = smaller(static_cast<size_t>(edge[l]), bins - 1);
        const double here = sums[k * 8 + l], after = k < bins - 1 ? sums[(k + 1) * 8 + l] : 0.0f;
        all[l] = total[l];
        inner[l] = (here + (after - here) * (share[l] * BINS - static_cast<double>(k))) / all[l];
        beyond[l] = sums[u * 8 + l];
        sum[l] = sums[(bins + u) * 8 + l];
        excess[l] = share[l] - static_cast<double>(u) / BINS;
    }
    double base[8], power[8];
    for (int l = 0; l < 8; ++l) {
        const double rows = minimum(seen[l], MEMORY);
        const double a = PRIOR + beyond[l] / all[l] * rows;
        const double mean = maximum(sum[l] / maximum(beyond[l], 1e-12) - 0.5, 0) / BINS;
        const double s = PRIOR * EXCESS + (a - PRIOR) * mean;
        rate[l] = maximum(beyond[l] / all[l], 0.5 / (rows + 1));
        base[l] = 1 + maximum(excess[l], 0) / s;
        power[l] = -a;
    }
    log_all(base, 8);
    for (int l = 0; l < 8; ++l) outer[l] = power[l] * base[l];
    exp_all(outer, 8);
    for (int l = 0; l < 8; ++l) {
        const double found = excess[l] > 0 ? rate[l] * outer[l] : maximum(inner[l], rate[l]);
        const double within = minimum(maximum(found, 1e-30), 1);
        p[l] = seen[l] > YOUNG ? within : 1.0;
    }
}

// Of y (rows, columns) with the histograms of those rows; column c with that of tails[c], or all with those of one
// tail.
void p_values(const WatchRules& w, const WatchTail* tails, bool apart, size_t first, size_t rows, size_t columns,
              double excesses, const double* y, const double* top, double* share, size_t* bin, double* p, float* sums) {
    const size_t bins = w.tail.BINS;
    const auto histogram = [&](size_t at) {
        const size_t r = first + at / columns, c = at % columns;
        return apart ? tails[c].counts + r * bins : tails[0].counts + (r * columns + c) * bins;
    };
    for (size_t at = 0; at < rows * columns; at += 8) {
        const size_t each = (apart ? 8 / columns : 8) * bins * sizeof(float);  // of one array, by eight histograms
        for (size_t c = 0; c < (apart ? columns : 1); ++c) fetch(histogram(at + c), AHEAD * each, each);
        const float* counts[8];
        double shares[8], seen[8], found[8];
        for (size_t l = 0; l < 8; ++l) {
            const size_t of = smaller(at + l, rows * columns - 1), c = of % columns;
            shares[l] = minimum(maximum(y[of] / top[c], 0), 1);
            counts[l] = histogram(of);
            seen[l] = tails[apart ? c : 0].seen[first + of / columns];
        }
        tail_p_values(w, counts, shares, seen, excesses, found, sums);
        for (size_t l = 0; l < 8 && at + l < rows * columns; ++l) {
            share[at + l] = shares[l];
            bin[at + l] = place_of(shares[l], bins);
            p[at + l] = found[l];
        }
    }
}

// Add statistics, whose bins `p_values` found, to the past of row r.
INLINE void learn(const WatchRules& w, const WatchTail& tail, size_t r, size_t columns, const size_t* bin,
                  size_t stride, bool ok) {
    const size_t bins = w.tail.BINS;
    const float LARGEST = static_cast<float>(w.tail.LARGEST);
    float* counts = tail.counts + r * columns * bins;
    float& weight = tail.weight[r];
    if (ok) {
        for (size_t c = 0; c < columns; ++c) counts[c * bins + bin[c * stride]] += weight;
        tail.seen[r] += 1;
        weight *= static_cast<float>(1 + 1 / w.tail.MEMORY);
    }
    if (weight > LARGEST) {
        for (size_t k = 0; k < columns * bins; ++k) counts[k] /= LARGEST;
        weight /= LARGEST;
    }
}

// ---- online/alarm.py

INLINE double join(const WatchRules& w, const double* surprise, size_t count) {
    if (count == 1) return surprise[0];
    double one = maximum(surprise[0], surprise[1]), two = minimum(surprise[0], surprise[1]);
    for (size_t k = 2; k < count; ++k) {
        two = maximum(two, minimum(one, surprise[k]));
        one = maximum(one, surprise[k]);
    }
    return one + w.alarm.SECOND * two;
}

// log₁₀ of how often a row so large an onset came elsewhere: a broken line.
INLINE double elsewhere(const WatchRules& w, double onset) {
    const WatchList& line = w.alarm.ELSEWHERE;  // x and y of each corner
    const size_t corners = line.count / 2;
    if (!(onset > line.at[0])) return line.at[1];
    size_t j = 0;
    while (j + 1 < corners && onset >= line.at[2 * j + 2]) ++j;
    const double *from = line.at + 2 * j, *to = from + 2;
    if (j + 1 == corners || onset == from[0]) return from[1];
    return (to[1] - from[1]) / (to[0] - from[0]) * (onset - from[0]) + from[1];
}

// How often a row so large an onset came, in the stream and elsewhere; own (streams) becomes that.
void rarity_of(const Block& block, double* own) {
    const WatchRules& w = block.w;
    log_all(own, padded(block.streams));
    for (size_t stream = 0; stream < block.streams; ++stream) {
        const double weight = minimum(block.s.onsets.seen[block.n + stream], w.tail.MEMORY);
        const double of_own = own[stream] * LOG10E, rows = w.alarm.ELSEWHERE_ROWS;
        const double line = elsewhere(w, block.score_y[2 * stream + 1]);
        own[stream] = (weight * of_own + rows * line) / (weight + rows) * LN10;
    }
    exp_all(own, padded(block.streams));
}

void update_alarm(Block& block, const WatchReadings& out) {
    const WatchRules& w = block.w;
    const auto& a = block.s.alarm;
    const size_t K = w.variables, M = w.member.TOPS.count, HOLD = w.alarm.HOLD;
    double* observed = block.others;  // (streams) 1 or 0
    for (size_t stream = 0; stream < block.streams; ++stream) {
        const size_t n = block.n + stream;
        bool ok = false;
        for (size_t k = 0; k < K; ++k) ok |= block.ok[stream * K + k] != 0;
        observed[stream] = ok;
        const double score = ok ? join(w, block.surprise + stream * K * M, K * M) : 0.0;
        out.warming[n] = a.seen[n] < static_cast<std::int64_t>(w.alarm.WARM);
        float* recent = a.recent + n * HOLD;
        float most = recent[0];
        for (size_t k = 1; k < HOLD; ++k) most = maximum(most, recent[k]);
        const double onset = score > static_cast<double>(most) ? score : 0.0;
        recent[modulo(a.rows[n], HOLD)] = static_cast<float>(score);
        ++a.rows[n];
        a.seen[n] += ok;
        out.score[n] = block.score_y[2 * stream] = score;
        out.onset[n] = onset;
        block.score_y[2 * stream + 1] = a.incident[n] != 0 ? 0.0 : onset;  // the candidate
    }
    const WatchTail tails[2] = {block.s.scores, block.s.onsets};
    const double tops[2] = {w.alarm.TOP, w.alarm.TOP};
    p_values(w, tails, true, block.n, block.streams, 2, w.alarm.EXCESSES, block.score_y, tops, block.score_share,
             block.score_bin, block.score_p, block.sums);
    double* rarity = block.some;  // (streams)
    for (size_t stream = 0; stream < block.streams; ++stream) rarity[stream] = block.score_p[2 * stream + 1];
    rarity_of(block, rarity);
    for (size_t stream = 0; stream < block.streams; ++stream) {
        const size_t n = block.n + stream;
        const bool ok = observed[stream] != 0;
        const double candidate = block.score_y[2 * stream + 1];
        const double p_value = out.p_value[n] = ok ? block.score_p[2 * stream] : 1.0;
        const double rare = out.rarity[n] = candidate > 0 ? rarity[stream] : 1.0;
        const bool learnt = ok && a.seen[n] > static_cast<std::int64_t>(w.alarm.WARM / 3);
        learn(w, tails[0], n, 1, block.score_bin + 2 * stream, 1, learnt);
        learn(w, tails[1], n, 1, block.score_bin + 2 * stream + 1, 1, learnt);
        const bool running = a.incident[n] != 0;
        const double promised = w.per_second ? w.rate * block.s.baseline.interval[n] : w.rate;
        const bool fires = ok && !out.warming[n] && candidate > 0 && rare * w.factor <= promised;
        const bool odd = ok && p_value <= w.alarm.ORDINARY;
        a.calm[n] = fires || odd ? 0 : a.calm[n] + 1;
        a.incident[n] = (running && a.calm[n] < static_cast<std::int64_t>(w.alarm.CALM)) || fires;
        out.alarm[n] = fires;
        out.incident[n] = a.incident[n];
    }
}

// ---- online/watch.py

Block block_of(const WatchRules& rules, const WatchState& state, size_t first, size_t streams, unsigned char* scratch) {
    Block block{rules, state, first, streams, first * rules.variables, streams * rules.variables};
    block.lay(scratch);
    return block;
}

void before(const WatchRules& w, const WatchState& s, size_t first, size_t streams, const double* values,
            const double* seconds, const WatchReadings& out, float* told, unsigned char* scratch) {
    Block block = block_of(w, s, first, streams, scratch);
    const size_t M = w.member.TOPS.count;
    block.x = values + block.r;
    block.seconds = seconds + first;
    update(block);
    take(block, out);
    update_members(block);
    p_values(w, &s.tail, false, block.r, block.rows, M, INFINITE, block.y, w.member.TOPS.at, block.share, block.bin,
             block.p, block.sums);
    for (size_t k = 0; k < block.rows * M; ++k) block.surprise[k] = block.p[k];
    log_all(block.surprise, padded(block.rows * M));
    for (size_t i = 0; i < block.rows; ++i) {
        const bool ok = block.ok[i] != 0;
        for (size_t m = 0; m < M; ++m) {
            double& surprise = block.surprise[i * M + m];
            surprise = ok ? -(surprise * LOG10E) : 0.0;
            out.contributions[(block.r + i) * M + m] = surprise;
        }
        learn(w, s.tail, block.r + i, M, block.bin + i * M, 1, ok);
    }
    update_alarm(block, out);
    features(block, told);
}

void after(const WatchRules& w, const WatchState& s, size_t first, size_t streams, const float* told, const float* head,
           unsigned char* scratch) {
    Block block = block_of(w, s, first, streams, scratch);
    put(block, told, head);
}

size_t scratch_size(const WatchRules& w, size_t streams) {
    const WatchState none{};
    return Block{w, none, 0, streams, 0, streams * w.variables}.lay(nullptr);
}

void functions(const double* x, double* exp, double* log, double* log1p, double* asinh, double* sinh, size_t n) {
    double* const all[] = {exp, log, log1p, asinh, sinh};
    for (double* out : all) __builtin_memcpy(out, x, n * sizeof(double));
    exp_all(exp, n);
    log_all(log, n);
    log1p_all(log1p, n);
    asinh_all(asinh, n);
    sinh_all(sinh, n);
}

}  // namespace

#define JOIN(a, b) a##b
#define NAMED(table, isa) JOIN(table, isa)
extern const WatchKernel NAMED(watch_, CARROUSEL_ISA);
const WatchKernel NAMED(watch_, CARROUSEL_ISA) = {scratch_size, before, after, functions};

}  // namespace carrousel
