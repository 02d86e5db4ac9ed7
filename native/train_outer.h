// C += Σ_k a_k b_kᵀ, the gradients of weights, included by train_kernel.cpp: some of the sum at a time, all b's of it
// in blocks, some rows of C in panels.
#pragma once

#include "train_product.h"

namespace carrousel {
namespace {

constexpr std::size_t SUMMED = 512;       // words: blocks of as many stay in the second-level cache
constexpr std::size_t ROWS_AT_ONCE = 96;  // of C, and so do their panels
constexpr std::size_t PANEL = 16;         // rows of C: a panel is written line by line, and read by tiles of up to ROWS

template <class F>
std::size_t outer_scratch(std::size_t columns, std::size_t terms) {
    return ROWS_AT_ONCE * SUMMED + (columns + terms * BLOCK<F>)*SUMMED;
}

template <class F, class Real = typename F::Real>
void pack_block(const Outer<Real>& task, const OuterTerm<Real>& term, std::size_t from, std::size_t count,
                std::size_t first, Real* out) {
    const std::size_t there = term.columns - first < BLOCK<F> ? term.columns - first : BLOCK<F>;
    Real scaled[2][BLOCK<F>];
    for (std::size_t j = from; j < from + count; j += F::AT_ONCE, out += BLOCK<F>) {
        for (std::size_t k = 8; k < 8 + F::AT_ONCE && j + k < from + count; ++k) fetch(term.b[j + k] + first, there);
        const Real* row[2] = {nullptr, nullptr};
        for (std::size_t k = 0; k < F::AT_ONCE && j + k < task.k; ++k) {
            row[k] = term.b[j + k] + first;
            if (term.scale == nullptr) continue;
            const Real* scale = term.scale[j + k] + first;
            for (std::size_t c = 0; c < there; ++c) scaled[k][c] = row[k][c] * scale[c];
            row[k] = scaled[k];
        }
        for (std::size_t lane = 0; lane < BLOCK<F>; lane += WIDE<F>)
            put(out + lane,
                F::words(row[0] + lane, row[1] == nullptr ? nullptr : row[1] + lane, lane < there ? there - lane : 0));
    }
}

// sum += the values of some a's, from `first` on.
template <class Real>
INLINE void add_values(const Outer<Real>& task, std::size_t from, std::size_t end, std::size_t first,
                       std::size_t rows) {
    for (std::size_t row = first; row < first + rows; row += LANES<Real>) {
        const std::size_t left = first + rows - row;
        Vec<Real> sum{};
        for (std::size_t j = from; j < end; ++j) sum += get(task.a[j] + row, left);
        Real* to = task.sum + row;
        put(to, get(static_cast<const Real*>(to), left) + sum, left);
    }
}

template <class F, class Real = typename F::Real>
void pack_panels(const Outer<Real>& task, std::size_t from, std::size_t count, std::size_t first, std::size_t rows,
                 Real* out) {
    constexpr std::size_t side = 8 * F::AT_ONCE;  // of the sum: lines that stay in the first-level cache
    const std::size_t end = from + count;
    for (std::size_t begin = from; begin < end; begin += side) {
        const std::size_t until = end - begin < side ? end : begin + side;
        for (std::size_t j = until; j < end && j < until + side; ++j) fetch(task.a[j] + first, rows);
        if (task.sum != nullptr) add_values(task, begin, until, first, rows);
        for (std::size_t j = begin; j < until && task.count > 0; j += F::AT_ONCE)
            for (std::size_t r = 0; r < rows; r += WIDE<F>) {
                const Real *even = task.a[j] + first + r, *odd = j + 1 < end ? task.a[j + 1] + first + r : nullptr;
                put(out + (r / PANEL * SUMMED + (j - from) / F::AT_ONCE) * PANEL + r % PANEL,
                    F::words(even, odd, task.width - first - r));
            }
    }
}

// To a block of columns of some rows of C.
template <class F, class Real = typename F::Real, class Word = typename F::Word>
void add_panel(const OuterTerm<Real>& term, const Word* w, std::size_t first, std::size_t words, const Word* panel,
               std::size_t rows, std::size_t row) {
    const std::size_t parts = (rows + ROWS - 1) / ROWS;
    for (std::size_t part = 0, from = 0; part < parts; ++part) {
        const std::size_t some = rows / parts + (part < rows % parts);
        const Word* x[ROWS];
        Real* y[ROWS];
        for (std::size_t k = 0; k < some; ++k) {
            x[k] = panel + from + k;
            y[k] = term.c + (row + from + k) * term.columns;
        }
        product_tile_of<F, PANEL, true>(some, term.columns - first)(w, first, term.columns, words, x, nullptr, y);
        from += some;
    }
}

template <class F, class Real = typename F::Real>
void outer(const Outer<Real>& task, Real* scratch) {
    using Word = typename F::Word;
    constexpr std::size_t at_once = SUMMED * F::AT_ONCE;
    Real* const blocks = scratch + ROWS_AT_ONCE * SUMMED;
    for (std::size_t from = 0; from < task.k; from += at_once) {
        const std::size_t count = task.k - from < at_once ? task.k - from : at_once, words = words_of<F>(count);
        Real* block = blocks;
        for (std::size_t n = 0; n < task.count; ++n)
            for (std::size_t first = 0; first < task.terms[n].columns; first += BLOCK<F>, block += BLOCK<F> * SUMMED)
                pack_block<F>(task, task.terms[n], from, count, first, block);
        for (std::size_t row = task.first; row < task.first + task.rows; row += ROWS_AT_ONCE) {
            const std::size_t left = task.first + task.rows - row, rows = left < ROWS_AT_ONCE ? left : ROWS_AT_ONCE;
            pack_panels<F>(task, from, count, row, rows, scratch);
            const Real* w = blocks;
            for (std::size_t n = 0; n < task.count; ++n) {
                const OuterTerm<Real>& term = task.terms[n];
                for (std::size_t first = 0; first < term.columns; first += BLOCK<F>, w += BLOCK<F> * SUMMED)
                    for (std::size_t panel = 0; panel < rows; panel += PANEL) {
                        const std::size_t there = rows - panel < PANEL ? rows - panel : PANEL;
                        const Word* own = reinterpret_cast<const Word*>(scratch + panel * SUMMED);
                        add_panel<F>(term, reinterpret_cast<const Word*>(w), first, words, own, there, row + panel);
                    }
            }
        }
    }
}

}  // namespace
}  // namespace carrousel
