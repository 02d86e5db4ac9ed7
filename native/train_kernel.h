// The recurrence's arithmetic and that of the normalisations, included by train_kernel.cpp. Rows are independent, so
// what it computes is the same bits on any number of threads. The letters are those of
// src/carrousel/layers/reference.py.
#pragma once

#include "train_product.h"

namespace carrousel {
namespace {

// A namespace of their own: the engine's activations are those of simd.h.
namespace training {

// 1 / v for v of at least 1 that is not infinite, within some 1e-7 of it; faster than a division where there are
// AVX-512's fourteen bits of it, which one step of Newton's doubles.
INLINE vf inverse(vf v) {
#if defined(__AVX512F__) && !defined(CARROUSEL_PLAIN)
    const vf near = reinterpret_cast<vf>(_mm512_rcp14_ps(reinterpret_cast<__m512>(v)));
    return near * fma(-v, near, splat(2.0f));
#else
    return splat(1.0f) / v;
#endif
}
INLINE vf sigmoid(vf v) { return inverse(splat(1.0f) + exp_minus(v)); }
INLINE vf tanh(vf v) {
    const vf e = exp_minus_twice(v);
    return (splat(1.0f) - e) * inverse(splat(1.0f) + e);
}
INLINE vd sigmoid(vd v) {
    for (std::size_t k = 0; k < LANES<double>; ++k) v[k] = 0.5 * (1.0 + __builtin_tanh(0.5 * v[k]));
    return v;
}
INLINE vd tanh(vd v) {
    for (std::size_t k = 0; k < LANES<double>; ++k) v[k] = __builtin_tanh(v[k]);
    return v;
}

}  // namespace training

template <class Real>
INLINE Real total(Vec<Real> v) {
    Real parts[LANES<Real>];
    put(parts, v);
    for (std::size_t n = LANES<Real> / 2; n > 0; n /= 2)
        for (std::size_t k = 0; k < n; ++k) parts[k] += parts[k + n];
    return parts[0];
}

// ---- layer normalisation of one row: v to v̂ = (v − mean v) / s and s; and back ----

template <class Real>
void normalise(const Real* v, std::size_t n, Real* hat, Real& scale) {
    constexpr std::size_t lanes = LANES<Real>;
    Vec<Real> sum{};
    for (std::size_t k = 0; k < n; k += lanes) sum += get(v + k, n - k);
    const Real mean = total<Real>(sum) / static_cast<Real>(n);
    Vec<Real> squares{};
    for (std::size_t k = 0; k < n; k += lanes) {
        Vec<Real> centred = get(v + k, n - k) - fill(mean);
        if (n - k < lanes)
            for (std::size_t lane = n - k; lane < lanes; ++lane) centred[lane] = 0;
        squares = fma(centred, centred, squares);
    }
    const Real variance = total<Real>(squares) / static_cast<Real>(n);
    scale = static_cast<Real>(__builtin_sqrt(static_cast<double>(variance) + 1e-5));
    const Vec<Real> inverse = fill(Real(1) / scale);
    for (std::size_t k = 0; k < n; k += lanes) put(hat + k, (get(v + k, n - k) - fill(mean)) * inverse, n - k);
}

// From d = ∂/∂(gain·v̂ + bias) to ∂/∂v; d may be out.
template <class Real>
void normalise_back(const Real* d, const Real* gain, const Real* hat, Real scale, std::size_t n, Real* out) {
    constexpr std::size_t lanes = LANES<Real>;
    Vec<Real> sum{}, along{};
    for (std::size_t k = 0; k < n; k += lanes) {
        const Vec<Real> own = get(d + k, n - k) * get(gain + k, n - k);
        sum += own;
        along = fma(own, get(hat + k, n - k), along);
    }
    const Vec<Real> mean = fill(total<Real>(sum) / static_cast<Real>(n));
    const Vec<Real> slope = fill(total<Real>(along) / static_cast<Real>(n)), inverse = fill(Real(1) / scale);
    for (std::size_t k = 0; k < n; k += lanes) {
        const Vec<Real> own = get(d + k, n - k) * get(gain + k, n - k);
        put(out + k, (own - mean - get(hat + k, n - k) * slope) * inverse, n - k);
    }
}

template <class Real>
void normalise_cells(const Scan<Real>& s, std::size_t first, std::size_t end) {
    const std::size_t wide = s.G * s.H;
    for (std::size_t cell = first; cell < end; ++cell) {
        Real *hat = s.a_hat + cell * wide, *z = s.z + cell * wide;
        normalise(static_cast<const Real*>(hat), wide, hat, s.a_scale[cell]);
        for (std::size_t k = 0; k < wide; k += LANES<Real>) {
            const std::size_t left = wide - k;
            const Vec<Real> bias = s.b_ih == nullptr ? Vec<Real>{} : get(s.b_ih + k, left);
            put(z + k, fma(get(s.gain_ih + k, left), get(hat + k, left), bias), left);
        }
    }
}

template <class Real>
void normalise_cells_back(const Scan<Real>& s, std::size_t first, std::size_t end) {
    const std::size_t wide = s.G * s.H;
    for (std::size_t at = first * wide; first < end; ++first, at += wide)
        normalise_back(s.d_z + at, s.gain_ih, s.a_hat + at, s.a_scale[first], wide, s.d_a + at);
}

// ---- sums over all cells ----

// C vectors of columns from `column` on, the last of `left`.
template <std::size_t C, class Real>
INLINE void sum_some(const ColumnSum<Real>& task, std::size_t column, std::size_t left) {
    Vec<Real> sum[C]{};
    for (std::size_t k = task.first; k < task.end; ++k)
#pragma GCC unroll 8
        for (std::size_t c = 0; c < C; ++c) {
            const std::size_t at = column + c * LANES<Real>;
            const Vec<Real> own = get(task.a[k] + at, left);
            sum[c] = task.b == nullptr ? sum[c] + own : fma(own, get(task.b[k] + at, left), sum[c]);
        }
    for (std::size_t c = 0; c < C; ++c) put(task.out + column + c * LANES<Real>, sum[c], left);
}

template <class Real>
void sum_columns(const ColumnSum<Real>& task) {
    std::size_t column = 0;
    for (; column + 8 * LANES<Real> <= task.columns; column += 8 * LANES<Real>) sum_some<8>(task, column, LANES<Real>);
    for (; column < task.columns; column += LANES<Real>) sum_some<1>(task, column, task.columns - column);
}

// ---- the recurrence ----

// Where the rows of one thread stand at one step.
template <class Real>
struct Place {
    std::size_t row, t, cell;
    bool first;  // of its row: h and c before are the initial ones
    std::size_t before, cell_before;
};

#define INLINE_LAMBDA __attribute__((always_inline))

template <class F>
class Recurrence {
    using Real = typename F::Real;

public:
    Recurrence(const Scan<Real>& scan, const ScanRows& rows, const Real* w_hh, const Real* w_hr, Real* scratch)
        : s(scan), rows_(rows), w_hh_(w_hh), w_hr_(w_hr) {
        const std::size_t n = rows.count, wide = s.G * s.H;
        x_ = reinterpret_cast<const Real**>(scratch);
        y_ = reinterpret_cast<Real**>(scratch + n * ADDRESS<Real>);
        scratch += 2 * n * ADDRESS<Real>;
        a_ = scratch;  // (n, max(G·H, P, H))
        scratch += n * (wide > s.P ? wide : s.P);
        d_h_ = scratch;
        d_c_ = d_h_ + n * s.P;
        d_m_ = d_c_ + n * s.H;
        keep_ = d_m_ + n * s.H;
        words_ = keep_ + n * s.P;
        plain_ = s.G == 4 && s.peephole == nullptr && s.mask_g == nullptr && s.draw_c == nullptr && s.keep_c == 0 &&
                 s.gain_c == nullptr;
    }

