// The recurrence's arithmetic, included by kernel.cpp: in float32 and, to check gradients by, float64.
//
// Rows are independent and every sum runs over its inputs in order, so gradients are the same bits on any number of
// threads. The letters are those of src/carrousel/layers/reference.py.
#pragma once

#include "simd.h"
#include "train.h"

namespace carrousel {
namespace {

template <class Real>
struct Of;
template <>
struct Of<float> {
    using Vector = vf;
    using Loose = vf_loose;
};
template <>
struct Of<double> {
    using Vector = double __attribute__((vector_size(4 * V)));
    using Loose = double __attribute__((vector_size(4 * V), aligned(8), may_alias));
};
template <class Real>
using Vec = typename Of<Real>::Vector;
using vd = Vec<double>;

template <class Real>
constexpr std::size_t LANES = 4 * V / sizeof(Real);

template <class Real>
INLINE Vec<Real> fill(Real v) {
    return v - Vec<Real>{};
}
template <class Real>
INLINE Vec<Real> get(const Real* p) {
    return *reinterpret_cast<const typename Of<Real>::Loose*>(p);
}
template <class Real>
INLINE void put(Real* p, Vec<Real> v) {
    *reinterpret_cast<typename Of<Real>::Loose*>(p) = v;
}
template <class Real>
INLINE Vec<Real> get(const Real* p, std::size_t n) {
    if (n >= LANES<Real>) return get(p);
    Real parts[LANES<Real>] = {};
    for (std::size_t k = 0; k < n; ++k) parts[k] = p[k];
    return get(static_cast<const Real*>(parts));
}
template <class Real>
INLINE void put(Real* p, Vec<Real> v, std::size_t n) {
    if (n >= LANES<Real>) return put(p, v);
    Real parts[LANES<Real>];
    put(parts, v);
    for (std::size_t k = 0; k < n; ++k) p[k] = parts[k];
}

using ::fma;
using ::sigmoid;
using ::tanh;
INLINE vd fma(vd a, vd b, vd c) { return a * b + c; }
INLINE vd sigmoid(vd v) {
    for (std::size_t k = 0; k < LANES<double>; ++k) v[k] = 0.5 * (1.0 + __builtin_tanh(0.5 * v[k]));
    return v;
}
INLINE vd tanh(vd v) {
    for (std::size_t k = 0; k < LANES<double>; ++k) v[k] = __builtin_tanh(v[k]);
    return v;
}
template <class Real>
INLINE Real total(Vec<Real> v) {
    Real sum = 0;
    for (std::size_t k = 0; k < LANES<Real>; ++k) sum += v[k];
    return sum;
}

// ---- y = W x (+ y): W in blocks of COLUMNS vectors of outputs ----

constexpr std::size_t COLUMNS = 4;

template <class Real>
std::size_t packed_size(std::size_t outputs, std::size_t k) {
    const std::size_t block = COLUMNS * LANES<Real>;
    return (outputs + block - 1) / block * block * k;
}

template <class Real>
void pack(const Real* w, std::size_t outputs, std::size_t k, bool transposed, Real* out) {
    const std::size_t block = COLUMNS * LANES<Real>;
    for (std::size_t first = 0; first < outputs; first += block)
        for (std::size_t j = 0; j < k; ++j) {
            if (transposed && outputs - first >= block) {
                __builtin_memcpy(out, w + j * outputs + first, block * sizeof(Real));
                out += block;
                continue;
            }
            for (std::size_t lane = 0; lane < block; ++lane, ++out) {
                const std::size_t output = first + lane;
                *out = output >= outputs ? Real(0) : transposed ? w[j * outputs + output] : w[output * k + j];
            }
        }
}

// One block of outputs, from `first` on, of R rows.
template <class Real, int R>
__attribute__((noinline)) void product_tile(const Real* w, std::size_t first, std::size_t outputs, std::size_t k,
                                            const Real* const* x, const Real* const* init, Real* const* y) {
    constexpr std::size_t lanes = LANES<Real>;
    Vec<Real> acc[R][COLUMNS];
    const bool whole = outputs - first >= COLUMNS * lanes;
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (std::size_t c = 0; c < COLUMNS; ++c) {
            const std::size_t at = first + c * lanes;
            if (init == nullptr || at >= outputs)
                acc[r][c] = Vec<Real>{};
            else
                acc[r][c] = whole ? get(init[r] + at) : get(init[r] + at, outputs - at);
        }
    const Real* in[R];
    for (int r = 0; r < R; ++r) in[r] = x[r];
#pragma GCC unroll 2
    for (std::size_t j = 0; j < k; ++j, w += COLUMNS * lanes) {
        Vec<Real> own[R];
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) own[r] = fill(in[r][j]);
#pragma GCC unroll 4
        for (std::size_t c = 0; c < COLUMNS; ++c) {
            const Vec<Real> weight = get(w + c * lanes);
#pragma GCC unroll 8
            for (int r = 0; r < R; ++r) acc[r][c] = fma(weight, own[r], acc[r][c]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (std::size_t c = 0; c < COLUMNS; ++c) {
            const std::size_t at = first + c * lanes;
            if (whole)
                put(y[r] + at, acc[r][c]);
            else if (at < outputs)
                put(y[r] + at, acc[r][c], outputs - at);
        }
}

template <class Real>
using ProductTile = void (*)(const Real*, std::size_t, std::size_t, std::size_t, const Real* const*, const Real* const*,
                             Real* const*);

template <class Real>
ProductTile<Real> product_tile_of(std::size_t rows) {
    switch (rows) {
        case 1: return &product_tile<Real, 1>;
        case 2: return &product_tile<Real, 2>;
#if !defined(CARROUSEL_PLAIN) && (defined(__AVX512F__) || defined(__ARM_NEON))
        case 3: return &product_tile<Real, 3>;
        case 4: return &product_tile<Real, 4>;
        case 5: return &product_tile<Real, 5>;
        default: return &product_tile<Real, 6>;
#else
        default: return &product_tile<Real, 3>;
#endif
    }
}

// y = init + W x for some rows; init null: 0; it may be y.
template <class Real>
void products(const Real* w, std::size_t outputs, std::size_t k, std::size_t rows, const Real* const* x,
              const Real* const* init, Real* const* y) {
    const std::size_t parts = (rows + ROWS - 1) / ROWS, block = COLUMNS * LANES<Real>;
    for (std::size_t first = 0; first < outputs; first += block, w += block * k)
        for (std::size_t part = 0, row = 0; part < parts; ++part) {
            const std::size_t r = rows / parts + (part < rows % parts);
            product_tile_of<Real>(r)(w, first, outputs, k, x + row, init == nullptr ? nullptr : init + row, y + row);
            row += r;
        }
}

template <class Real>
void transpose(const Real* a, std::size_t rows, std::size_t columns, Real* out) {
    constexpr std::size_t side = 16;  // a line of the cache either way
    for (std::size_t r = 0; r < rows; r += side)
        for (std::size_t c = 0; c < columns; ++c)
            for (std::size_t k = r; k < rows && k < r + side; ++k) out[c * rows + k] = a[k * columns + c];
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

// ---- the recurrence ----

// Where the rows of one thread stand at one step.
template <class Real>
struct Place {
    std::size_t row, t, cell;
    bool first;  // of its row: h and c before are the initial ones
    std::size_t before, cell_before;
};

template <class Real>
class Recurrence {
public:
    Recurrence(const Scan<Real>& scan, const ScanRows& rows, const Real* w_hh, const Real* w_hr, Real* scratch)
        : s(scan), rows_(rows), w_hh_(w_hh), w_hr_(w_hr) {
        const std::size_t n = rows.count, wide = s.G * s.H;
        x_ = reinterpret_cast<const Real**>(scratch);
        y_ = reinterpret_cast<Real**>(scratch + n * POINTER);
        scratch += 2 * n * POINTER;
        a_ = scratch;  // (n, max(G·H, P, H))
        scratch += n * (wide > s.P ? wide : s.P);
        d_h_ = scratch;
        d_c_ = d_h_ + n * s.P;
        d_m_ = d_c_ + n * s.H;
        keep_ = d_m_ + n * s.H;
    }

    static std::size_t scratch(const Scan<Real>& s, std::size_t n) {
        const std::size_t wide = s.G * s.H;
        return n * (2 * POINTER + (wide > s.P ? wide : s.P) + 2 * s.P + 2 * s.H);
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
            copy(s.d_h_n + rows_.order[k] * s.P, d_h_ + k * s.P, s.P);
            copy(s.d_c_n + rows_.order[k] * s.H, d_c_ + k * s.H, s.H);
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
    static constexpr std::size_t POINTER = sizeof(void*) / sizeof(Real);
    using Vector = Vec<Real>;

    static void copy(const Real* from, Real* to, std::size_t n) { __builtin_memcpy(to, from, n * sizeof(Real)); }

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
        products<Real>(w_hh_, wide, s.P, live, x_, s.gain_hh == nullptr ? y_ : nullptr, y_);
        for (std::size_t k = 0; k < live; ++k) {
            const Place<Real> p = place(k, step);
            if (s.gain_hh != nullptr) add_normalised(p, a_ + k * wide);
            Real* m = s.m != nullptr ? s.m + p.cell * s.H : s.y + (p.t * s.N + p.row) * s.P;
            gates(p, m);
            x_[k] = m;
            y_[k] = s.y + (p.t * s.N + p.row) * s.P;
        }
        if (s.m != nullptr) products<Real>(w_hr_, s.P, s.H, live, x_, nullptr, y_);
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
        const bool coupled = s.G == 3;
        Real *z = s.z + p.cell * s.G * H, *c = s.c + p.cell * H;
        const Real* old = c_before(p);
        Real* candidate = s.u_hat != nullptr ? s.u_hat + p.cell * H : nullptr;
        for (std::size_t j = 0; j < H; j += lanes) {
            const std::size_t left = H - j;
            const Vector before = get(old + j, left);
            Vector z_i = get(z + j, left), z_o = get(z + (s.G - 1) * H + j, left);
            Vector z_f = coupled ? Vector{} : get(z + H + j, left);
            if (s.peephole != nullptr) {
                z_i = fma(get(s.peephole + j, left), before, z_i);
                if (!coupled) z_f = fma(get(s.peephole + H + j, left), before, z_f);
            }
            const Vector i = sigmoid(z_i), f = coupled ? fill(Real(1)) - i : sigmoid(z_f);
            const Vector g = tanh(get(z + (s.G - 2) * H + j, left));
            const Vector seen = s.mask_g == nullptr ? g : g * get(s.mask_g + (p.t * s.N + p.row) * H + j, left);
            const Vector fresh = fma(f, before, i * seen);
            if (s.peephole != nullptr) z_o = fma(get(s.peephole + (s.G - 2) * H + j, left), fresh, z_o);
            const Vector o = sigmoid(z_o);
            put(z + j, i, left);
            if (!coupled) put(z + H + j, f, left);
            put(z + (s.G - 2) * H + j, g, left);
            put(z + (s.G - 1) * H + j, o, left);
            if (s.draw_c != nullptr || s.keep_c != 0) {
                const Vector keep = kept(s.draw_c, s.keep_c, p, H, j);
                put(c + j, fma(keep, before, (fill(Real(1)) - keep) * fresh), left);
            } else {
                put(c + j, fresh, left);
            }
            if (candidate == nullptr)
                put(m + j, o * tanh(fresh), left);
            else
                put(candidate + j, fresh, left);
        }
        if (candidate == nullptr) return;
        normalise(candidate, H, candidate, s.u_scale[p.cell]);
        for (std::size_t j = 0; j < H; j += lanes) {
            const std::size_t left = H - j;
            put(m + j, get(z + (s.G - 1) * H + j, left) * tanh(unit(p, j)), left);
        }
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
        if (s.m != nullptr) products<Real>(w_hr_, s.H, s.P, live, x_, nullptr, y_);
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
        products<Real>(w_hh_, s.P, wide, live, x_, nullptr, y_);
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
        const bool coupled = s.G == 3;
        const Vector one = fill(Real(1));
        const Real *gate = s.z + p.cell * s.G * H, *old = c_before(p);
        Real* d_z = s.d_z + p.cell * s.G * H;
        const auto o_at = [&](std::size_t j) { return get(gate + (s.G - 1) * H + j, H - j); };
        if (s.gain_c != nullptr) {
            Real* d_u = s.d_u + p.cell * H;
            for (std::size_t j = 0; j < H; j += lanes) {
                const Vector t = tanh(unit(p, j));
                put(d_u + j, get(d_m + j, H - j) * o_at(j) * (one - t * t), H - j);
            }
            normalise_back(d_u, s.gain_c, s.u_hat + p.cell * H, s.u_scale[p.cell], H, spare);
        }
        for (std::size_t j = 0; j < H; j += lanes) {
            const std::size_t left = H - j;
            const Vector before = get(old + j, left), i = get(gate + j, left), o = o_at(j);
            const Vector f = coupled ? one - i : get(gate + H + j, left), g = get(gate + (s.G - 2) * H + j, left);
            const Vector mask = s.mask_g == nullptr ? one : get(s.mask_g + (p.t * s.N + p.row) * H + j, left);
            const Vector fresh = fma(f, before, i * (g * mask)), own = get(d_m + j, left);
            const Vector t = s.gain_c != nullptr ? tanh(unit(p, j)) : tanh(fresh);
            const Vector d_zo = own * t * o * (one - o);
            Vector d_fresh = s.gain_c != nullptr ? get(spare + j, left) : own * o * (one - t * t);
            Vector d_before = get(d_c + j, left);
            if (s.draw_c != nullptr || s.keep_c != 0) {
                const Vector keep = kept(s.draw_c, s.keep_c, p, H, j);
                d_fresh += (one - keep) * d_before;
                d_before = keep * d_before;
            } else {
                d_fresh += d_before;
                d_before = Vector{};
            }
            if (s.peephole != nullptr) d_fresh = fma(d_zo, get(s.peephole + (s.G - 2) * H + j, left), d_fresh);
            d_before = fma(d_fresh, f, d_before);
            const Vector d_f = d_fresh * before, d_i = d_fresh * (g * mask);
            const Vector d_zi = (coupled ? d_i - d_f : d_i) * i * (one - i), d_zf = d_f * f * (one - f);
            if (s.peephole != nullptr) {
                d_before = fma(d_zi, get(s.peephole + j, left), d_before);
                if (!coupled) d_before = fma(d_zf, get(s.peephole + H + j, left), d_before);
            }
            put(d_z + j, d_zi, left);
            if (!coupled) put(d_z + H + j, d_zf, left);
            put(d_z + (s.G - 2) * H + j, d_fresh * i * mask * (one - g * g), left);
            put(d_z + (s.G - 1) * H + j, d_zo, left);
            put(d_c + j, d_before, left);
        }
    }

    const Scan<Real>& s;
    const ScanRows& rows_;
    const Real *w_hh_, *w_hr_;
    const Real** x_;
    Real** y_;
    Real *a_, *d_h_, *d_c_, *d_m_, *keep_;
};

template <class Real>
std::size_t scan_scratch(const Scan<Real>& scan, std::size_t rows) {
    return Recurrence<Real>::scratch(scan, rows);
}
template <class Real>
void run_forward(const Scan<Real>& scan, const ScanRows& rows, const Real* w_hh, const Real* w_hr, Real* scratch) {
    Recurrence<Real>(scan, rows, w_hh, w_hr, scratch).forward();
}
template <class Real>
void run_backward(const Scan<Real>& scan, const ScanRows& rows, const Real* w_hh, const Real* w_hr, Real* scratch) {
    Recurrence<Real>(scan, rows, w_hh, w_hr, scratch).backward();
}

template <class Real>
constexpr Trainer<Real> TRAINER = {packed_size<Real>,  pack<Real>,        products<Real>,    transpose<Real>,
                                   scan_scratch<Real>, run_forward<Real>, run_backward<Real>};

}  // namespace
}  // namespace carrousel
