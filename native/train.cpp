// Rows shared out among threads, weights packed once; the arithmetic is train_kernel.h.
#include "train.h"

#include <algorithm>
#include <memory>
#include <mutex>
#include <numeric>
#include <vector>

#include "buffer.h"
#include "crew.h"
#include "denormal.h"

namespace carrousel {
namespace {

// Multiplications of one step from which on a second thread is worth its waking.
constexpr double WORTHWHILE = 20000;

// One crew for the process, made when first needed: training calls come one after the other.
std::mutex crew_lock;
std::unique_ptr<Crew> crew;

template <class Real>
struct Weights {
    Buffer hh, hr;

    Weights(const Trainer<Real>& trainer, const Scan<Real>& s, bool transposed) {
        const std::size_t wide = s.G * s.H;
        hh = packed(trainer, s.w_hh, transposed ? s.P : wide, transposed ? wide : s.P, transposed);
        if (s.w_hr != nullptr) hr = packed(trainer, s.w_hr, transposed ? s.H : s.P, transposed ? s.P : s.H, transposed);
    }

    static Buffer packed(const Trainer<Real>& trainer, const Real* w, std::size_t outputs, std::size_t k, bool transposed) {
        Buffer buffer(product(trainer.packed_size(outputs, k), sizeof(Real)));
        trainer.pack(w, outputs, k, transposed, reinterpret_cast<Real*>(buffer.data()));
        return buffer;
    }
    static const Real* reals(const Buffer& buffer) { return reinterpret_cast<const Real*>(buffer.data()); }
};

template <class Real, class Run>
void scan(const Trainer<Real>& trainer, const Scan<Real>& s, std::size_t threads, bool transposed, const Run& run) {
    const Weights<Real> weights(trainer, s, transposed);
    if (static_cast<double>(s.N * s.H) * static_cast<double>(s.G * s.P) < WORTHWHILE) threads = 1;
    const std::size_t shares = std::clamp<std::size_t>(threads, 1, std::max<std::size_t>(s.N, 1));
    // Longest first, dealt out in turn, so that every share has rows of all lengths.
    std::vector<std::size_t> order(s.N);
    std::iota(order.begin(), order.end(), std::size_t{0});
    if (s.lengths != nullptr)
        std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return s.lengths[a] > s.lengths[b]; });
    std::vector<std::vector<std::size_t>> dealt(shares);
    std::vector<Buffer> scratch(shares);
    for (std::size_t k = 0; k < s.N; ++k) {
        const std::size_t share = s.lengths == nullptr ? k * shares / s.N : k % shares;
        dealt[share].push_back(order[k]);
    }
    for (std::size_t k = 0; k < shares; ++k) scratch[k] = Buffer(product(trainer.scratch(s, dealt[k].size()), sizeof(Real)));
    const auto work = [&](std::size_t share) {
        if (share >= shares) return;
        const FlushDenormals flush;
        run(ScanRows{dealt[share].data(), dealt[share].size()}, weights.reals(weights.hh), weights.reals(weights.hr),
            reinterpret_cast<Real*>(scratch[share].data()));
    };
    if (shares == 1) return work(0);
    const std::lock_guard<std::mutex> alone(crew_lock);
    if (crew == nullptr || crew->size() + 1 < shares) crew = std::make_unique<Crew>(shares - 1);
    crew->run(work);
}

}  // namespace

template <class Real>
void scan_forward(const Trainer<Real>& trainer, const Scan<Real>& s, std::size_t threads) {
    scan(trainer, s, threads, false, [&](const ScanRows& rows, const Real* hh, const Real* hr, Real* scratch) {
        trainer.forward(s, rows, hh, hr, scratch);
    });
}

template <class Real>
void scan_backward(const Trainer<Real>& trainer, const Scan<Real>& s, std::size_t threads) {
    scan(trainer, s, threads, true, [&](const ScanRows& rows, const Real* hh, const Real* hr, Real* scratch) {
        trainer.backward(s, rows, hh, hr, scratch);
    });
}

template void scan_forward(const Trainer<float>&, const Scan<float>&, std::size_t);
template void scan_forward(const Trainer<double>&, const Scan<double>&, std::size_t);
template void scan_backward(const Trainer<float>&, const Scan<float>&, std::size_t);
template void scan_backward(const Trainer<double>&, const Scan<double>&, std::size_t);

}  // namespace carrousel