    static std::size_t scratch(const Scan<Real>& s, std::size_t n) {
        const std::size_t wide = s.G * s.H;
        return n * (2 * ADDRESS<Real> + (wide > s.P ? wide : s.P) + 2 * s.P + 2 * s.H) +
               products_scratch<F>(n, wide > s.P ? wide : s.P);
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
        std::size_t live = rows_.count;
        for (std::size_t step = 0;; ++step) {
            while (live > 0 && length(rows_.order[live - 1]) <= step) --live;
            if (live == 0) return;
            forward_step(step, live);
        }
    }

    void backward() {
        std::size_t longest = rows_.count ? length(rows_.order[0]) : 0;
        for (std::size_t k = 0; k < rows_.count; ++k) {
            start(s.d_h_n, rows_.order[k], s.P, d_h_ + k * s.P);
            start(s.d_c_n, rows_.order[k], s.H, d_c_ + k * s.H);
        }
        std::size_t live = 0;
        for (std::size_t step = longest; step-- > 0;) {
            while (live < rows_.count && length(rows_.order[live]) > step) ++live;
            backward_step(step, live);
        }
        for (std::size_t k = 0; k < rows_.count; ++k) {
            copy(d_h_ + k * s.P, s.d_h_0 + rows_.order[k] * s.P, s.P);
            copy(d_c_ + k * s.H, s.d_c_0 + rows_.order[k] * s.H, s.H);
        }
    }

private:
    static constexpr std::size_t lanes = LANES<Real>;
    using Vector = Vec<Real>;

