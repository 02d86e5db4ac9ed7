// The twin of carrousel/online/alarm.py.
#pragma once

#include "tail.h"

namespace carrousel {
namespace {

// The first members, forecasts all, count as one, and so does what the forecast of a row with covariates leaves of it.
INLINE double join(const WatchRules& w, const double* surprise, size_t variables, size_t members) {
    const size_t forecasts = w.forecast.HORIZONS.count, residual = w.covariates > 0 ? members - 2 : members;
    double one = 0, two = 0;
    for (size_t k = 0; k < variables; ++k, surprise += members) {
        double most = surprise[0];
        for (size_t m = 1; m < forecasts; ++m) most = maximum(most, surprise[m]);
        if (residual < members) most = maximum(most, surprise[residual]);
        for (size_t m = forecasts; m <= members; ++m) {
            two = maximum(two, minimum(one, most));
            one = maximum(one, most);
            if (m == residual) ++m;
            if (m < members) most = surprise[m];
        }
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
        const double weight = minimum(static_cast<double>(block.s.onsets.seen[block.n + stream]), w.tail.MEMORY);
        const double of_own = own[stream] * LOG10E, rows = w.alarm.ELSEWHERE_ROWS;
        const double line = elsewhere(w, block.onset[stream]);
        own[stream] = (weight * of_own + rows * line) / (weight + rows) * LN10;
    }
    exp_all(own, padded(block.streams));
}

INLINE float largest(const float* x, size_t n) {
    float most = x[0];
    size_t k = 0;
    if (n >= 8) {
        v8 lanes = *reinterpret_cast<const v8_loose*>(x);
        for (k = 8; k + 8 <= n; k += 8) {
            const v8 more = *reinterpret_cast<const v8_loose*>(x + k);
            lanes = lanes > more ? lanes : more;
        }
        for (int l = 0; l < 8; ++l) most = maximum(most, lanes[l]);
    }
    for (; k < n; ++k) most = maximum(most, x[k]);
    return most;
}

void update_alarm(Block& block, const WatchReadings& out) {
    const WatchRules& w = block.w;
    const auto& a = block.s.alarm;
    const size_t K = w.variables, M = w.member.TOPS.count, HOLD = w.alarm.HOLD, PART = w.alarm.PART;
    const size_t parts = HOLD / PART;
    fetch(a.recent + (block.n + block.streams) * (parts + 1), 0, block.streams * (parts + 1) * sizeof(float));
    double* observed = block.others;  // (streams) 1 or 0
    bool any = false;
    for (size_t stream = 0; stream < block.streams; ++stream) {
        const size_t n = block.n + stream;
        bool ok = false;
        for (size_t k = 0; k < K; ++k) ok |= block.ok[stream * K + k] != 0;
        observed[stream] = ok;
        const double score = ok ? join(w, block.surprise + stream * K * M, K, M) : 0.0;
        out.warming[n] = a.seen[n] < w.alarm.WARM;
        float* recent = a.recent + n * (parts + 1);
        float& now = recent[smaller(a.row[n] / PART, parts)];
        now = a.row[n] % PART == 0 ? 0.0f : now;  // a part begins
        const float most = largest(recent, parts + 1);
        const double onset = score > static_cast<double>(most) ? score : 0.0;
        now = maximum(now, static_cast<float>(score));
        a.row[n] = static_cast<std::uint8_t>((a.row[n] + 1U) % (HOLD + PART));
        a.seen[n] = static_cast<std::uint8_t>(smaller(a.seen[n] + (ok ? 1U : 0U), w.alarm.WARM));
        out.score[n] = block.score[stream] = score;
        out.onset[n] = onset;
        block.onset[stream] = a.incident[n] != 0 ? 0.0 : onset;  // the candidate
        any |= block.onset[stream] > 0;
    }
    const double TOP = w.alarm.TOP;
    double* share = block.share;  // (streams)
    double* rarity = block.some;  // (streams)
    p_values(w, block.s.scores, block.n, block.streams, 1, w.alarm.EXCESSES, block.score, &TOP, share, block.score_bin,
             block.score_p, block.sums);
    if (any) {
        p_values(w, block.s.onsets, block.n, block.streams, 1, w.alarm.EXCESSES, block.onset, &TOP, share,
                 block.onset_bin, rarity, block.sums);
        rarity_of(block, rarity);
    } else {  // as nearly always, and nothing is asked of them
        for (size_t stream = 0; stream < block.streams; ++stream) block.onset_bin[stream] = 0;
    }
    for (size_t stream = 0; stream < block.streams; ++stream) {
        const size_t n = block.n + stream;
        const bool ok = observed[stream] != 0;
        const double candidate = block.onset[stream];
        const double p_value = out.p_value[n] = ok ? block.score_p[stream] : 1.0;
        const double rare = out.rarity[n] = candidate > 0 ? rarity[stream] : 1.0;
        const bool learnt = ok && a.seen[n] > w.alarm.WARM / 3;
        learn(w, block.s.scores, n, 1, block.score_bin + stream, learnt);
        learn(w, block.s.onsets, n, 1, block.onset_bin + stream, learnt);
        const bool running = a.incident[n] != 0;
        const double promised = w.per_second ? w.rate * block.s.baseline.interval[n] : w.rate;
        const bool fires = ok && !out.warming[n] && candidate > 0 && rare * w.factor <= promised;
        const bool odd = ok && p_value <= w.alarm.ORDINARY;
        a.calm[n] = fires || odd ? 0 : static_cast<std::uint8_t>(smaller(a.calm[n] + 1U, w.alarm.CALM));
        a.incident[n] = (running && a.calm[n] < w.alarm.CALM) || fires;
        out.alarm[n] = fires;
        out.incident[n] = a.incident[n];
    }
}

}  // namespace
}  // namespace carrousel
