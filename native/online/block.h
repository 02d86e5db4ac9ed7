// Some rows of the streams' arrays, and what the functions of this folder say of them to each other. Like lanes.h, the
// files of this folder are part of watch_kernel.cpp and of nothing else.
#pragma once

#include "../lanes.h"
#include "../watch_kernel.h"

namespace carrousel {
namespace {

// Ask for memory that is needed a little later: the streams' arrays are far larger than the caches, and a row of each
// is too short for the processor to see a pattern in. Addresses behind an array's end do no harm.
INLINE void fetch(const void* from, size_t ahead, size_t bytes) {
    const std::uintptr_t first = reinterpret_cast<std::uintptr_t>(from) + ahead;
    for (size_t k = 0; k < bytes; k += 64) __builtin_prefetch(reinterpret_cast<const void*>(first + k), 0, 2);
}
constexpr size_t AHEAD = 2;  // rows, or eight histograms

// Numbers of a line of kept rows: filled up to 48, and the first ones once more behind them.
INLINE size_t member_line(const WatchRules& w) {
    return (w.member.KEPT + 47) / 48 * 48 + ((w.member.SPAN - 1) / w.member.EVERY + 15) / 16 * 16;
}

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

    double* before = nullptr;                                                  // (streams), the time of the last row
    double *ok = nullptr, *value = nullptr, *scale = nullptr;                  // (rows), ok 1 or 0
    double *predicted = nullptr, *usual = nullptr;                             // (rows, 4)
    double *y = nullptr, *surprise = nullptr, *share = nullptr, *p = nullptr;  // (rows, M)
    size_t* bin = nullptr;                                                     // (rows, M)
    double *score = nullptr, *onset = nullptr, *score_p = nullptr;             // (streams)
    size_t *score_bin = nullptr, *onset_bin = nullptr;                         // (streams)
    double *some = nullptr, *others = nullptr;                                 // whatever a function needs
    double* quantiles = nullptr;                                               // (rows, H, Q)
    std::int32_t* sums = nullptr;                                              // (BINS, 8)
    std::int32_t* lines = nullptr;                                             // (EVERY + 1, member_line)

    // Find a place for all; returns the bytes that they take.
    size_t lay(unsigned char* memory) {
        const size_t M = w.member.TOPS.count, H = w.forecast.HORIZONS.count, Q = w.forecast.QUANTILES.count;
        Room room(memory);
        before = room.of<double>(streams);
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
        score = room.of<double>(streams);
        onset = room.of<double>(streams);
        score_p = room.of<double>(streams);
        score_bin = room.of<size_t>(streams);
        onset_bin = room.of<size_t>(streams);
        // The largest user is `quantiles`: of each horizon four shares, a spread and two numbers a gap, each padded.
        const size_t most = rows * (H + 1) * (2 * Q + w.forecast.CANDIDATES + 4) + 4 * LANES;
        some = room.of<double>(most);
        others = room.of<double>(most);
        quantiles = room.of<double>(rows * H * Q);
        sums = room.of<std::int32_t>(w.tail.BINS * LANES);
        lines = room.of<std::int32_t>((w.member.EVERY + 1) * member_line(w));
        return room.used();
    }
};

// Ask for the next block's numbers of some arrays of all variables, one array behind the other: there are more of them
// than the processor would follow by itself.
template <class T>
INLINE void fetch_next(const Block& block, const T* arrays, size_t count = 1) {
    const size_t R = block.w.streams * block.w.variables;
    for (size_t k = 0; k < count; ++k) fetch(arrays + k * R + block.r + block.rows, 0, block.rows * sizeof(T));
}

// Where a share from 0 to 1 falls; the last bin for 1, some bin for what is no number.
INLINE size_t place_of(double share, size_t bins) {
    const double place = share * static_cast<double>(bins);
    return place >= static_cast<double>(bins - 1) ? bins - 1 : place > 0 ? static_cast<size_t>(place) : 0;
}

// As NumPy has them: what is no number remains none.
INLINE double lesser(double a, double b) { return a < b || a != a ? a : b; }
INLINE double greater(double a, double b) { return a > b || a != a ? a : b; }

// a − b·floor(a / b), as Python's %.
INLINE double modulo(double a, double b) {
    if (!(magnitude(a) < 1e15) || b != __builtin_floor(b) || !(b < 0x1p27)) {
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

}  // namespace
}  // namespace carrousel