    static void copy(const Real* from, Real* to, std::size_t n) { __builtin_memcpy(to, from, n * sizeof(Real)); }

    static void start(const Real* slopes, std::size_t row, std::size_t n, Real* to) {
        if (slopes == nullptr)
            __builtin_memset(to, 0, n * sizeof(Real));
        else
            copy(slopes + row * n, to, n);
    }

    std::size_t length(std::size_t row) const {
        return s.lengths == nullptr ? s.L : static_cast<std::size_t>(s.lengths[row]);
    }
    std::size_t cell(std::size_t t, std::size_t row) const {
        return s.cell == nullptr ? t * s.N + row : static_cast<std::size_t>(s.cell[t * s.N + row]);
    }
    Place<Real> place(std::size_t k, std::size_t step) const {
        const std::size_t row = rows_.order[k];
        const std::size_t t = s.reverse ? length(row) - 1 - step : step;
        const std::size_t before = s.reverse ? t + 1 : t - 1;
        return {row, t, cell(t, row), step == 0, before, step == 0 ? 0 : cell(before, row)};
    }
    const Real* h_before(const Place<Real>& p) const {
        return p.first ? s.h_0 + p.row * s.P : s.y + (p.before * s.N + p.row) * s.P;
    }
    const Real* c_before(const Place<Real>& p) const {
        return p.first ? s.c_0 + p.row * s.H : s.c + p.cell_before * s.H;
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
        products<F>(w_hh_, wide, s.P, live, x_, s.gain_hh == nullptr ? y_ : nullptr, y_, words_);
        for (std::size_t k = 0; k < live; ++k) {
            const Place<Real> p = place(k, step);
            if (s.gain_hh != nullptr) add_normalised(p, a_ + k * wide);
            Real* m = s.m != nullptr ? s.m + p.cell * s.H : s.y + (p.t * s.N + p.row) * s.P;
            gates(p, m);
            x_[k] = m;
            y_[k] = s.y + (p.t * s.N + p.row) * s.P;
        }
        if (s.m != nullptr) products<F>(w_hr_, s.P, s.H, live, x_, nullptr, y_, words_);
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

    Vector kept(const Real* draw, Real share, const Place<Real>& p, std::size_t width, std::size_t j) const {
        return draw == nullptr ? fill(share) : get(draw + (p.t * s.N + p.row) * width + j, width - j);
    }

    // z += N(W_hh h)
    void add_normalised(const Place<Real>& p, const Real* product) {
        const std::size_t wide = s.G * s.H;
        Real *hat = s.r_hat + p.cell * wide, *z = s.z + p.cell * wide;
        normalise(product, wide, hat, s.r_scale[p.cell]);
        for (std::size_t k = 0; k < wide; k += lanes) {
            const std::size_t left = wide - k;
            const Vector bias = s.b_hh == nullptr ? Vector{} : get(s.b_hh + k, left);
            put(z + k, get(z + k, left) + fma(get(s.gain_hh + k, left), get(hat + k, left), bias), left);
        }
    }

    // From z to the gates, c and m.
    void gates(const Place<Real>& p, Real* m) {
        const std::size_t H = s.H;
        if (plain_) return by_vectors([&](std::size_t j, std::size_t n) INLINE_LAMBDA { gate<true>(p, m, j, n); });
        by_vectors([&](std::size_t j, std::size_t n) INLINE_LAMBDA { gate<false>(p, m, j, n); });
        if (s.u_hat == nullptr) return;
        Real *candidate = s.u_hat + p.cell * H, *z = s.z + p.cell * s.G * H;
        normalise(candidate, H, candidate, s.u_scale[p.cell]);
        for (std::size_t j = 0; j < H; j += lanes) {
            const std::size_t left = H - j;
            put(m + j, get(z + (s.G - 1) * H + j, left) * training::tanh(unit(p, j)), left);
        }
    }

    // work(j, n): n hidden units from j on, a whole vector of them but for the last.
    template <class Work>
    INLINE void by_vectors(const Work& work) const {
        std::size_t j = 0;
        for (; j + lanes <= s.H; j += lanes) work(j, lanes);
        if (j < s.H) work(j, s.H - j);
    }

    // PLAIN: without what the variants add.
    template <bool PLAIN>
    INLINE void gate(const Place<Real>& p, Real* m, std::size_t j, std::size_t n) const {
        const std::size_t H = s.H, G = PLAIN ? 4 : s.G;
        const bool coupled = G == 3, peephole = !PLAIN && s.peephole != nullptr;
        Real *z = s.z + p.cell * G * H + j, *c = s.c + p.cell * H + j;
        const Vector before = get(c_before(p) + j, n);
        Vector z_i = get(z, n), z_f = coupled ? Vector{} : get(z + H, n), z_o = get(z + (G - 1) * H, n);
        if (peephole) {
            z_i = fma(get(s.peephole + j, n), before, z_i);
            if (!coupled) z_f = fma(get(s.peephole + H + j, n), before, z_f);
        }
        const Vector i = training::sigmoid(z_i), f = coupled ? fill(Real(1)) - i : training::sigmoid(z_f);
        const Vector g = training::tanh(get(z + (G - 2) * H, n));
        const bool dropped = !PLAIN && s.mask_g != nullptr;
        const Vector seen = dropped ? g * get(s.mask_g + (p.t * s.N + p.row) * H + j, n) : g;
        const Vector fresh = fma(f, before, i * seen);
        if (peephole) z_o = fma(get(s.peephole + (G - 2) * H + j, n), fresh, z_o);
        const Vector o = training::sigmoid(z_o);
        put(z, i, n);
        if (!coupled) put(z + H, f, n);
        put(z + (G - 2) * H, g, n);
        put(z + (G - 1) * H, o, n);
        if (!PLAIN && (s.draw_c != nullptr || s.keep_c != 0)) {
            const Vector keep = kept(s.draw_c, s.keep_c, p, H, j);
            put(c, fma(keep, before, (fill(Real(1)) - keep) * fresh), n);
        } else {
            put(c, fresh, n);
        }
        if (PLAIN || s.u_hat == nullptr)
            put(m + j, o * training::tanh(fresh), n);
        else
            put(s.u_hat + p.cell * H + j, fresh, n);
    }

    // u = N(c̃) from what the forward kept.
    Vector unit(const Place<Real>& p, std::size_t j) const {
        const std::size_t left = s.H - j;
        const Vector bias = s.bias_c == nullptr ? Vector{} : get(s.bias_c + j, left);
        return fma(get(s.gain_c + j, left), get(s.u_hat + p.cell * s.H + j, left), bias);
    }

    void backward_step(std::size_t step, std::size_t live) {
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
        if (s.m != nullptr) products<F>(w_hr_, s.H, s.P, live, x_, nullptr, y_, words_);
        for (std::size_t k = 0; k < live; ++k) {
            const Place<Real> p = place(k, step);
            through_gates(p, s.m != nullptr ? d_m_ + k * s.H : d_h_ + k * s.P, d_c_ + k * s.H, a_ + k * wide);
            const Real* d_z = s.d_z + p.cell * wide;
            if (s.gain_hh != nullptr) {
                Real* d_r = s.d_r + p.cell * wide;
                normalise_back(d_z, s.gain_hh, s.r_hat + p.cell * wide, s.r_scale[p.cell], wide, d_r);
                d_z = d_r;
            }
            x_[k] = d_z;
            y_[k] = d_h_ + k * s.P;
        }
        products<F>(w_hh_, s.P, wide, live, x_, nullptr, y_, words_);
        for (std::size_t k = 0; k < live; ++k) {
            const Place<Real> p = place(k, step);
            Real* d_h = d_h_ + k * s.P;
            if (s.mask_h != nullptr)
                for (std::size_t j = 0; j < s.P; ++j) d_h[j] *= s.mask_h[p.row * s.P + j];
            if (zoned)
                for (std::size_t j = 0; j < s.P; ++j) d_h[j] += keep_[k * s.P + j];
        }
    }

    // From ∂/∂m and ∂/∂c' to ∂/∂z and ∂/∂c; `spare` holds H values.
    void through_gates(const Place<Real>& p, const Real* d_m, Real* d_c, Real* spare) {
        const std::size_t H = s.H;
        const Vector one = fill(Real(1));
        const Real* gate = s.z + p.cell * s.G * H;
        const auto o_at = [&](std::size_t j) { return get(gate + (s.G - 1) * H + j, H - j); };
        if (s.gain_c != nullptr) {
            Real* d_u = s.d_u + p.cell * H;
            for (std::size_t j = 0; j < H; j += lanes) {
                const Vector t = training::tanh(unit(p, j));
                put(d_u + j, get(d_m + j, H - j) * o_at(j) * (one - t * t), H - j);
            }
            normalise_back(d_u, s.gain_c, s.u_hat + p.cell * H, s.u_scale[p.cell], H, spare);
        }
        if (plain_)
            by_vectors([&](std::size_t j, std::size_t n) INLINE_LAMBDA { gate_back<true>(p, d_m, d_c, spare, j, n); });
        else
            by_vectors([&](std::size_t j, std::size_t n) INLINE_LAMBDA { gate_back<false>(p, d_m, d_c, spare, j, n); });
    }

    template <bool PLAIN>
    INLINE void gate_back(const Place<Real>& p, const Real* d_m, Real* d_c, const Real* spare, std::size_t j,
                          std::size_t n) const {
        const std::size_t H = s.H, G = PLAIN ? 4 : s.G;
        const bool coupled = G == 3, peephole = !PLAIN && s.peephole != nullptr;
        const bool normed = !PLAIN && s.gain_c != nullptr;
        const Vector one = fill(Real(1));
        const Real* gate = s.z + p.cell * G * H + j;
        Real* d_z = s.d_z + p.cell * G * H + j;
        const Vector before = get(c_before(p) + j, n), i = get(gate, n), o = get(gate + (G - 1) * H, n);
        const Vector f = coupled ? one - i : get(gate + H, n), g = get(gate + (G - 2) * H, n);
        const bool dropped = !PLAIN && s.mask_g != nullptr;
        const Vector mask = dropped ? get(s.mask_g + (p.t * s.N + p.row) * H + j, n) : one;
        const Vector seen = dropped ? g * mask : g;
        const Vector fresh = fma(f, before, i * seen), own = get(d_m + j, n);
        if (!PLAIN && s.candidate != nullptr) put(s.candidate + p.cell * H + j, fresh, n);
        const Vector t = normed ? training::tanh(unit(p, j)) : training::tanh(fresh);
        const Vector d_zo = own * t * o * (one - o);
        Vector d_fresh = normed ? get(spare + j, n) : own * o * (one - t * t);
        Vector d_before = get(d_c + j, n);
        if (!PLAIN && (s.draw_c != nullptr || s.keep_c != 0)) {
            const Vector keep = kept(s.draw_c, s.keep_c, p, H, j);
            d_fresh += (one - keep) * d_before;
            d_before = keep * d_before;
        } else {
            d_fresh += d_before;
            d_before = Vector{};
        }
        if (peephole) d_fresh = fma(d_zo, get(s.peephole + (G - 2) * H + j, n), d_fresh);
        d_before = fma(d_fresh, f, d_before);
        const Vector d_f = d_fresh * before, d_i = d_fresh * seen;
        const Vector d_zi = (coupled ? d_i - d_f : d_i) * i * (one - i), d_zf = d_f * f * (one - f);
        if (peephole) {
            d_before = fma(d_zi, get(s.peephole + j, n), d_before);
            if (!coupled) d_before = fma(d_zf, get(s.peephole + H + j, n), d_before);
        }
        const Vector d_g = d_fresh * i;
        put(d_z, d_zi, n);
        if (!coupled) put(d_z + H, d_zf, n);
        put(d_z + (G - 2) * H, (dropped ? d_g * mask : d_g) * (one - g * g), n);
        put(d_z + (G - 1) * H, d_zo, n);
        put(d_c + j, d_before, n);
    }

    const Scan<Real>& s;
    const ScanRows& rows_;
    const Real *w_hh_, *w_hr_;
    const Real** x_;
    Real** y_;
    Real *a_, *d_h_, *d_c_, *d_m_, *keep_, *words_;
    bool plain_;
};

template <class F, class Real = typename F::Real>
std::size_t scan_scratch(const Scan<Real>& scan, std::size_t rows) {
    return Recurrence<F>::scratch(scan, rows);
}
template <class F, class Real = typename F::Real>
void run_forward(const Scan<Real>& scan, const ScanRows& rows, const Real* w_hh, const Real* w_hr, Real* scratch) {
    Recurrence<F>(scan, rows, w_hh, w_hr, scratch).forward();
}
template <class F, class Real = typename F::Real>
void run_backward(const Scan<Real>& scan, const ScanRows& rows, const Real* w_hh, const Real* w_hr, Real* scratch) {
    Recurrence<F>(scan, rows, w_hh, w_hr, scratch).backward();
}

template <class F>
constexpr Trainer<typename F::Real> TRAINER = {packed_size<F>,
                                               pack<F>,
                                               products<F>,
                                               products_scratch<F>,
                                               outer<F>,
                                               outer_scratch<F>,
                                               sum_columns<typename F::Real>,
                                               normalise_cells<typename F::Real>,
                                               normalise_cells_back<typename F::Real>,
                                               run_forward<F>,
                                               run_backward<F>,
                                               scan_scratch<F>};

}  // namespace
}  // namespace carrousel
