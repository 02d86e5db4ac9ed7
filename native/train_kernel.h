// The recurrence of some rows over all steps, included by train_kernel.cpp. Rows are independent, so what it computes
// is the same bits on any number of threads. The letters are those of src/carrousel/layers/reference.py.
#pragma once

#include "train_gate.h"
#include "train_outer.h"

namespace carrousel {
namespace {

template <class F>
class Recurrence : Gates<typename F::Real> {
    using Real = typename F::Real;
    using Word = typename F::Word;
    using Base = Gates<Real>;
    using Base::lanes, Base::length, Base::place, Base::h_before, Base::kept, Base::s;
    using typename Base::Vector;

public:
    Recurrence(const Scan<Real>& scan, const ScanRows& rows, const ScanWeights<Real>& weights, Real* scratch)
        : Base(scan, rows.order), rows_(rows), w_(weights) {
        const std::size_t n = rows.count, cells = n + AHEAD, wide = s.G * s.H;
        Real*** const lists[] = {&y_, &ahead_to_};
        const Real*** const sources[] = {&x_, &start_};
        for (Real*** list : lists) *list = reinterpret_cast<Real**>(scratch), scratch += cells * ADDRESS<Real>;
        for (const Real*** list : sources)
            *list = reinterpret_cast<const Real**>(scratch), scratch += cells * ADDRESS<Real>;
        ahead_ = reinterpret_cast<const Word**>(scratch), scratch += cells * ADDRESS<Real>;
        a_ = scratch;  // (n, max(G·H, P))
        scratch += n * (wide > s.P ? wide : s.P);
        d_h_ = scratch;
        d_c_ = d_h_ + n * s.P;
        d_m_ = d_c_ + n * s.H;
        keep_ = d_m_ + n * s.H;
        words_ = keep_ + n * s.P;
        ahead_words_ = reinterpret_cast<Word*>(words_ + words_size(s, cells));
    }

    static std::size_t scratch(const Scan<Real>& s, std::size_t n) {
        const std::size_t cells = n + AHEAD, wide = s.G * s.H;
        return 5 * cells * ADDRESS<Real> + n * ((wide > s.P ? wide : s.P) + 2 * s.P + 2 * s.H) + words_size(s, cells) +
               (F::DIRECT ? 0 : cells * words_of<F>(wide));
    }

    void forward() {
        for (std::size_t k = 0; k < rows_.count; ++k) {
            const std::size_t row = rows_.order[k];
            for (std::size_t t = length(row); t < s.L; ++t)
                for (std::size_t j = 0; j < s.P; ++j) s.y[(t * s.N + row) * s.P + j] = 0;
            if (length(row) == 0) {
                copy(s.h_0 + row * s.P, s.h_n + row * s.P, s.P);
                copy(s.c_0 + row * s.H, s.c_n + row * s.H, s.H);
            }
        }
        std::size_t driven = 0;
        for (std::size_t step = 0, live = longest(0); live > 0; live = longest(++step)) {
            if (w_.ih != nullptr && step == driven) driven = drive(step);
            forward_step(step, live);
        }
    }

    void backward() {
        for (std::size_t k = 0; k < rows_.count; ++k) {
            start(s.d_h_n, rows_.order[k], s.P, d_h_ + k * s.P);
            start(s.d_c_n, rows_.order[k], s.H, d_c_ + k * s.H);
        }
        std::size_t live = 0, waiting = 0;
        for (std::size_t step = rows_.count ? length(rows_.order[0]) : 0; step-- > 0;) {
            while (live < rows_.count && length(rows_.order[live]) > step) ++live;
            backward_step(step, live, waiting);
            if (w_.ih == nullptr) continue;
            waiting += live;
            if (waiting < AHEAD && step > 0) continue;
            multiply<F>(w_.ih, s.E, s.G * s.H, waiting, ahead_, nullptr, ahead_to_);
            waiting = 0;
        }
        for (std::size_t k = 0; k < rows_.count; ++k) {
            copy(d_h_ + k * s.P, s.d_h_0 + rows_.order[k] * s.P, s.P);
            copy(d_c_ + k * s.H, s.d_c_0 + rows_.order[k] * s.H, s.H);
        }
    }

private:
    // Cells whose products with W_ih are made at once, a few tiles: in the forward before the recurrence comes to them,
    // in the backward when it has left them, so that what it adds to or made is in the cache.
    static constexpr std::size_t AHEAD = 32;

    static std::size_t words_size(const Scan<Real>& s, std::size_t cells) {
        const std::size_t wide = s.G * s.H, widest = wide > s.P ? wide : s.P;
        return products_scratch<F>(cells, widest > s.E ? widest : s.E);
    }

    static void copy(const Real* from, Real* to, std::size_t n) { __builtin_memcpy(to, from, n * sizeof(Real)); }

    static void start(const Real* slopes, std::size_t row, std::size_t n, Real* to) {
        if (slopes == nullptr)
            __builtin_memset(to, 0, n * sizeof(Real));
        else
            copy(slopes + row * n, to, n);
    }

