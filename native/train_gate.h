// The gates in training, of one row at one step, forward and backward. Included by train_kernel.cpp. The letters are
// those of src/carrousel/layers/reference.py.
#pragma once

#include "train_activation.h"
#include "train_normalise.h"

namespace carrousel {
namespace {

// Where the rows of one thread stand at one step.
template <class Real>
struct Place {
    std::size_t row, t, cell;
    bool first;  // of its row: h and c before are the initial ones
    std::size_t before, cell_before;
};

#define INLINE_LAMBDA __attribute__((always_inline))

template <class Real>
class Gates {
protected:
    static constexpr std::size_t lanes = LANES<Real>;
    using Vector = Vec<Real>;

    Gates(const Scan<Real>& scan, const std::size_t* order) : s(scan), order_(order) {
        plain_ = s.G == 4 && s.peephole == nullptr && s.mask_g == nullptr && s.draw_c == nullptr && s.keep_c == 0 &&
                 s.gain_c == nullptr;
    }

    std::size_t length(std::size_t row) const {
        return s.lengths == nullptr ? s.L : static_cast<std::size_t>(s.lengths[row]);
    }
    std::size_t cell(std::size_t t, std::size_t row) const {
        return s.cell == nullptr ? t * s.N + row : static_cast<std::size_t>(s.cell[t * s.N + row]);
    }
    Place<Real> place(std::size_t k, std::size_t step) const {
        const std::size_t row = order_[k];
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

    Vector kept(const Real* draw, Real share, const Place<Real>& p, std::size_t width, std::size_t j) const {
        return draw == nullptr ? fill(share) : get(draw + (p.t * s.N + p.row) * width + j, width - j);
    }

    // From z to the gates, c and m.
    void gates(const Place<Real>& p, Real* m) {
        const std::size_t H = s.H;
        if (plain_) return by_vectors([&](std::size_t j, std::size_t n) INLINE_LAMBDA { gate<true>(p, m, j, n); });
        by_vectors([&](std::size_t j, std::size_t n) INLINE_LAMBDA { gate<false>(p, m, j, n); });
        if (s.u_hat == nullptr) return;
        Real *candidate = s.u_hat + p.cell * H, *z = s.z + p.cell * s.G * H;
        normalise(static_cast<const Real*>(candidate), H, candidate, s.u_scale[p.cell], [&](std::size_t j, Vector hat) {
            put(m + j, get(z + (s.G - 1) * H + j, H - j) * training::tanh(unit(hat, j)), H - j);
        });
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

    // u = N(c̃) from its hat.
    Vector unit(Vector hat, std::size_t j) const {
        const Vector bias = s.bias_c == nullptr ? Vector{} : get(s.bias_c + j, s.H - j);
        return fma(get(s.gain_c + j, s.H - j), hat, bias);
    }
    // From what the forward kept.
    Vector unit(const Place<Real>& p, std::size_t j) const { return unit(get(s.u_hat + p.cell * s.H + j, s.H - j), j); }

    // From ∂/∂m and ∂/∂c' to ∂/∂z and ∂/∂c; `spare` holds H values.
    void through_gates(const Place<Real>& p, const Real* d_m, Real* d_c, Real* spare) {
        const std::size_t H = s.H;
        const Vector one = fill(Real(1));
        const Real* gate = s.z + p.cell * s.G * H;
        const auto o_at = [&](std::size_t j) { return get(gate + (s.G - 1) * H + j, H - j); };
        if (s.gain_c != nullptr) {
            Real* const sums = s.sums + p.row * sums_width(s) + 3 * s.G * H;  // of gain_c, bias_c
            NormaliseBack<Real> normal(s.gain_c, s.u_hat + p.cell * H, s.u_scale[p.cell], sums, H);
            for (std::size_t j = 0; j < H; j += lanes) {
                const Vector t = training::tanh(unit(p, j)), d_u = get(d_m + j, H - j) * o_at(j) * (one - t * t);
                put(spare + j, d_u, H - j);
                normal.add(j, d_u);
                add_to(sums + H + j, d_u, H - j);
            }
            normal.close();
            for (std::size_t j = 0; j < H; j += lanes)
                put(spare + j, normal.at(j, get(static_cast<const Real*>(spare) + j, H - j)), H - j);
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
            Real* const sums = s.sums + (p.row + 1) * sums_width(s) - (G - 1) * H + j;
            d_before = fma(d_zi, get(s.peephole + j, n), d_before);
            add_to(sums, d_zi * before, n);
            if (!coupled) {
                d_before = fma(d_zf, get(s.peephole + H + j, n), d_before);
                add_to(sums + H, d_zf * before, n);
            }
            add_to(sums + (G - 2) * H, d_zo * fresh, n);
        }
        const Vector d_g = d_fresh * i;
        put(d_z, d_zi, n);
        if (!coupled) put(d_z + H, d_zf, n);
        put(d_z + (G - 2) * H, (dropped ? d_g * mask : d_g) * (one - g * g), n);
        put(d_z + (G - 1) * H, d_zo, n);
        put(d_c + j, d_before, n);
    }

    const Scan<Real>& s;
    const std::size_t* const order_;  // of the rows
    bool plain_;
};

}  // namespace
}  // namespace carrousel
