// Streams in blocks, and the network's step in their middle. The arithmetic: watch_kernel.cpp.
#include "watch.h"

#include <algorithm>

#include "isa.h"
#include "watch_rules.h"

namespace carrousel {

#if defined(__x86_64__)
extern const WatchKernel watch_avx2, watch_avx512, watch_avx512vnni;
#elif defined(__aarch64__)
extern const WatchKernel watch_neon;
#endif
extern const WatchKernel watch_portable;

const WatchKernel& watch_kernel(const Isa& isa) {
    const std::string name = isa.name;
#if defined(__x86_64__)
    if (name == "avx2") return watch_avx2;
    if (name == "avx512") return watch_avx512;
    if (name == "avx512vnni" || name == "avx512bf16") return watch_avx512vnni;
#elif defined(__aarch64__)
    if (name == "neon") return watch_neon;
#endif
    return watch_portable;
}

namespace {

// Variables that pass through all stations together: so many that vectors are full, and the next ones' memory comes in
// time.
constexpr std::size_t BLOCK = 48;

}  // namespace

Watch::Watch(Session& session, std::size_t variables, const WatchNumbers& numbers, const WatchArrays& arrays)
    : session_(session), kernel_(watch_kernel(choose_isa(session.model()->isa()))) {
    if (variables == 0 || session.batch() % variables != 0)
        throw Error("watch: expected a session of N · " + std::to_string(variables) + " rows, got " +
                    std::to_string(session.batch()));
    batch_ = session.batch() / variables;
    rules_ = read_rules(numbers, arrays, batch_, variables);
    state_ = find_state(arrays, rules_);
    const Architecture& architecture = session.model()->architecture();
    const std::size_t out = rules_.forecast.HORIZONS.count * rules_.forecast.head_size;
    const StackWidths widths = stack_widths(architecture, 0);
    if (architecture.stacks.size() != 1 || widths.ids || widths.whole || widths.in != told() || widths.out != out)
        throw Error("engine: expected one stack that runs forwards from " + std::to_string(told()) + " features to " +
                    std::to_string(out) + " numbers, got another network");
    block_ = std::min(batch_, std::max<std::size_t>(1, BLOCK / variables));
    features_.resize(session.batch() * widths.in);
    head_.resize(session.batch() * widths.out);
    if (rules_.covariates > 0) values_.resize(session.batch());
    scratch_ = Buffer(kernel_.scratch(rules_, block_));
}

void Watch::step(const double* values, const double* seconds, const WatchReadings& readings) noexcept {
    if (rules_.covariates > 0) {
        for_blocks([&](std::size_t n, std::size_t streams) {
            kernel_.join(rules_, state_, n, streams, values, features_.data());
        });
        forecast();
        const std::size_t K = rules_.variables;
        for (std::size_t n = 0; n < batch_; ++n)
            std::copy_n(values + n * (K + rules_.covariates), K, values_.begin() + static_cast<std::ptrdiff_t>(n * K));
    }
    for_blocks([&](std::size_t n, std::size_t streams) {
        if (rules_.covariates > 0)
            kernel_.before(rules_, state_, n, streams, values_.data(), seconds, readings, state_.covariates.waiting,
                           scratch_.data());
        else
            kernel_.before(rules_, state_, n, streams, values, seconds, readings, features_.data(), scratch_.data());
    });
    if (rules_.covariates == 0) forecast();
}

template <class Work>
void Watch::for_blocks(const Work& work) noexcept {
    for (std::size_t n = 0; n < batch_; n += block_) work(n, std::min(block_, batch_ - n));
}

void Watch::forecast() noexcept {
    session_.step(0, features_.data(), told(), head_.data(),
                  rules_.forecast.HORIZONS.count * rules_.forecast.head_size);
    for_blocks([&](std::size_t n, std::size_t streams) {
        kernel_.after(rules_, state_, n, streams, features_.data(), head_.data(), scratch_.data());
    });
}

}  // namespace carrousel
