// The recurrence of one LSTM layer and direction for training: forward keeps every gate, backward is through time.
//
// Everything that is one product over all steps (W_ih x and the gradients of the weights) is left to the caller.
#pragma once

#include <cstddef>
#include <cstdint>

namespace carrousel {

// Arrays in C order; null where a variant lacks them. A cell is one valid step of one row: cell(t, n) = t · N + n, or
// cell[t · N + n] where rows have lengths. M cells in all. G gates: i, f, g, o, or coupled i, g, o.
template <class Real>
struct Scan {
    std::size_t L, N, G, H, P;
    bool reverse;         // each row from its last valid step to its first
    Real keep_h, keep_c;  // zoneout's expectations, where there are no draws

    const std::int64_t *cell, *lengths;       // (L, N), (N)
    Real* z;                                  // (M, G·H): what the input adds to the gates; then the gates
    const Real *h_0, *c_0;                    // (N, P), (N, H)
    const Real *w_hh, *w_hr;                  // (G·H, P), (P, H)
    const Real* peephole;                     // i, f, o or i, o
    const Real *gain_hh, *b_hh;               // (G·H), with layer normalisation
    const Real *gain_c, *bias_c;              // (H)
    const Real *mask_h, *mask_g;              // (N, P), (L, N, H)
    const Real *draw_h, *draw_c;              // (L, N, P), (L, N, H): zoneout's draws
    Real *y, *c, *h_n, *c_n;                  // (L, N, P), (M, H), (N, P), (N, H)
    Real *r_hat, *r_scale, *u_hat, *u_scale;  // (M, G·H), (M), (M, H), (M): what the normalisations' backward needs
    Real* m;                                  // (M, H): o·tanh(u), with projection

    const Real *d_y, *d_h_n, *d_c_n;  // backward: (L, N, P), (N, P), (N, H)
    Real *d_z, *d_h_0, *d_c_0;        // (M, G·H), (N, P), (N, H)
    Real *d_r, *d_u;                  // (M, G·H), (M, H), with layer normalisation
    Real* d_p;                        // (M, P), with projection
};

// Some rows for one thread, longest first.
struct ScanRows {
    const std::size_t* order;
    std::size_t count;
};

// One instruction set's recurrence. packed: w_hh or w_hr in the form that `pack` makes.
template <class Real>
struct Trainer {
    std::size_t (*packed_size)(std::size_t outputs, std::size_t k);
    // (outputs, k), or transposed (k, outputs), in C order.
    void (*pack)(const Real* w, std::size_t outputs, std::size_t k, bool transposed, Real* out);
    // y = init + W x for some rows; init null: 0; it may be y. Sums run over k in order.
    void (*products)(const Real* w, std::size_t outputs, std::size_t k, std::size_t rows, const Real* const* x,
                     const Real* const* init, Real* const* y);
    void (*transpose)(const Real* a, std::size_t rows, std::size_t columns, Real* out);
    std::size_t (*scratch)(const Scan<Real>& scan, std::size_t rows);
    void (*forward)(const Scan<Real>& scan, const ScanRows& rows, const Real* w_hh, const Real* w_hr, Real* scratch);
    // w_hh packed transposed, w_hr transposed.
    void (*backward)(const Scan<Real>& scan, const ScanRows& rows, const Real* w_hh, const Real* w_hr, Real* scratch);
};

struct Trainers {
    Trainer<float> single;
    Trainer<double> twice;
};

// What an instruction set trains with.
struct Isa;
const Trainers& trainers(const Isa& isa);

// c (rows, columns) as a product of matrices, all in C order; the same bits on any number of threads.
enum class Form {
    nt,  // a (rows, k) · b (columns, k)ᵀ + bias (columns)
    nn,  // a (rows, k) · b (k, columns)
    tn   // a (k, rows)ᵀ · b (k, columns) + c
};
template <class Real>
void multiply(const Trainer<Real>& trainer, Form form, const Real* a, const Real* b, const Real* bias, Real* c,
              std::size_t rows, std::size_t columns, std::size_t k, std::size_t threads);

// Both check nothing; they throw std::bad_alloc before anything was written.
template <class Real>
void scan_forward(const Trainer<Real>& trainer, const Scan<Real>& scan, std::size_t threads);
template <class Real>
void scan_backward(const Trainer<Real>& trainer, const Scan<Real>& scan, std::size_t threads);

}  // namespace carrousel
