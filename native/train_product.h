// The products that training is made of, included by train_kernel.cpp: in float32, in float64 to check gradients by,
// and of values rounded to bfloat16, summed in float32.
//
// Every sum has one order, which no split of its rows among threads changes.
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

// Calls n values into the cache that are needed soon: rows are too short for the processor to see them coming.
template <class Real>
INLINE void fetch(const Real* p, std::size_t n) {
    for (std::size_t k = 0; k < n; k += 64 / sizeof(Real)) __builtin_prefetch(p + k);
}

using ::fma;
INLINE vd fma(vd a, vd b, vd c) { return a * b + c; }

// ---- in what form two factors meet: words, each of AT_ONCE values ----

template <class R>
struct Exact {
    using Real = R;
    using Word = R;
    static constexpr std::size_t AT_ONCE = 1;
    static constexpr bool DIRECT = true;  // a row's words are its values

    static INLINE Word word(const Real* values, std::size_t) { return *values; }
    static INLINE Vec<Real> words(const Real* a, const Real*, std::size_t n) { return get(a, n); }
    static INLINE Vec<Real> splat(Word v) { return fill(v); }
    static INLINE Vec<Real> add(Vec<Real> sum, Vec<Real> a, Vec<Real> b) { return fma(a, b, sum); }
};

#if defined(__AVX512BF16__) && !defined(CARROUSEL_PLAIN)
// Two inputs, one after the other, in the halves of a word; the processor adds both their products at once.
struct Half {
    using Real = float;
    using Word = std::uint32_t __attribute__((may_alias));
    static constexpr std::size_t AT_ONCE = 2;
    static constexpr bool DIRECT = false;

    static INLINE __m512i both(vf even, vf odd) {  // 16 of either, of even first
        return reinterpret_cast<__m512i>(
            _mm512_cvtne2ps_pbh(reinterpret_cast<__m512>(odd), reinterpret_cast<__m512>(even)));
    }
    static INLINE Word word(const float* values, std::size_t n) {
        const vf pair = {values[0], n > 1 ? values[1] : 0.0f};
        return reinterpret_cast<vu>(both(pair, vf{}))[0];
    }
    // Of the values of two rows.
    static INLINE vf words(const float* even, const float* odd, std::size_t n) {
        alignas(64) static constexpr std::uint16_t order[32] = {0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,
                                                                21, 6,  22, 7,  23, 8,  24, 9,  25, 10, 26,
                                                                11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
        const __m512i halves = both(get(even, n), odd == nullptr ? vf{} : get(odd, n));
        return reinterpret_cast<vf>(_mm512_permutexvar_epi16(_mm512_load_si512(order), halves));
    }
    static INLINE vf splat(Word v) { return reinterpret_cast<vf>(::splat(static_cast<std::int32_t>(v))); }
    static INLINE vf add(vf sum, vf a, vf b) {
        return reinterpret_cast<vf>(_mm512_dpbf16_ps(reinterpret_cast<__m512>(sum), reinterpret_cast<__m512bh>(a),
                                                     reinterpret_cast<__m512bh>(b)));
    }
};
#else
// The nearest of what bfloat16 holds, even where two are as near.
INLINE vf rounded_half(vf v) {
    const vu bits = reinterpret_cast<vu>(v);
    const vu nearest = (bits + 0x7fffu + ((bits >> 16) & 1u)) & 0xffff0000u;
    return v == v ? reinterpret_cast<vf>(nearest) : v;
}

// Without instructions for them: the same values, in float32.
struct Half {
    using Real = float;
    using Word = float;
    static constexpr std::size_t AT_ONCE = 1;
    static constexpr bool DIRECT = false;

