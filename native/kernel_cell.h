// One step of an LSTM in all its variants: what becomes of the sums of a tile, and layer normalisation and projection
// around it.
#pragma once

#include "kernel_linear.h"

namespace carrousel {
namespace {

// c' = σ(f)·c + σ(i)·tanh(g) and σ(o)·tanh(c'), three divisions in all.
INLINE vf forget(vf z_f) { return splat(1.0f) / (splat(1.0f) + exp_minus(z_f)); }
INLINE vf update(vf e_i, vf e_g) { return (splat(1.0f) - e_g) / ((splat(1.0f) + e_i) * (splat(1.0f) + e_g)); }
INLINE vf output(vf z_o, vf u) {
    const vf e_o = exp_minus(z_o), e_u = exp_minus_twice(u);
    return (splat(1.0f) - e_u) / ((splat(1.0f) + e_o) * (splat(1.0f) + e_u));
}

__attribute__((noinline)) void finish_plain(const float* z, float* c, float* y, std::size_t left) {
    const vf f = forget(load(z + V));
    const vf cell = fma(f, load(c), update(exp_minus(load(z)), exp_minus_twice(load(z + 2 * V))));
    store(c, cell);
    store_part(y, output(load(z + 3 * V), cell), left);
}

// One vector of hidden units of one row, in any variant. Without normalisation it ends with m = o·tanh(c̃) in `y`; with
// it, c̃ goes to `candidate` and z_o to `y`.
struct Unit {
    const Cell* cell;
    std::size_t vector;
    float *c, *y, *candidate;
    const float* h;
    const TraceRow* trace;
};

__attribute__((noinline)) void finish_any(const Unit& unit, const float* z) {
    const Cell& cell = *unit.cell;
    const std::size_t first = unit.vector * V, left = cell.size - first;
    const vf c = load(unit.c + first);
    vf z_i = load(z), z_f = cell.coupled ? vf{} : load(z + V);
    const vf z_g = load(z + (cell.coupled ? 1 : 2) * V);
    vf z_o = load(z + (cell.coupled ? 2 : 3) * V);
    const float* peephole = cell.peephole == nullptr ? nullptr : cell.peephole + unit.vector * 3 * V;
    if (peephole != nullptr) {
        z_i = fma(load(peephole), c, z_i);
        if (!cell.coupled) z_f = fma(load(peephole + V), c, z_f);
    }
    const vf e_i = exp_minus(z_i), e_g = exp_minus_twice(z_g);
    const vf f = cell.coupled ? e_i / (splat(1.0f) + e_i) : forget(z_f);
    const vf candidate = fma(f, c, update(e_i, e_g));
    if (peephole != nullptr) z_o = fma(load(peephole + 2 * V), candidate, z_o);
    const vf keep = splat(cell.keep_c);
    const vf after = cell.keep_c == 0.0f ? candidate : fma(keep, c, (splat(1.0f) - keep) * candidate);
    store(unit.c + first, after);
    if (cell.norm) {
        store(unit.candidate + first, candidate);
        store(unit.y + first, z_o);
    } else {
        vf m = output(z_o, candidate);
        if (cell.keep_h != 0.0f && cell.projection.outputs == 0) {
            const vf keep_h = splat(cell.keep_h);
            m = fma(keep_h, load_part(unit.h + first, left), (splat(1.0f) - keep_h) * m);
        }
        store_part(unit.y + first, m, left);
    }
    if (unit.trace != nullptr) {
        store_part(unit.trace->i + first, sigmoid(z_i), left);
        store_part(unit.trace->f + first, f, left);
        store_part(unit.trace->g + first, tanh(z_g), left);
        store_part(unit.trace->o + first, sigmoid(z_o), left);
        store_part(unit.trace->c + first, after, left);
    }
}

// Layer normalisation of `groups` groups of `width` vectors, of which `gates` count; lanes beyond `size` hold zeros.
void normalise(const float* v, std::size_t size, std::size_t groups, std::size_t gates, std::size_t width,
               const float* gain, const float* bias, float* out) {
    float real[V];
    for (std::size_t lane = 0; lane < V; ++lane) real[lane] = (groups - 1) * V + lane < size ? 1.0f : 0.0f;
    const vf last = load(real), whole = splat(1.0f);
    vf total = vf{}, squares = vf{};
    for (std::size_t g = 0; g < groups; ++g)
        for (std::size_t gate = 0; gate < gates; ++gate) total += load(v + (g * width + gate) * V);
    const float count = static_cast<float>(size) * static_cast<float>(gates);
    const vf mean = splat(sum(total) / count);
    for (std::size_t g = 0; g < groups; ++g)
        for (std::size_t gate = 0; gate < gates; ++gate) {
            const vf centred = (load(v + (g * width + gate) * V) - mean) * (g + 1 == groups ? last : whole);
            squares = fma(centred, centred, squares);
        }
    const vf scale = splat(1.0f / __builtin_sqrtf(sum(squares) / count + 1e-5f));
    for (std::size_t k = 0; k < groups * width; ++k)
        store(out + k * V, fma((load(v + k * V) - mean) * scale, load(gain + k * V), load(bias + k * V)));
}

void store_groups(float* row, std::size_t vector, std::size_t width, const float* z) {
    for (std::size_t c = 0; c < width; ++c) store(row + (vector * width + c) * V, load(z + c * V));
}

std::size_t width_of(const Matrix& m) { return m.blocks[0].width; }
std::size_t drive_size(const Cell& cell) {
    return vectors_of(cell.size) * width_of(cell.norm ? cell.input : cell.all) * V;
}

void drive(const Cell& cell, std::size_t rows, const float* const* x, float* const* out, float* scratch) {
    const Matrix& m = cell.norm ? cell.input : cell.all;
    const Source source = source_of(m, m.k1, rows, x, scratch);
    tiles(m, rows, source, Source{}, nullptr, false,
          [&](std::size_t row, std::size_t vector, std::size_t width, const float* z) {
              store_groups(out[row], vector, width, z);
          });
}

std::size_t drive_scratch(const Cell& cell, std::size_t rows) {
    const Matrix& m = cell.norm ? cell.input : cell.all;
    return source_floats(m, m.k1, rows);
}

// Pointers to rows of scratch, `stride` floats apart.
void rows_of(float* base, std::size_t stride, std::size_t rows, float** out) {
    for (std::size_t r = 0; r < rows; ++r) out[r] = base + r * stride;
}

constexpr std::size_t POINTER = sizeof(void*) / sizeof(float);
std::size_t pointer_floats(std::size_t rows) { return rounded(rows * POINTER); }

std::size_t step_scratch(const Cell& cell, std::size_t rows) {
    const std::size_t padded = vectors_of(cell.size) * V;
    const Matrix& first = cell.norm ? cell.input : cell.all;
    const Matrix& second = cell.norm ? cell.hidden : cell.all;
    std::size_t floats =
        source_floats(first, first.k1, rows) + source_floats(second, cell.norm ? second.k1 : second.k2, rows);
    if (cell.norm || cell.projection.outputs) floats += rows * padded + pointer_floats(rows);
    if (cell.projection.outputs) floats += dense_scratch(cell.projection, rows);
    if (cell.norm) floats += 2 * (rows * drive_size(cell) + pointer_floats(rows)) + padded;
    return floats;
}

// The second half of a normalised step: from z (in scratch) of one row to c, and m = o·tanh(N(c̃)) in m.
void finish_normalised(Unit row, const float* z, float* m) {
    const Cell& cell = *row.cell;
    const std::size_t groups = vectors_of(cell.size), width = width_of(cell.hidden);
    row.y = m;
    for (row.vector = 0; row.vector < groups; ++row.vector) finish_any(row, z + row.vector * width * V);
    normalise(row.candidate, cell.size, groups, 1, 1, cell.gain_cell, cell.bias_cell, row.candidate);
    for (std::size_t k = 0; k < groups * V; k += V) store(m + k, output(load(m + k), load(row.candidate + k)));
}

void keep_hidden(const Cell& cell, const float* h, const float* m, float* y) {
    const vf keep = splat(cell.keep_h), take = splat(1.0f) - keep;
    for (std::size_t k = 0; k < cell.out; k += V) {
        const std::size_t left = cell.out - k;
        const vf fresh = load_part(m + k, left);
        store_part(y + k, cell.keep_h == 0.0f ? fresh : fma(keep, load_part(h + k, left), take * fresh), left);
    }
}

void step(const CellStep& s, const Cell& cell) {
    float* scratch = s.scratch;
    const std::size_t rows = s.rows, padded = vectors_of(cell.size) * V;
    const bool projects = cell.projection.outputs > 0;
    float* const* m = s.y;
    if (cell.norm || projects) {  // m is not yet what is returned
        float** own = reinterpret_cast<float**>(scratch);
        scratch += pointer_floats(rows);
        rows_of(scratch, padded, rows, own);
        scratch += rows * padded;
        m = own;
    }
    const auto unit = [&](std::size_t row, std::size_t vector) {
        return Unit{&cell, vector, s.c[row], m[row], nullptr, s.h[row], s.trace == nullptr ? nullptr : s.trace + row};
    };
    if (!cell.norm) {
        Source x = s.drive == nullptr ? source_of(cell.all, cell.all.k1, rows, s.x, scratch) : Source{};
        const Source h = source_of(cell.all, cell.all.k2, rows, s.h, scratch);
        const bool plain = cell.peephole == nullptr && !cell.coupled && cell.keep_c == 0.0f &&
                           (cell.keep_h == 0.0f || projects) && s.trace == nullptr;
        const std::size_t limit = projects ? padded : cell.size;
        Matrix own = cell.all;
        const std::size_t first = own.count * s.part / s.parts;
        own.count = own.count * (s.part + 1) / s.parts - first;
        own.blocks += first;
        if (plain)
            tiles(own, rows, x, h, s.drive, s.backwards,
                  [&](std::size_t row, std::size_t vector, std::size_t, const float* z) {
                      finish_plain(z, s.c[row] + vector * V, m[row] + vector * V, limit - vector * V);
                  });
        else
            tiles(own, rows, x, h, s.drive, s.backwards,
                  [&](std::size_t row, std::size_t vector, std::size_t, const float* z) {
                      finish_any(unit(row, vector), z);
                  });
    } else {
        const std::size_t wide = drive_size(cell), groups = vectors_of(cell.size), width = width_of(cell.hidden);
        float** input = reinterpret_cast<float**>(scratch);
        float** hidden = reinterpret_cast<float**>(scratch + pointer_floats(rows));
        scratch += 2 * pointer_floats(rows);
        rows_of(scratch, wide, rows, input);
        rows_of(scratch + rows * wide, wide, rows, hidden);
        float* candidate = scratch + 2 * rows * wide;
        scratch = candidate + padded;
        if (s.drive == nullptr) drive(cell, rows, s.x, input, scratch);
        const Source h = source_of(cell.hidden, cell.hidden.k1, rows, s.h, scratch);
        tiles(cell.hidden, rows, h, Source{}, nullptr, s.backwards,
              [&](std::size_t row, std::size_t vector, std::size_t own, const float* z) {
                  store_groups(hidden[row], vector, own, z);
              });
        const std::size_t gates = cell.coupled ? 3 : 4;
        for (std::size_t r = 0; r < rows; ++r) {
            const float* a = s.drive == nullptr ? input[r] : s.drive[r];
            normalise(a, cell.size, groups, gates, width, cell.gain_input, cell.bias_input, input[r]);
            normalise(hidden[r], cell.size, groups, gates, width, cell.gain_hidden, cell.bias_hidden, hidden[r]);
            for (std::size_t k = 0; k < wide; k += V) store(hidden[r] + k, load(input[r] + k) + load(hidden[r] + k));
            Unit row = unit(r, 0);
            row.candidate = candidate;
            finish_normalised(row, hidden[r], m[r]);
            if (!projects) keep_hidden(cell, s.h[r], m[r], s.y[r]);
        }
    }
    if (projects) {
        dense(cell.projection, Gate::none, rows, m, s.y, scratch);
        if (cell.keep_h != 0.0f)
            for (std::size_t r = 0; r < rows; ++r) keep_hidden(cell, s.h[r], s.y[r], s.y[r]);
    }
    if (s.trace != nullptr)
        for (std::size_t r = 0; r < rows; ++r)
            for (std::size_t k = 0; k < cell.out; ++k) s.trace[r].h[k] = s.y[r][k];
}

}  // namespace
}  // namespace carrousel
