// The per-row work of carrousel.online, whose NumPy files are the specification: online/ has a file for each of them
// and a function for each of theirs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "buffer.h"
#include "model.h"
#include "watch_kernel.h"
#include "watch_rules.h"

namespace carrousel {

struct Isa;
const WatchKernel& watch_kernel(const Isa& isa);

class Watch {
public:
    // Numbers by "module.NAME", arrays by "part.name"; the session's rows are the N · K variables, its only stack the
    // forecasting network. All of these must outlive the watch. Throws Error where a number or an array is missing or
    // does not fit.
    Watch(Session& session, std::size_t variables, const WatchNumbers& numbers, const WatchArrays& arrays);

    std::size_t batch() const { return batch_; }
    std::size_t variables() const { return rules_.variables; }
    std::size_t covariates() const { return rules_.covariates; }
    std::size_t members() const { return rules_.member.TOPS.count; }

    // Whether a time is one that a clock may show: finite, and no difference of two of them overflows.
    bool is_time(double seconds) const { return seconds <= rules_.watch.LARGEST && seconds >= -rules_.watch.LARGEST; }

    // values (N, K + P), seconds (N), each is_time. Allocates nothing, throws nothing.
    void step(const double* values, const double* seconds, const WatchReadings& readings) noexcept;

private:
    // Ask the network about features_, and keep what it says.
    void forecast() noexcept;
    template <class Work>
    void for_blocks(const Work& work) noexcept;
    std::size_t told() const { return rules_.feature_count + rules_.covariates; }

    Session& session_;
    const WatchKernel& kernel_;
    WatchRules rules_{};
    WatchState state_{};
    std::size_t batch_ = 0, block_ = 1;
    std::vector<float> features_, head_;
    std::vector<double> values_;  // (N · K), where covariates stand behind those of each stream
    Buffer scratch_;
};

}  // namespace carrousel
