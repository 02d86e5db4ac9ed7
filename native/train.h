// One LSTM layer in one direction for training: forward, keeping every gate, and backward with all gradients.
#pragma once

#include <cstddef>
#include <cstdint>

namespace carrousel {

// Arrays in C order; null where a variant lacks them. A cell is one valid step of one row: cell(t, n) = t · N + n, or
// cell[t · N + n] where rows have lengths. M cells in all. G gates: i, f, g, o, or coupled i, g, o.
template <class Real>
struct Scan {
    std::size_t L, N, E, G, H, P, M;
    bool reverse;         // each row from its last valid step to its first
    Real keep_h, keep_c;  // zoneout's expectations, where there are no draws

    const std::int64_t *cell, *lengths, *place;  // (L, N), (N), (M): t · N + n of each cell
    const Real *x, *w_ih;                        // (L, N, E), (G·H, E)
    const Real *b_ih, *b_hh;                     // (G·H)
    const Real *h_0, *c_0;                       // (N, P), (N, H)
    const Real *w_hh, *w_hr;                     // (G·H, P), (P, H)
    const Real* peephole;                        // i, f, o or i, o
    const Real *gain_ih, *gain_hh;               // (G·H), with layer normalisation
    const Real *gain_c, *bias_c;                 // (H)
    const Real *mask_h, *mask_g;                 // (N, P), (L, N, H)
    const Real *draw_h, *draw_c;                 // (L, N, P), (L, N, H): zoneout's draws
    Real *y, *h_n, *c_n;                         // (L, N, P), (N, P), (N, H)

    // What the forward leaves to the backward.
    Real *z, *c;            // (M, G·H), (M, H): the gates; the cell state
    Real *a_hat, *a_scale;  // (M, G·H), (M): what the normalisations' backward needs, of W_ih x,
    Real *r_hat, *r_scale;  // of W_hh h
    Real *u_hat, *u_scale;  // (M, H), (M): and of c
    Real* m;                // (M, H): o·tanh(u), with projection

    const Real *d_y, *d_h_n, *d_c_n;  // (L, N, P), (N, P), (N, H): slopes; null: 0, but for d_y
    Real *d_h_0, *d_c_0;              // (N, P), (N, H)
    Real* d_x;                        // (L, N, E), padding untouched, or null
    Real *d_w_ih, *d_w_hh, *d_w_hr;   // added to, as all of the parameters; null where there is none
    Real *d_b_ih, *d_b_hh;            // alike: Σ d_z
    Real *d_peephole, *d_gain_ih, *d_gain_hh, *d_gain_c, *d_bias_c;

    // The backward's own; null: memory of this call.
    Real* d_z;        // (M, G·H)
    Real *d_a, *d_r;  // (M, G·H), with layer normalisation; else they are d_z. d_a may be d_z
    Real* d_p;        // (M, P), with projection
    Real* sums;       // (N, sums_width): over each row's steps, 0 at first
};

// Of each row's sums, of which all rows' together are gradients: with layer normalisation of the biases, gain_ih,
// gain_hh, gain_c and bias_c; of the peepholes.
template <class Real>
std::size_t sums_width(const Scan<Real>& s) {
    return (s.gain_hh == nullptr ? 0 : 3 * s.G * s.H + 2 * s.H) + (s.peephole == nullptr ? 0 : (s.G - 1) * s.H);
}

// Of one pass, packed; null where a variant lacks them. ih: null, too, where its products are made apart, with
// `multiply`; in the forward z, or with layer normalisation a_hat and z, then hold what the input adds.
template <class Real>
struct ScanWeights {
    const Real *ih, *hh, *hr;
    const Real* bias;  // what W_ih x begins with, or null
};

// Some rows for one thread, longest first.
struct ScanRows {
    const std::size_t* order;
    std::size_t count;
};

// C (·, columns) += Σ_k a_k (scale_k · b_k)ᵀ.
template <class Real>
struct OuterTerm {
    const Real* const* b;      // k rows of `columns` values
    const Real* const* scale;  // elementwise; null: 1
    std::size_t columns;
    Real* c;
};
template <class Real>
struct Outer {
    const Real* const* a;  // k rows of `width` values
    std::size_t k, width;
    std::size_t first, rows;  // of every C that are to be summed
    Real* sum;                // (width) += Σ_k a_k, or null
    const OuterTerm<Real>* terms;
    std::size_t count;
};

// One instruction set's arithmetic. Sizes are in Reals; packed: a matrix in the form that `pack` makes.
template <class Real>
struct Trainer {
    std::size_t (*packed_size)(std::size_t outputs, std::size_t k);
    // (outputs, k), or transposed (k, outputs), in C order.
    void (*pack)(const Real* w, std::size_t outputs, std::size_t k, bool transposed, Real* out);
    // y = init + W x for some rows; init null: 0; it may be y.
    void (*products)(const Real* w, std::size_t outputs, std::size_t k, std::size_t rows, const Real* const* x,
                     const Real* const* init, Real* const* y, Real* scratch);
    std::size_t (*products_scratch)(std::size_t rows, std::size_t k);
    void (*outer)(const Outer<Real>& task, Real* scratch);
    // columns: of all terms together.
    std::size_t (*outer_scratch)(std::size_t columns, std::size_t terms);
    // Layer normalisation of what the input adds to the gates, of the cells from `first` to `end`: a_hat, which holds
    // W_ih x before, a_scale and z.
    void (*normalise)(const Scan<Real>& scan, std::size_t first, std::size_t end);
    void (*forward)(const Scan<Real>& scan, const ScanRows& rows, const ScanWeights<Real>& weights, Real* scratch);
    // Its weights are packed transposed. Fills d_z, d_a, d_r, d_p; adds to `sums`.
    void (*backward)(const Scan<Real>& scan, const ScanRows& rows, const ScanWeights<Real>& weights, Real* scratch);
    std::size_t (*scratch)(const Scan<Real>& scan, std::size_t rows);
};

struct Trainers {
    Trainer<float> single;
    Trainer<double> twice;
    Trainer<float> half;  // factors of products rounded to bfloat16, sums and all else in float32
};

// What an instruction set trains with.
struct Isa;
const Trainers& trainers(const Isa& isa);

// The same bits on any number of threads. They check nothing; they throw std::bad_alloc before anything was added to.
template <class Real>
void scan_forward(const Trainer<Real>& trainer, const Scan<Real>& scan, std::size_t threads);
template <class Real>
void scan_backward(const Trainer<Real>& trainer, const Scan<Real>& scan, std::size_t threads);

}  // namespace carrousel
