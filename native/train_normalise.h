// Layer normalisation in training, of one row at a time: v to v̂ = (v − mean v) / s and s; and back. Included by
// train_kernel.cpp.
#pragma once

#include "train_product.h"

namespace carrousel {
namespace {

// Halves are added to each other until one is left.
INLINE double total(vd v) {
    double parts[LANES<double>];
    put(parts, v);
    for (std::size_t n = LANES<double> / 2; n > 0; n /= 2)
        for (std::size_t k = 0; k < n; ++k) parts[k] += parts[k + n];
    return parts[0];
}
INLINE float total(vf v) {
#if defined(__AVX512F__) && !defined(CARROUSEL_PLAIN)  // the same bits without the way through memory
    const __m512 all = reinterpret_cast<__m512>(v);
    const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
#else
    float parts[LANES<float>];
    put(parts, v);
    for (std::size_t n = LANES<float> / 2; n > 0; n /= 2)
        for (std::size_t k = 0; k < n; ++k) parts[k] += parts[k + n];
    return parts[0];
#endif
}

// hat = v̂, which may be v; then(k, v̂) for each vector of it.
template <class Real, class Then>
INLINE void normalise(const Real* v, std::size_t n, Real* hat, Real& scale, const Then& then) {
    constexpr std::size_t lanes = LANES<Real>;
    Vec<Real> sum{};
    for (std::size_t k = 0; k < n; k += lanes) sum += get(v + k, n - k);
    const Real mean = total(sum) / static_cast<Real>(n);
    Vec<Real> squares{};
    for (std::size_t k = 0; k < n; k += lanes) {
        Vec<Real> centred = get(v + k, n - k) - fill(mean);
        if (n - k < lanes)
            for (std::size_t lane = n - k; lane < lanes; ++lane) centred[lane] = 0;
        squares = fma(centred, centred, squares);
    }
    const Real variance = total(squares) / static_cast<Real>(n);
    scale = static_cast<Real>(__builtin_sqrt(static_cast<double>(variance) + 1e-5));
    const Vec<Real> inverse = fill(Real(1) / scale);
    for (std::size_t k = 0; k < n; k += lanes) {
        const Vec<Real> own = (get(v + k, n - k) - fill(mean)) * inverse;
        put(hat + k, own, n - k);
        then(k, own);
    }
}

// What the input adds to the gates of one cell: a_hat, which holds W_ih x before, a_scale and z.
template <class Real>
void normalise_input(const Scan<Real>& s, std::size_t cell) {
    const std::size_t wide = s.G * s.H;
    Real *hat = s.a_hat + cell * wide, *z = s.z + cell * wide;
    normalise(static_cast<const Real*>(hat), wide, hat, s.a_scale[cell], [&](std::size_t k, Vec<Real> own) {
        const std::size_t left = wide - k;
        const Vec<Real> bias = s.b_ih == nullptr ? Vec<Real>{} : get(s.b_ih + k, left);
        put(z + k, fma(get(s.gain_ih + k, left), own, bias), left);
    });
}

template <class Real>
void normalise_cells(const Scan<Real>& s, std::size_t first, std::size_t end) {
    for (std::size_t cell = first; cell < end; ++cell) normalise_input(s, cell);
}

// One normalisation on the way back from d = ∂/∂(gain·v̂ + bias) to ∂/∂v: first add(k, d) of every vector, then
// at(k, d) gives ∂/∂v. gains += d·v̂.
template <class Real>
class NormaliseBack {
public:
    INLINE NormaliseBack(const Real* gain, const Real* hat, Real scale, Real* gains, std::size_t n)
        : gain_(gain), hat_(hat), gains_(gains), n_(n), inverse_(fill(Real(1) / scale)) {}

    INLINE void add(std::size_t k, Vec<Real> d) {
        const std::size_t left = n_ - k;
        const Vec<Real> own = d * get(gain_ + k, left), hat = get(hat_ + k, left);
        sum_ += own;
        along_ = fma(own, hat, along_);
        put(gains_ + k, fma(d, hat, get(static_cast<const Real*>(gains_) + k, left)), left);
    }
    INLINE void close() {
        sum_ = fill(total(sum_) / static_cast<Real>(n_));
        along_ = fill(total(along_) / static_cast<Real>(n_));
    }
    INLINE Vec<Real> at(std::size_t k, Vec<Real> d) const {
        const std::size_t left = n_ - k;
        return (d * get(gain_ + k, left) - sum_ - get(hat_ + k, left) * along_) * inverse_;
    }

private:
    const Real *gain_, *hat_;
    Real* gains_;
    std::size_t n_;
    Vec<Real> inverse_, sum_{}, along_{};
};

// sums += v
template <class Real>
INLINE void add_to(Real* sums, Vec<Real> v, std::size_t left) {
    put(sums, get(static_cast<const Real*>(sums), left) + v, left);
}

}  // namespace
}  // namespace carrousel
