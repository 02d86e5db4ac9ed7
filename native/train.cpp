// Rows shared out among threads, weights packed once; the arithmetic is train_kernel.h.
#include "train.h"

#include <algorithm>
#include <memory>
#include <mutex>
#include <numeric>
#include <string>
#include <vector>

#include "buffer.h"
#include "crew.h"
#include "denormal.h"
#include "isa.h"

namespace carrousel {

#if defined(__x86_64__)
extern const Trainers trainers_avx2, trainers_avx512, trainers_avx512vnni;
#elif defined(__aarch64__)
extern const Trainers trainers_neon;
#endif
extern const Trainers trainers_portable;

const Trainers& trainers(const Isa& isa) {
    const std::string name = isa.name;
#if defined(__x86_64__)
    if (name == "avx2") return trainers_avx2;
    if (name == "avx512") return trainers_avx512;
    if (name == "avx512vnni") return trainers_avx512vnni;
#elif defined(__aarch64__)
    if (name == "neon") return trainers_neon;
#endif
    return trainers_portable;
}

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

    static Buffer packed(const Trainer<Real>& trainer, const Real* w, std::size_t outputs, std::size_t k,
                         bool transposed) {
        Buffer buffer(product(trainer.packed_size(outputs, k), sizeof(Real)));
        trainer.pack(w, outputs, k, transposed, reinterpret_cast<Real*>(buffer.data()));
        return buffer;
    }
    static const Real* reals(const Buffer& buffer) { return reinterpret_cast<const Real*>(buffer.data()); }
};

// Let a function work on shares 0 ... shares - 1, each in a thread of its own.
template <class Work>
void share_out(std::size_t shares, const Work& work) {
    if (shares == 1) {
        const FlushDenormals flush;
        return work(0);
    }
    const std::lock_guard<std::mutex> alone(crew_lock);
    if (crew == nullptr || crew->size() + 1 < shares) crew = std::make_unique<Crew>(shares - 1);
    crew->run([&](std::size_t share) {
        const FlushDenormals flush;
        if (share < shares) work(share);
    });
}

template <class Real, class Run>
void scan(const Trainer<Real>& trainer, const Scan<Real>& s, std::size_t threads, bool transposed, const Run& run) {
    const Weights<Real> weights(trainer, s, transposed);
    if (static_cast<double>(s.N * s.H) * static_cast<double>(s.G * s.P) < WORTHWHILE) threads = 1;
    const std::size_t shares = std::clamp<std::size_t>(threads, 1, std::max<std::size_t>(s.N, 1));
    // Longest first, dealt out in turn, so that every share has rows of all lengths.
    std::vector<std::size_t> order(s.N);
    std::iota(order.begin(), order.end(), std::size_t{0});
    if (s.lengths != nullptr)
        std::stable_sort(order.begin(), order.end(),
                         [&](std::size_t a, std::size_t b) { return s.lengths[a] > s.lengths[b]; });
    std::vector<std::vector<std::size_t>> dealt(shares);
    std::vector<Buffer> scratch(shares);
    for (std::size_t k = 0; k < s.N; ++k) {
        const std::size_t share = s.lengths == nullptr ? k * shares / s.N : k % shares;
        dealt[share].push_back(order[k]);
    }
    for (std::size_t k = 0; k < shares; ++k)
        scratch[k] = Buffer(product(trainer.scratch(s, dealt[k].size()), sizeof(Real)));
    share_out(shares, [&](std::size_t share) {
        run(ScanRows{dealt[share].data(), dealt[share].size()}, weights.reals(weights.hh), weights.reals(weights.hr),
            reinterpret_cast<Real*>(scratch[share].data()));
    });
}

constexpr std::size_t ROWS_AT_ONCE = 96;     // of a product: they stay in the second-level cache while all weights pass
constexpr std::size_t INPUTS_AT_ONCE = 512;  // of a sum over cells, of which there may be millions

