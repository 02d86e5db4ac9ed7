// Rows shared out among threads, weights packed once; the arithmetic is train_kernel.h.
#include "train.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "isa.h"
#include "team.h"
#include "workspace.h"

namespace carrousel {

#if defined(__x86_64__)
extern const Trainers trainers_avx2, trainers_avx512, trainers_avx512vnni, trainers_avx512bf16;
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
    if (name == "avx512bf16") return trainers_avx512bf16;
#elif defined(__aarch64__)
    if (name == "neon") return trainers_neon;
#endif
    return trainers_portable;
}

namespace {

// Multiplications of one step from which on a second thread is worth its waking.
constexpr double WORTHWHILE = 20000;

template <class Real>
Workspace<Real> packed(const Trainer<Real>& trainer, const Real* w, std::size_t outputs, std::size_t k,
                       bool transposed) {
    if (w == nullptr) return {};
    Workspace<Real> space(trainer.packed_size(outputs, k));
    trainer.pack(w, outputs, k, transposed, space.data());
    return space;
}

std::size_t worthwhile(std::size_t threads, std::size_t rows, std::size_t columns, std::size_t k) {
    const double work = static_cast<double>(rows) * static_cast<double>(columns) * static_cast<double>(k);
    return work < 100 * WORTHWHILE ? 1 : std::max<std::size_t>(threads, 1);
}

// Threads that the rows of a recurrence are shared out among.
template <class Real>
std::size_t sharers(const Scan<Real>& s, std::size_t threads) {
    if (static_cast<double>(s.N * s.H) * static_cast<double>(s.G * s.P) < WORTHWHILE) threads = 1;
    return std::clamp<std::size_t>(threads, 1, std::max<std::size_t>(s.N, 1));
}

// Whether the input's products are made apart from the recurrence: there are threads for them that it leaves idle.
template <class Real>
bool apart(const Scan<Real>& s, std::size_t threads) {
    return sharers(s, threads) < worthwhile(threads, s.M, s.G * s.H, s.E);
}

// ih: packed as the pass needs it, or null.
template <class Real, class Pass>
void recur(const Trainer<Real>& trainer, const Scan<Real>& s, std::size_t threads, bool transposed, const Real* ih,
           const Real* bias, Pass pass) {
    const std::size_t wide = s.G * s.H;
    const Workspace<Real> hh = packed(trainer, s.w_hh, transposed ? s.P : wide, transposed ? wide : s.P, transposed);
    const Workspace<Real> hr = packed(trainer, s.w_hr, transposed ? s.H : s.P, transposed ? s.P : s.H, transposed);
    const std::size_t shares = sharers(s, threads);
    // Longest first, dealt out in turn, so that every share has rows of all lengths.
    std::vector<std::size_t> order(s.N);
    std::iota(order.begin(), order.end(), std::size_t{0});
    if (s.lengths != nullptr)
        std::stable_sort(order.begin(), order.end(),
                         [&](std::size_t a, std::size_t b) { return s.lengths[a] > s.lengths[b]; });
    std::vector<std::vector<std::size_t>> dealt(shares);
    std::vector<Workspace<Real>> scratch(shares);
    for (std::size_t k = 0; k < s.N; ++k) {
        const std::size_t share = s.lengths == nullptr ? k * shares / s.N : k % shares;
        dealt[share].push_back(order[k]);
    }
    for (std::size_t k = 0; k < shares; ++k) scratch[k] = Workspace<Real>(trainer.scratch(s, dealt[k].size()));
    const ScanWeights<Real> weights{ih, hh.data(), hr.data(), bias};
    share_out(shares, [&](std::size_t share) {
        pass(s, ScanRows{dealt[share].data(), dealt[share].size()}, weights, scratch[share].data());
    });
}

// ---- products over all cells ----

// Rows of a product that stay in the second-level cache while all weights pass.
constexpr std::size_t CELLS_AT_ONCE = 96;

// y = b + W x for the cells from `first` on; x(cell), y(cell): where.
template <class Real, class From, class To>
void multiply(const Trainer<Real>& trainer, const Real* w, std::size_t outputs, std::size_t k, std::size_t first,
              std::size_t end, const From& x, const Real* b, const To& y, Real* scratch) {
    const Real* in[CELLS_AT_ONCE];
    const Real* start[CELLS_AT_ONCE];
    Real* out[CELLS_AT_ONCE];
    std::fill(start, start + CELLS_AT_ONCE, b);
    for (std::size_t from = first; from < end; from += CELLS_AT_ONCE) {
        const std::size_t count = std::min(CELLS_AT_ONCE, end - from);
        for (std::size_t r = 0; r < count; ++r) {
            in[r] = x(from + r);
            out[r] = y(from + r);
        }
        trainer.products(w, outputs, k, count, in, b == nullptr ? nullptr : start, out, scratch);
    }
}

template <class Real>
std::size_t place(const Scan<Real>& s, std::size_t cell) {
    return s.place == nullptr ? cell : static_cast<std::size_t>(s.place[cell]);
}

// Where a row's value before a cell is: `at` of the cell one step earlier, the initial one at the row's first.
template <class Real, class At>
const Real* before(const Scan<Real>& s, std::size_t cell, const Real* initial, const At& at) {
    const std::size_t here = place(s, cell), row = here % s.N, t = here / s.N;
    const std::size_t length = s.lengths == nullptr ? s.L : static_cast<std::size_t>(s.lengths[row]);
    const bool first = s.reverse ? t + 1 == length : t == 0;
    if (first) return initial;
    return at(s.reverse ? here + s.N : here - s.N);
}

// The gates' part that is there before the recurrence, where it is made apart.
template <class Real>
void drive(const Trainer<Real>& trainer, const Scan<Real>& s, std::size_t threads, const Real* ih, const Real* bias) {
    const std::size_t wide = s.G * s.H, shares = worthwhile(threads, s.M, wide, s.E);
    const std::size_t size = trainer.products_scratch(CELLS_AT_ONCE, s.E);
    const Workspace<Real> scratch(product(shares, size));
    Real* const to = s.gain_ih == nullptr ? s.z : s.a_hat;
    share_out(shares, [&](std::size_t share) {
        const std::size_t first = s.M * share / shares, end = s.M * (share + 1) / shares;
        multiply(
            trainer, ih, wide, s.E, first, end, [&](std::size_t cell) { return s.x + place(s, cell) * s.E; }, bias,
            [&](std::size_t cell) { return to + cell * wide; }, scratch.data() + share * size);
        if (s.gain_ih != nullptr) trainer.normalise(s, first, end);
    });
}

// Gradients that are sums of all rows'.
template <class Real>
void add_sums(const Scan<Real>& s) {
    const std::size_t wide = s.G * s.H, width = sums_width(s);
    const Real* from = s.sums;
    const auto add = [&](Real* to, std::size_t count) {
        for (std::size_t row = 0; to != nullptr && row < s.N; ++row)
            for (std::size_t k = 0; k < count; ++k) to[k] += from[row * width + k];
        from += count;
    };
    if (s.gain_hh != nullptr) {
        add(s.d_b_ih, wide);
        add(s.d_gain_ih, wide);
        add(s.d_gain_hh, wide);
        add(s.d_gain_c, s.H);
        add(s.d_bias_c, s.H);
    }
    if (s.peephole != nullptr) add(s.d_peephole, (s.G - 1) * s.H);
}

// Gradients of all weights from those of the gates; and of x by ih, packed transposed, or null.
template <class Real>
void gradients(const Trainer<Real>& trainer, const Scan<Real>& s, std::size_t threads, const Real* ih) {
    const std::size_t wide = s.G * s.H, H = s.H;
    const bool normed = s.gain_ih != nullptr;
    using Rows = std::vector<const Real*>;
    const auto rows_of = [&](const auto& row) {
        Rows rows(s.M);
        for (std::size_t cell = 0; cell < s.M; ++cell) rows[cell] = row(cell);
        return rows;
    };
    const auto values = [&](const Real* data, std::size_t width) {
        return data == nullptr ? Rows{} : rows_of([&](std::size_t cell) { return data + cell * width; });
    };
    const auto x = rows_of([&](std::size_t cell) { return s.x + place(s, cell) * s.E; });
    const auto h = rows_of([&](std::size_t cell) {
        const Real* initial = s.h_0 + place(s, cell) % s.N * s.P;
        return before(s, cell, initial, [&](std::size_t earlier) -> const Real* { return s.y + earlier * s.P; });
    });
    const Rows d_z = values(s.d_z, wide), d_p = values(s.d_p, s.P), m = values(s.m, H);
    const Rows d_a = values(normed ? s.d_a : nullptr, wide), d_r = values(normed ? s.d_r : nullptr, wide);
    Rows mask;
    if (s.mask_h != nullptr) mask = rows_of([&](std::size_t cell) { return s.mask_h + place(s, cell) % s.N * s.P; });

    const OuterTerm<Real> of_x{x.data(), nullptr, s.E, s.d_w_ih};
    const OuterTerm<Real> of_h{h.data(), mask.empty() ? nullptr : mask.data(), s.P, s.d_w_hh};
    const OuterTerm<Real> of_both[] = {of_x, of_h}, of_m{m.data(), nullptr, H, s.d_w_hr};
    std::vector<Outer<Real>> tasks;
    if (normed) {
        tasks.push_back({d_a.data(), s.M, wide, 0, wide, nullptr, &of_x, 1});
        tasks.push_back({d_r.data(), s.M, wide, 0, wide, nullptr, &of_h, 1});
    } else {
        tasks.push_back({d_z.data(), s.M, wide, 0, wide, s.d_b_ih, of_both, 2});
    }
    if (s.d_w_hr != nullptr) tasks.push_back({d_p.data(), s.M, s.P, 0, s.P, nullptr, &of_m, 1});

    const std::size_t shares = worthwhile(threads, s.M, wide, s.E + s.P);
    const std::size_t size =
        round_up(std::max(trainer.outer_scratch(s.E + s.P + H, 2), trainer.products_scratch(CELLS_AT_ONCE, wide)), 16);
    const Workspace<Real> scratch(product(shares, size));
    const Real* d_drive = normed ? s.d_a : s.d_z;
    share_out(shares, [&](std::size_t share) {
        Real* own = scratch.data() + share * size;
        for (Outer<Real> task : tasks) {
            const std::size_t first = task.width * share / shares;
            task.rows = task.width * (share + 1) / shares - first;
            task.first = first;
            trainer.outer(task, own);
        }
        if (ih != nullptr)
            multiply(
                trainer, ih, s.E, wide, s.M * share / shares, s.M * (share + 1) / shares,
                [&](std::size_t cell) { return d_drive + cell * wide; }, static_cast<const Real*>(nullptr),
                [&](std::size_t cell) { return s.d_x + place(s, cell) * s.E; }, own);
    });
}

}  // namespace