    // Rows that have a step.
    std::size_t longest(std::size_t step) const {
        std::size_t live = rows_.count;
        while (live > 0 && length(rows_.order[live - 1]) <= step) --live;
        return live;
    }

    // What the input adds to the gates at this step and some that follow; the first that it leaves out.
    std::size_t drive(std::size_t step) {
        const std::size_t wide = s.G * s.H;
        std::size_t count = 0, end = step;
        const auto each_cell = [&](const auto& work) {
            for (std::size_t at = step; at < end; ++at)
                for (std::size_t k = 0, live = longest(at); k < live; ++k) work(place(k, at));
        };
        while (count < AHEAD && longest(end) > 0) count += longest(end++);
        count = 0;
        each_cell([&](const Place<Real>& p) {
            x_[count] = s.x + (p.t * s.N + p.row) * s.E;
            start_[count] = w_.bias;
            y_[count++] = (s.gain_ih == nullptr ? s.z : s.a_hat) + p.cell * wide;
        });
        products<F>(w_.ih, wide, s.E, count, x_, w_.bias == nullptr ? nullptr : start_, y_, words_);
        if (s.gain_ih != nullptr) each_cell([&](const Place<Real>& p) { normalise_input(s, p.cell); });
        return end;
    }

    void forward_step(std::size_t step, std::size_t live) {
        const std::size_t wide = s.G * s.H;
        for (std::size_t k = 0; k < live; ++k) {
            const Place<Real> p = place(k, step);
            x_[k] = h_before(p);
            y_[k] = s.z + p.cell * wide;
            if (s.mask_h != nullptr) {
                Real* seen = keep_ + k * s.P;
                for (std::size_t j = 0; j < s.P; ++j) seen[j] = x_[k][j] * s.mask_h[p.row * s.P + j];
                x_[k] = seen;
            }
            if (s.gain_hh != nullptr) y_[k] = a_ + k * wide;
        }
        products<F>(w_.hh, wide, s.P, live, x_, s.gain_hh == nullptr ? y_ : nullptr, y_, words_);
        for (std::size_t k = 0; k < live; ++k) {
            const Place<Real> p = place(k, step);
            if (s.gain_hh != nullptr) add_normalised(p, a_ + k * wide);
            Real* m = s.m != nullptr ? s.m + p.cell * s.H : s.y + (p.t * s.N + p.row) * s.P;
            Base::gates(p, m);
            x_[k] = m;
            y_[k] = s.y + (p.t * s.N + p.row) * s.P;
        }
        if (s.m != nullptr) products<F>(w_.hr, s.P, s.H, live, x_, nullptr, y_, words_);
        for (std::size_t k = 0; k < live; ++k) {
            const Place<Real> p = place(k, step);
            if (s.draw_h != nullptr || s.keep_h != 0) {
                const Real* h = h_before(p);
                for (std::size_t j = 0; j < s.P; j += lanes) {
                    const std::size_t left = s.P - j;
                    const Vector keep = kept(s.draw_h, s.keep_h, p, s.P, j);
                    const Vector fresh = get(y_[k] + j, left);
                    put(y_[k] + j, fma(keep, get(h + j, left), (fill(Real(1)) - keep) * fresh), left);
                }
            }
            if (step + 1 == length(p.row)) {
                copy(y_[k], s.h_n + p.row * s.P, s.P);
                copy(s.c + p.cell * s.H, s.c_n + p.row * s.H, s.H);
            }
        }
    }

    // z += N(W_hh h)
    void add_normalised(const Place<Real>& p, const Real* product) const {
        const std::size_t wide = s.G * s.H;
        Real* const z = s.z + p.cell * wide;
        normalise(product, wide, s.r_hat + p.cell * wide, s.r_scale[p.cell], [&](std::size_t k, Vector own) {
            const std::size_t left = wide - k;
            const Vector bias = s.b_hh == nullptr ? Vector{} : get(s.b_hh + k, left);
            put(z + k, get(z + k, left) + fma(get(s.gain_hh + k, left), own, bias), left);
        });
    }