// Rows first ... first + count of y = init + W x.
template <class Real>
void product_rows(const Trainer<Real>& trainer, const Real* w, std::size_t outputs, std::size_t k, const Real* x,
                  const Real* init, std::size_t init_stride, Real* y, std::size_t first, std::size_t count) {
    const Real* in[ROWS_AT_ONCE];
    const Real* start[ROWS_AT_ONCE];
    Real* out[ROWS_AT_ONCE];
    for (std::size_t from = first; from < first + count; from += ROWS_AT_ONCE) {
        const std::size_t rows = std::min(ROWS_AT_ONCE, first + count - from);
        for (std::size_t r = 0; r < rows; ++r) {
            in[r] = x + (from + r) * k;
            out[r] = y + (from + r) * outputs;
            start[r] = init == nullptr ? nullptr : init + (from + r) * init_stride;
        }
        trainer.products(w, outputs, k, rows, in, init == nullptr ? nullptr : start, out);
    }
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

template <class Real>
void multiply(const Trainer<Real>& trainer, Form form, const Real* a, const Real* b, const Real* bias, Real* c,
              std::size_t rows, std::size_t columns, std::size_t k, std::size_t threads) {
    const double work = static_cast<double>(rows) * static_cast<double>(columns) * static_cast<double>(k);
    const std::size_t shares =
        work < 100 * WORTHWHILE ? 1 : std::clamp<std::size_t>(threads, 1, std::max<std::size_t>(rows, 1));
    const auto reals = [](const Buffer& buffer) { return reinterpret_cast<Real*>(buffer.data()); };
    const auto rows_of = [&](std::size_t share, std::size_t& first) {
        first = rows * share / shares;
        return rows * (share + 1) / shares - first;
    };
    if (form != Form::tn) {
        const Buffer packed(product(trainer.packed_size(columns, k), sizeof(Real)));
        trainer.pack(b, columns, k, form == Form::nn, reals(packed));
        share_out(shares, [&](std::size_t share) {
            std::size_t first = 0;
            const std::size_t count = rows_of(share, first);
            product_rows(trainer, reals(packed), columns, k, a, bias, 0, c, first, count);
        });
        return;
    }
    // As (bᵀ · a)ᵀ: turning b, with fewer columns than a has where there are gates, is then the only copy out of order.
    const std::size_t chunk = std::min(k, INPUTS_AT_ONCE);
    const Buffer packed(product(trainer.packed_size(rows, chunk), sizeof(Real)));
    const Buffer turned(product(columns, chunk, sizeof(Real)));
    const Buffer result(product(rows, columns, sizeof(Real)));
    for (std::size_t from = 0; from < k; from += chunk) {
        const std::size_t inputs = std::min(chunk, k - from);
        trainer.pack(a + from * rows, rows, inputs, true, reals(packed));
        trainer.transpose(b + from * columns, inputs, columns, reals(turned));
        share_out(std::min(shares, columns), [&](std::size_t share) {
            const std::size_t all = std::min(shares, columns), first = columns * share / all;
            product_rows(trainer, reals(packed), rows, inputs, reals(turned), reals(result), rows, reals(result), first,
                         columns * (share + 1) / all - first);
        });
    }
    constexpr std::size_t side = 16;  // a line of the cache either way
    for (std::size_t row = 0; row < rows; row += side)
        for (std::size_t column = 0; column < columns; ++column)
            for (std::size_t r = row; r < rows && r < row + side; ++r)
                c[r * columns + column] += reals(result)[column * rows + r];
}

template void multiply(const Trainer<float>&, Form, const float*, const float*, const float*, float*, std::size_t,
                       std::size_t, std::size_t, std::size_t);
template void multiply(const Trainer<double>&, Form, const double*, const double*, const double*, double*, std::size_t,
                       std::size_t, std::size_t, std::size_t);
template void scan_forward(const Trainer<float>&, const Scan<float>&, std::size_t);
template void scan_forward(const Trainer<double>&, const Scan<double>&, std::size_t);
template void scan_backward(const Trainer<float>&, const Scan<float>&, std::size_t);
template void scan_backward(const Trainer<double>&, const Scan<double>&, std::size_t);

}  // namespace carrousel
