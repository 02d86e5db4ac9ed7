// A row's way through the detector, the twin of carrousel/online/watch.py, compiled once per instruction set. The
// folder online/ has a file for each of that folder and a function for each of theirs: the same operations in the same
// order, over a block of rows R = streams · K. A change there is one here.
//
// A value never depends on what else is in the block: every number has a lane of its own, no sum runs across lanes, and
// nothing is contracted. Functions of float64 are those of lanes.h, which differ from NumPy's in the last places.
#include "watch_kernel.h"

#include "online/alarm.h"
#include "online/baseline.h"
#include "online/beyond.h"
#include "online/covariate.h"
#include "online/drift.h"
#include "online/forecast.h"
#include "online/member.h"
#include "online/season.h"
#include "online/tail.h"
#include "online/trend.h"

namespace carrousel {
namespace {

Block block_of(const WatchRules& rules, const WatchState& state, size_t first, size_t streams, unsigned char* scratch) {
    Block block{rules, state, first, streams, first * rules.variables, streams * rules.variables};
    block.lay(scratch);
    return block;
}

// What lies underneath: the season, the trend without it, and whether values or residuals are distributed otherwise.
void underneath(Block& block, const WatchReadings& out) {
    const WatchRules& w = block.w;
    double *rest = block.some, *steps = block.others;  // (rows)
    update_season(block, out, rest);
    for (size_t stream = 0, i = 0; stream < block.streams; ++stream) {
        const double interval = block.s.baseline.interval[block.n + stream];
        const double since = block.seconds[stream] - block.before[stream];
        const bool known = since > 0 && interval > 0;
        const double step = known ? minimum(maximum(since / interval, w.watch.SHORTEST), w.watch.LONGEST) : 1.0;
        for (size_t k = 0; k < w.variables; ++k, ++i) steps[i] = step;
    }
    update_trend(block, rest, steps, out);
    std::uint8_t* found = out.drift + block.r;
    for (size_t i = 0; i < block.rows; ++i) found[i] = 0;
    update_drift(block, block.s.drifts[0], block.x, found);
    update_drift(block, block.s.drifts[1], out.residual + block.r, found);
}

void before(const WatchRules& w, const WatchState& s, size_t first, size_t streams, const double* values,
            const double* seconds, const WatchReadings& out, float* told, unsigned char* scratch) {
    Block block = block_of(w, s, first, streams, scratch);
    const size_t M = w.member.TOPS.count;
    block.x = values + block.r;
    block.seconds = seconds + first;
    for (size_t stream = 0; stream < streams; ++stream) block.before[stream] = s.baseline.time[first + stream];
    update(block);
    take(block, out);
    update_members(block);
    if (w.covariates > 0) update_residuals(block, out.residual + block.r);
    p_values(w, s.tail, block.r, block.rows, M, INFINITE, block.y, w.member.TOPS.at, block.share, block.bin, block.p,
             block.sums);
    for (size_t k = 0; k < block.rows * M; ++k) block.surprise[k] = block.p[k];
    log_all(block.surprise, padded(block.rows * M));
    for (size_t i = 0; i < block.rows; ++i) {
        const bool ok = block.ok[i] != 0;
        for (size_t m = 0; m < M; ++m) {
            double& surprise = block.surprise[i * M + m];
            surprise = ok ? -(surprise * LOG10E) : 0.0;
            out.contributions[(block.r + i) * M + m] = surprise;
        }
        learn(w, s.tail, block.r + i, M, block.bin + i * M, ok);
    }
    update_alarm(block, out);
    features(block, told);
    underneath(block, out);
    if (w.by_beyond) update_beyond(block, out);
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
const WatchKernel NAMED(watch_, CARROUSEL_ISA) = {scratch_size, join_covariates, before, after, functions};

}  // namespace carrousel