    // Puts the rows' products with W_ih behind those that wait.
    void backward_step(std::size_t step, std::size_t live, std::size_t waiting) {
        const std::size_t wide = s.G * s.H;
        const bool zoned = s.draw_h != nullptr || s.keep_h != 0;
        for (std::size_t k = 0; k < live; ++k) {
            const Place<Real> p = place(k, step);
            const Real* d_y = s.d_y + (p.t * s.N + p.row) * s.P;
            Real* d_h = d_h_ + k * s.P;  // becomes ∂/∂h̃
            for (std::size_t j = 0; j < s.P; j += lanes) {
                const std::size_t left = s.P - j;
                const Vector all = get(d_h + j, left) + get(d_y + j, left);
                const Vector keep = zoned ? kept(s.draw_h, s.keep_h, p, s.P, j) : Vector{};
                if (zoned) put(keep_ + k * s.P + j, keep * all, left);
                put(d_h + j, zoned ? (fill(Real(1)) - keep) * all : all, left);
            }
            if (s.m != nullptr) copy(d_h, s.d_p + p.cell * s.P, s.P);
            x_[k] = d_h;
            y_[k] = d_m_ + k * s.H;
        }
        if (s.m != nullptr) products<F>(w_.hr, s.H, s.P, live, x_, nullptr, y_, words_);
        for (std::size_t k = 0; k < live; ++k) {
            const Place<Real> p = place(k, step);
            if (k + 1 < live) fetch_kept(place(k + 1, step));
            Base::through_gates(p, s.m != nullptr ? d_m_ + k * s.H : d_h_ + k * s.P, d_c_ + k * s.H, a_ + k * wide);
            if (s.gain_hh != nullptr) normalise_back(p);
            x_[k] = s.d_a + p.cell * wide;
            y_[k] = d_h_ + k * s.P;
            if (w_.ih != nullptr) ahead_to_[waiting + k] = s.d_x + (p.t * s.N + p.row) * s.E;
        }
        if (w_.ih != nullptr || s.gain_hh == nullptr)
            as_words<F>(x_, live, wide, ahead_words_ + (F::DIRECT ? 0 : waiting * words_of<F>(wide)), ahead_ + waiting);
        if (s.gain_hh == nullptr) {
            multiply<F>(w_.hh, s.P, wide, live, ahead_ + waiting, nullptr, y_);
        } else {
            for (std::size_t k = 0; k < live; ++k) x_[k] = s.d_r + place(k, step).cell * wide;
            products<F>(w_.hh, s.P, wide, live, x_, nullptr, y_, words_);
        }
        for (std::size_t k = 0; k < live; ++k) {
            const Place<Real> p = place(k, step);
            Real* d_h = d_h_ + k * s.P;
            if (s.mask_h != nullptr)
                for (std::size_t j = 0; j < s.P; ++j) d_h[j] *= s.mask_h[p.row * s.P + j];
            if (zoned)
                for (std::size_t j = 0; j < s.P; ++j) d_h[j] += keep_[k * s.P + j];
        }
    }

    // What the backward reads of a cell.
    INLINE void fetch_kept(const Place<Real>& p) const {
        const std::size_t wide = s.G * s.H;
        fetch(s.z + p.cell * wide, wide);
        fetch(Base::c_before(p), s.H);
        if (s.gain_hh == nullptr) return;
        fetch(s.a_hat + p.cell * wide, wide);
        fetch(s.r_hat + p.cell * wide, wide);
    }

    // From d_z to d_r and d_a, which may be d_z, and what both add to the gradients of the gains and biases.
    void normalise_back(const Place<Real>& p) const {
        const std::size_t wide = s.G * s.H, at = p.cell * wide;
        Real* const sums = s.sums + p.row * sums_width(s);
        NormaliseBack<Real> input(s.gain_ih, s.a_hat + at, s.a_scale[p.cell], sums + wide, wide);
        NormaliseBack<Real> state(s.gain_hh, s.r_hat + at, s.r_scale[p.cell], sums + 2 * wide, wide);
        const Real* const d_z = s.d_z + at;
        for (std::size_t k = 0; k < wide; k += lanes) {
            const Vector own = get(d_z + k, wide - k);
            input.add(k, own);
            state.add(k, own);
            add_to(sums + k, own, wide - k);
        }
        input.close();
        state.close();
        for (std::size_t k = 0; k < wide; k += lanes) {
            const Vector own = get(d_z + k, wide - k);
            put(s.d_r + at + k, state.at(k, own), wide - k);
            put(s.d_a + at + k, input.at(k, own), wide - k);
        }
    }

    const ScanRows& rows_;
    const ScanWeights<Real> w_;
    Real **y_, **ahead_to_;
    const Real **x_, **start_;
    const Word** ahead_;  // what waits for its product with W_ih, and where that goes: ahead_to_
    Real *a_, *d_h_, *d_c_, *d_m_, *keep_, *words_;
    Word* ahead_words_;
};

template <class F, class Real = typename F::Real>
std::size_t scan_scratch(const Scan<Real>& scan, std::size_t rows) {
    return Recurrence<F>::scratch(scan, rows);
}
template <class F, class Real = typename F::Real>
void run_forward(const Scan<Real>& scan, const ScanRows& rows, const ScanWeights<Real>& weights, Real* scratch) {
    Recurrence<F>(scan, rows, weights, scratch).forward();
}
template <class F, class Real = typename F::Real>
void run_backward(const Scan<Real>& scan, const ScanRows& rows, const ScanWeights<Real>& weights, Real* scratch) {
    Recurrence<F>(scan, rows, weights, scratch).backward();
}

template <class F>
constexpr Trainer<typename F::Real> TRAINER = {
    packed_size<F>,
    pack<F>,
    products<F>,
    products_scratch<F>,
    outer<F>,
    outer_scratch<F>,
    normalise_cells<typename F::Real>,
    run_forward<F>,
    run_backward<F>,
    scan_scratch<F>,
};

}  // namespace
}  // namespace carrousel