template <class Real>
void scan_forward(const Trainer<Real>& trainer, const Scan<Real>& s, std::size_t threads) {
    const std::size_t wide = s.G * s.H;
    const Workspace<Real> ih = packed(trainer, s.w_ih, wide, s.E, false), both(s.b_hh == nullptr ? 0 : wide);
    const Real* bias = s.gain_ih == nullptr ? s.b_ih : nullptr;
    if (bias != nullptr && s.b_hh != nullptr) {
        for (std::size_t k = 0; k < wide; ++k) both.data()[k] = bias[k] + s.b_hh[k];
        bias = both.data();
    }
    const bool before = apart(s, threads);
    if (before) drive(trainer, s, threads, ih.data(), bias);
    recur(trainer, s, threads, false, before ? nullptr : ih.data(), bias, trainer.forward);
}

template <class Real>
void scan_backward(const Trainer<Real>& trainer, const Scan<Real>& given, std::size_t threads) {
    Scan<Real> s = given;
    const bool normed = s.gain_ih != nullptr;
    std::vector<Workspace<Real>> own;
    const auto need = [&](Real*& member, std::size_t count, bool wanted) {
        if (!wanted || member != nullptr) return;
        own.emplace_back(count);
        member = own.back().data();
    };
    need(s.d_z, product(s.M, s.G * s.H), true);
    if (s.d_a == nullptr) s.d_a = s.d_z;  // in its place
    need(s.d_r, product(s.M, s.G * s.H), normed);
    need(s.d_p, product(s.M, s.P), s.w_hr != nullptr);
    if (s.sums == nullptr && sums_width(s) > 0) {
        need(s.sums, product(s.N, sums_width(s)), true);
        std::fill(s.sums, s.sums + s.N * sums_width(s), Real(0));
    }
    const Workspace<Real> ih = packed(trainer, s.d_x == nullptr ? nullptr : s.w_ih, s.E, s.G * s.H, true);
    const bool after = apart(s, threads);
    recur(trainer, s, threads, true, after ? nullptr : ih.data(), static_cast<const Real*>(nullptr), trainer.backward);
    gradients(trainer, s, threads, after ? ih.data() : nullptr);
    add_sums(s);
    if (s.d_b_hh != nullptr) std::copy(s.d_b_ih, s.d_b_ih + s.G * s.H, s.d_b_hh);
}

#define CARROUSEL_TRAIN(Real)                                                         \
    template void scan_forward(const Trainer<Real>&, const Scan<Real>&, std::size_t); \
    template void scan_backward(const Trainer<Real>&, const Scan<Real>&, std::size_t);
CARROUSEL_TRAIN(float)
CARROUSEL_TRAIN(double)

}  // namespace carrousel