    static INLINE Word word(const float* value, std::size_t) { return rounded_half(::splat(*value))[0]; }
    static INLINE vf words(const float* a, const float*, std::size_t n) { return rounded_half(get(a, n)); }
    static INLINE vf splat(Word v) { return ::splat(v); }
    static INLINE vf add(vf sum, vf a, vf b) { return fma(a, b, sum); }
};
#endif

template <class F>
using Vector = Vec<typename F::Real>;
template <class F>
constexpr std::size_t WIDE = LANES<typename F::Real>;

constexpr std::size_t COLUMNS = 4;  // vectors of outputs that a tile spans
template <class F>
constexpr std::size_t BLOCK = COLUMNS* WIDE<F>;

template <class F>
constexpr std::size_t words_of(std::size_t k) {
    return (k + F::AT_ONCE - 1) / F::AT_ONCE;
}

// ---- y = init + W x: W in blocks of COLUMNS vectors of outputs, for each word of inputs one after the other ----

template <class F>
std::size_t packed_size(std::size_t outputs, std::size_t k) {
    return (outputs + BLOCK<F> - 1) / BLOCK<F> * BLOCK<F> * words_of<F>(k);
}

template <class F, class Real = typename F::Real>
void pack(const Real* w, std::size_t outputs, std::size_t k, bool transposed, Real* packed) {
    using Word = typename F::Word;
    Word* out = reinterpret_cast<Word*>(packed);
    const std::size_t words = words_of<F>(k);
    constexpr std::size_t side = 16;  // words of some outputs that stay in the first-level cache while they are turned
    for (std::size_t first = 0; first < outputs; first += BLOCK<F>, out += BLOCK<F> * words) {
        const std::size_t there = outputs - first < BLOCK<F> ? outputs - first : BLOCK<F>;
        if (transposed) {
            for (std::size_t j = 0; j < words; ++j) {
                const Real* even = w + j * F::AT_ONCE * outputs + first;
                const Real* odd = (j + 1) * F::AT_ONCE <= k ? even + outputs : nullptr;
                for (std::size_t lane = 0; lane < BLOCK<F>; lane += WIDE<F>) {
                    const std::size_t left = lane < there ? there - lane : 0;
                    put(reinterpret_cast<Real*>(out + j * BLOCK<F> + lane),
                        F::words(even + lane, odd == nullptr ? nullptr : odd + lane, left));
                }
            }
            continue;
        }
        for (std::size_t from = 0; from < words; from += side)
            for (std::size_t lane = 0; lane < BLOCK<F>; ++lane)
                for (std::size_t j = from; j < words && j < from + side; ++j)
                    out[j * BLOCK<F> + lane] =
                        lane < there ? F::word(w + (first + lane) * k + j * F::AT_ONCE, k - j * F::AT_ONCE) : Word(0);
    }
}

// C vectors of a block of outputs, from `first` on, of R rows; word j of row r is x[r][j · STRIDE]. ADD: to y when all
// is summed, else the sum begins with init.
template <class F, int R, std::size_t C, std::size_t STRIDE, bool ADD>
__attribute__((noinline)) void product_tile(const typename F::Word* w, std::size_t first, std::size_t outputs,
                                            std::size_t words, const typename F::Word* const* x,
                                            const typename F::Real* const* init, typename F::Real* const* y) {
    using Real = typename F::Real;
    constexpr std::size_t lanes = WIDE<F>;
    Vector<F> acc[R][C];
    const bool whole = outputs - first >= C * lanes;
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (std::size_t c = 0; c < C; ++c) {
            const std::size_t at = first + c * lanes;
            if (ADD || init == nullptr || at >= outputs)
                acc[r][c] = Vector<F>{};
            else
                acc[r][c] = whole ? get(init[r] + at) : get(init[r] + at, outputs - at);
        }
    const typename F::Word* in[R];
    for (int r = 0; r < R; ++r) in[r] = x[r];
    if (ADD)
        for (int r = 0; r < R; ++r) fetch(y[r] + first, C * lanes);
#pragma GCC unroll 2
    for (std::size_t j = 0; j < words; ++j, w += BLOCK<F>) {
        Vector<F> own[R];
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) own[r] = F::splat(in[r][j * STRIDE]);
#pragma GCC unroll 4
        for (std::size_t c = 0; c < C; ++c) {
            const Vector<F> weight = get(reinterpret_cast<const Real*>(w + c * lanes));
#pragma GCC unroll 8
            for (int r = 0; r < R; ++r) acc[r][c] = F::add(acc[r][c], weight, own[r]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (std::size_t c = 0; c < C; ++c) {
            const std::size_t at = first + c * lanes;
            if (at >= outputs) continue;
            const std::size_t left = outputs - at;
            Real* to = y[r] + at;
            if (whole)
                put(to, ADD ? get(static_cast<const Real*>(to)) + acc[r][c] : acc[r][c]);
            else
                put(to, ADD ? get(static_cast<const Real*>(to), left) + acc[r][c] : acc[r][c], left);
        }
}

template <class F>
using ProductTile = void (*)(const typename F::Word*, std::size_t, std::size_t, std::size_t,
                             const typename F::Word* const*, const typename F::Real* const*, typename F::Real* const*);

template <class F, std::size_t C, std::size_t STRIDE, bool ADD>
ProductTile<F> product_tile_across(std::size_t rows) {
    switch (rows) {
        case 1: return &product_tile<F, 1, C, STRIDE, ADD>;
        case 2: return &product_tile<F, 2, C, STRIDE, ADD>;
#if !defined(CARROUSEL_PLAIN) && (defined(__AVX512F__) || defined(__ARM_NEON))
        case 3: return &product_tile<F, 3, C, STRIDE, ADD>;
        case 4: return &product_tile<F, 4, C, STRIDE, ADD>;
        case 5: return &product_tile<F, 5, C, STRIDE, ADD>;
        default: return &product_tile<F, 6, C, STRIDE, ADD>;
#else
        default: return &product_tile<F, 3, C, STRIDE, ADD>;
#endif
    }
}

// Of so many rows and outputs, of which a block may hold fewer than there is room for.
template <class F, std::size_t STRIDE, bool ADD>
ProductTile<F> product_tile_of(std::size_t rows, std::size_t outputs) {
    if (outputs <= WIDE<F>) return product_tile_across<F, 1, STRIDE, ADD>(rows);
    if (outputs <= 2 * WIDE<F>) return product_tile_across<F, 2, STRIDE, ADD>(rows);
    return product_tile_across<F, COLUMNS, STRIDE, ADD>(rows);
}

template <class Real>
constexpr std::size_t ADDRESS = sizeof(void*) / sizeof(Real);

template <class F>
std::size_t products_scratch(std::size_t rows, std::size_t k) {
    return F::DIRECT ? 0 : rows * (words_of<F>(k) + ADDRESS<typename F::Real>)+ADDRESS<typename F::Real>;
}

// The words of a row.
template <class F>
void convert(const typename F::Real* x, std::size_t k, typename F::Word* out) {
    using Real = typename F::Real;
    std::size_t j = 0;
#if defined(__AVX512BF16__) && !defined(CARROUSEL_PLAIN)
    if constexpr (F::AT_ONCE == 2)
        for (; j + 2 * V <= k; j += 2 * V) _mm512_storeu_si512(out + j / 2, F::both(load(x + j), load(x + j + V)));
#endif
    if constexpr (F::AT_ONCE == 1)
        for (; j + WIDE<F> <= k; j += WIDE<F>) put(reinterpret_cast<Real*>(out + j), F::words(x + j, nullptr, WIDE<F>));
    for (; j < k; j += F::AT_ONCE) out[j / F::AT_ONCE] = F::word(x + j, k - j);
}

// Where the words of some rows are: the rows themselves, or `own`, which is written.
template <class F>
void as_words(const typename F::Real* const* x, std::size_t rows, std::size_t k, typename F::Word* own,
              const typename F::Word** in) {
    for (std::size_t r = 0; r < rows; ++r) {
        if constexpr (F::DIRECT) {
            in[r] = x[r];
        } else {
            convert<F>(x[r], k, own);
            in[r] = own;
            own += words_of<F>(k);
        }
    }
}

// For some rows of words; init null: 0; it may be y.
template <class F>
void multiply(const typename F::Real* w, std::size_t outputs, std::size_t k, std::size_t rows,
              const typename F::Word* const* in, const typename F::Real* const* init, typename F::Real* const* y) {
    const std::size_t parts = (rows + ROWS - 1) / ROWS, words = words_of<F>(k);
    const typename F::Word* weights = reinterpret_cast<const typename F::Word*>(w);
    for (std::size_t first = 0; first < outputs; first += BLOCK<F>, weights += BLOCK<F> * words)
        for (std::size_t part = 0, row = 0; part < parts; ++part) {
            const std::size_t r = rows / parts + (part < rows % parts);
            product_tile_of<F, 1, false>(r, outputs - first)(weights, first, outputs, words, in + row,
                                                             init == nullptr ? nullptr : init + row, y + row);
            row += r;
        }
}

// The same of rows of values.
template <class F>
void products(const typename F::Real* w, std::size_t outputs, std::size_t k, std::size_t rows,
              const typename F::Real* const* x, const typename F::Real* const* init, typename F::Real* const* y,
              typename F::Real* scratch) {
    using Word = typename F::Word;
    if constexpr (F::DIRECT) {
        multiply<F>(w, outputs, k, rows, x, init, y);
    } else {
        while (reinterpret_cast<std::uintptr_t>(scratch) % sizeof(void*) != 0) ++scratch;
        const Word** in = reinterpret_cast<const Word**>(scratch);
        as_words<F>(x, rows, k, reinterpret_cast<Word*>(scratch + rows * ADDRESS<typename F::Real>), in);
        multiply<F>(w, outputs, k, rows, in, init, y);
    }
}

}  // namespace
}  // namespace carrousel
