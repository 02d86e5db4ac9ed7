// The arithmetic, once for all instruction sets: compiled for each with CARROUSEL_ISA set to its name.
//
// A tile is R rows by C vectors of outputs, held in registers while the weights stream by once; its sums run over the
// inputs in order, so they are the same bits whatever R and C are. Gates, cell and hidden values are finished right
// behind the tile, while it is in the first-level cache.
#include "kernel.h"

#include "simd.h"

namespace carrousel {
namespace {

// What is multiplied with one part of a matrix: rows of floats, or in int8 their quantised form.
struct Source {
    const float* const* rows = nullptr;
    const unsigned char* quantised = nullptr;  // of row r at quantised + r · stride
    const float* scales = nullptr;             // of row r
    std::size_t stride = 0;
    bool used = false;
};

constexpr std::size_t quads(std::size_t k) { return (k + 3) / 4; }
constexpr std::size_t rounded(std::size_t floats) { return (floats + 15) / 16 * 16; }
// Floats that the quantised form of a row takes, in bytes or int16, and of some rows with their scales.
constexpr std::size_t quantised_row(std::size_t k) { return rounded(k) / (UNSIGNED_INPUTS ? 4 : 2); }
constexpr std::size_t quantised_floats(std::size_t rows, std::size_t k) {
    return rounded(rows * quantised_row(k)) + rounded(rows);
}
constexpr std::size_t vectors_of(std::size_t n) { return (n + V - 1) / V; }

template <int R, int C>
INLINE void add_floats(vf (&acc)[R][C], const float* w, std::size_t stride, std::size_t k, const float* const* rows) {
    const float* x[R];
    for (int r = 0; r < R; ++r) x[r] = rows[r];
#pragma GCC unroll 2
    for (std::size_t j = 0; j < k; ++j, w += stride) {
        vf in[R];
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) in[r] = splat(x[r][j]);
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) {
            const vf weight = load(w + c * V);
#pragma GCC unroll 8
            for (int r = 0; r < R; ++r) acc[r][c] = fma(weight, in[r], acc[r][c]);
        }
    }
}

template <int R, int C>
INLINE void add_halves(vf (&acc)[R][C], const std::uint32_t* w, std::size_t stride, std::size_t k,
                       const float* const* rows) {
    const float* x[R];
    for (int r = 0; r < R; ++r) x[r] = rows[r];
#pragma GCC unroll 2
    for (std::size_t j = 0; j < k; ++j, w += stride) {
        vf in[R];
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) in[r] = splat(x[r][j]);
#pragma GCC unroll 8
        for (int c = 0; c < C; c += 2) {
            const vu both = *reinterpret_cast<const vu_loose*>(w + c / 2 * V);
            const vf high = reinterpret_cast<vf>(both & 0xffff0000u), low = reinterpret_cast<vf>(both << 16);
#pragma GCC unroll 8
            for (int r = 0; r < R; ++r) acc[r][c] = fma(high, in[r], acc[r][c]);
#pragma GCC unroll 8
            for (int r = 0; r < R; ++r) acc[r][c + 1] = fma(low, in[r], acc[r][c + 1]);
        }
    }
}

// acc += scale_row · scale · (Σ w q): the sum in integers, exact whatever its order.
template <int R, int C>
INLINE void add_bytes(vf (&acc)[R][C], const std::int32_t* w, std::size_t stride, std::size_t k, const Source& source,
                      std::size_t row, const float* scale, const std::int32_t* offset) {
    vi sum[R][C];
    const unsigned char* x[R];
    for (int r = 0; r < R; ++r) {
        x[r] = source.quantised + (row + r) * source.stride;
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c)
            sum[r][c] = UNSIGNED_INPUTS ? -vi(*reinterpret_cast<const vi_loose*>(offset + c * V)) : vi{};
    }
    for (std::size_t j = 0; j < quads(k); ++j, w += stride) {
        vi in[R], more[R];
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
            const std::int32_t* quad = reinterpret_cast<const std::int32_t*>(x[r]) + j * (UNSIGNED_INPUTS ? 1 : 2);
            in[r] = splat(quad[0]);
            more[r] = UNSIGNED_INPUTS ? vi{} : splat(quad[UNSIGNED_INPUTS ? 0 : 1]);
        }
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) {
            const vi weight = *reinterpret_cast<const vi_loose*>(w + c * V);
#pragma GCC unroll 8
            for (int r = 0; r < R; ++r) sum[r][c] = dot4(sum[r][c], weight, in[r], more[r]);
        }
    }
    for (int r = 0; r < R; ++r) {
        const vf own = splat(source.scales[row + r]);
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) acc[r][c] = fma(to_float(sum[r][c]), own * load(scale + c * V), acc[r][c]);
    }
}

// R rows from `row` on by C vectors of a block from vector `at` on, to out[r · C · V ...].
template <Storage S, int R, int C>
__attribute__((noinline)) void tile(const Matrix& m, const Block& b, std::size_t at, const Source& x, const Source& h,
                                    std::size_t row, const float* const* init, std::size_t init_at, float* out) {
    const std::size_t wide = std::size_t{b.groups} * b.width * V;
    const float* bias = reinterpret_cast<const float*>(b.data);
    const float* start = bias + at * V;
    vf acc[R][C];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
        if (init != nullptr) start = init[row + r] + init_at;
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) acc[r][c] = load(start + c * V);
    }
    if constexpr (S == Storage::float32) {
        const float* w = bias + wide + at * V;
        if (x.used) add_floats<R, C>(acc, w, wide, m.k1, x.rows + row);
        if (h.used) add_floats<R, C>(acc, w + m.k1 * wide, wide, m.k2, h.rows + row);
    } else if constexpr (S == Storage::bfloat16) {
        const std::uint32_t* w = reinterpret_cast<const std::uint32_t*>(bias + wide) + at / 2 * V;
        if (x.used) add_halves<R, C>(acc, w, wide / 2, m.k1, x.rows + row);
        if (h.used) add_halves<R, C>(acc, w + m.k1 * (wide / 2), wide / 2, m.k2, h.rows + row);
    } else {
        const float *scale_x = bias + wide + at * V, *scale_h = scale_x + wide;
        const std::int32_t* sum_x = reinterpret_cast<const std::int32_t*>(scale_h + wide);
        const std::int32_t *sum_h = sum_x + wide, *w = sum_h + wide;
        if (x.used) add_bytes<R, C>(acc, w, wide, m.k1, x, row, scale_x, sum_x);
        if (h.used) add_bytes<R, C>(acc, w + quads(m.k1) * wide, wide, m.k2, h, row, scale_h, sum_h);
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) store(out + (r * C + c) * V, acc[r][c]);
}

using Tile = void (*)(const Matrix&, const Block&, std::size_t, const Source&, const Source&, std::size_t,
                      const float* const*, std::size_t, float*);

template <Storage S, int R>
Tile narrow_tile(std::size_t c) {
    switch (c) {
        case 1:
            return S == Storage::bfloat16 ? nullptr : &tile < S == Storage::bfloat16 ? Storage::float32 : S, R, 1 > ;
        case 2: return &tile<S, R, 2>;
        case 3: return S == Storage::float32 ? &tile<Storage::float32, R, 3> : nullptr;
        default: return &tile<S, R, 4>;
    }
}

template <Storage S>
Tile tile_of(std::size_t rows, std::size_t c) {
    switch (rows) {
        case 1:
            if (c == 8) return &tile<S, 1, 8>;
            if (c == 6) return &tile<Storage::float32, 1, 6>;
            return narrow_tile<S, 1>(c);
        case 2: return narrow_tile<S, 2>(c);
        case 3: return narrow_tile<S, 3>(c);
#if !defined(CARROUSEL_PLAIN) && (defined(__AVX512F__) || defined(__ARM_NEON))
        case 4: return narrow_tile<S, 4>(c);
        case 5: return narrow_tile<S, 5>(c);
        default: return narrow_tile<S, 6>(c);
#else
        default: return nullptr;
#endif
    }
}

Tile tile_of(Storage storage, std::size_t rows, std::size_t c) {
    switch (storage) {
        case Storage::float32: return tile_of<Storage::float32>(rows, c);
        case Storage::bfloat16: return tile_of<Storage::bfloat16>(rows, c);
        default: return tile_of<Storage::int8>(rows, c);
    }
}

// All tiles of a matrix for some rows: finish(row, vector, z) gets `width` vectors at a time, in the order of the
// blocks. vector is the group's first, of outputs or of hidden units.
template <class Finish>
INLINE void tiles(const Matrix& m, std::size_t rows, const Source& x, const Source& h, const float* const* init,
                  bool backwards, const Finish& finish) {
    alignas(64) float z[ROWS * 8 * V];
    const std::size_t parts = (rows + ROWS - 1) / ROWS, least = parts ? rows / parts : 0,
                      more = parts ? rows % parts : 0;
    for (std::size_t n = 0; n < m.count; ++n) {
        const Block& b = m.blocks[backwards ? m.count - 1 - n : n];
        const std::size_t groups_at_once = rows == 1 ? b.groups : 1, c = groups_at_once * b.width;
        const std::size_t per_vector = m.gates > 1 ? b.width : 1;  // vectors of z for one of outputs or hidden units
        const std::size_t step = m.gates > 1 ? 1 : b.width;        // outputs or hidden units, in vectors, of a group
        for (std::size_t group = 0; group < b.groups; group += groups_at_once) {
            std::size_t row = 0;
            for (std::size_t part = 0; part < parts; ++part) {
                const std::size_t r = least + (part < more);
                const std::size_t at = group * b.width;
                tile_of(m.storage, r, c)(m, b, at, x, h, row, init, (b.first * per_vector + at) * V, z);
                for (std::size_t k = 0; k < r; ++k)
                    for (std::size_t g = 0; g < groups_at_once; ++g)
                        finish(row + k, b.first + (group + g) * step, b.width, z + (k * c + g * b.width) * V);
                row += r;
            }
        }
    }
}

// ---- int8: a row as bytes, its largest magnitude at 127 ----

// What is not finite makes the scale NaN, and through it every output of the row.
float quantise_row(const float* x, std::size_t k, unsigned char* out) {
    vf largest = vf{}, poison = vf{};
    std::size_t j = 0;
    for (; j + V <= k; j += V) {
        const vf v = load(x + j);
        const vf magnitude = reinterpret_cast<vf>(reinterpret_cast<vu>(v) & 0x7fffffffu);
        largest = magnitude > largest ? magnitude : largest;
        poison += v * vf{};
    }
    if (j < k) {
        const vf v = load_part(x + j, k - j);
        const vf magnitude = reinterpret_cast<vf>(reinterpret_cast<vu>(v) & 0x7fffffffu);
        largest = magnitude > largest ? magnitude : largest;
        poison += v * vf{};
    }
    float most = 0.0f;
    for (int lane = 0; lane < V; ++lane) most = largest[lane] > most ? largest[lane] : most;
    const float bad = sum(poison);
    const bool flat = !(most > 1e-30f) || bad != 0.0f;  // NaN != 0
    const float inverse = flat ? 0.0f : 127.0f / most;
    const vf factor = splat(inverse), magic = splat(12582912.0f);
    for (j = 0; j < rounded(k); j += V) {
        const vf v = flat || j >= k ? vf{} : load_part(x + j, k - j);
        const vi q = reinterpret_cast<vi>(v * factor + magic) - 0x4b400000;
        if constexpr (UNSIGNED_INPUTS) {
            using Bytes = signed char __attribute__((vector_size(V)));
            const Bytes bytes = __builtin_convertvector(q + 128, Bytes);
            __builtin_memcpy(out + j, &bytes, sizeof bytes);
        } else {
            using Shorts = std::int16_t __attribute__((vector_size(2 * V)));
            const Shorts shorts = __builtin_convertvector(swap_inner(q), Shorts);  // pairs (x_0, x_2), (x_1, x_3)
            __builtin_memcpy(out + 2 * j, &shorts, sizeof shorts);
        }
    }
    return most / 127.0f + bad;
}

// A source of rows for a matrix; quantises them into scratch, which moves on.
Source source_of(const Matrix& m, std::size_t k, std::size_t rows, const float* const* x, float*& scratch) {
    Source source;
    source.used = k > 0;
    source.rows = x;
    if (m.storage != Storage::int8 || k == 0) return source;
    unsigned char* bytes = reinterpret_cast<unsigned char*>(scratch);
    const std::size_t floats = quantised_row(k);
    float* scales = scratch + rounded(rows * floats);
    for (std::size_t r = 0; r < rows; ++r) scales[r] = quantise_row(x[r], k, bytes + r * floats * 4);
    source.quantised = bytes;
    source.stride = floats * 4;
    source.scales = scales;
    scratch += quantised_floats(rows, k);
    return source;
}

std::size_t source_floats(const Matrix& m, std::size_t k, std::size_t rows) {
    return m.storage == Storage::int8 ? quantised_floats(rows, k) : 0;
}

// ---- linear layers ----

INLINE vf activate(Gate gate, vf v) {
    switch (gate) {
        case Gate::relu: return v < vf{} ? vf{} : v;  // NaN stays
        case Gate::tanh: return tanh(v);
        case Gate::silu: return v / (splat(1.0f) + exp_minus(v));
        case Gate::sigmoid: return sigmoid(v);
        default: return v;
    }
}

void dense(const Matrix& m, Gate gate, std::size_t rows, const float* const* x, float* const* y, float* scratch) {
    const Source source = source_of(m, m.k1, rows, x, scratch);
    tiles(m, rows, source, Source{}, nullptr, false,
          [&](std::size_t row, std::size_t vector, std::size_t width, const float* z) {
              for (std::size_t c = 0; c < width; ++c) {
                  const std::size_t first = (vector + c) * V;
                  if (first < m.outputs) store_part(y[row] + first, activate(gate, load(z + c * V)), m.outputs - first);
              }
          });
}

std::size_t dense_scratch(const Matrix& m, std::size_t rows) { return source_floats(m, m.k1, rows); }

// ---- the cell ----

struct Advanced {
    vf cell, hidden;
};

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

void scale(const float* x, const float* weight, const float* bias, float* y, std::size_t n) {
    for (std::size_t k = 0; k < n; k += V)
        store_part(y + k, fma(load_part(weight + k, n - k), load_part(x + k, n - k), load_part(bias + k, n - k)),
                   n - k);
}

void activations(const float* x, float* s, float* t, std::size_t n) {
    for (std::size_t k = 0; k < n; k += V) {
        const vf v = load_part(x + k, n - k);
        store_part(s + k, sigmoid(v), n - k);
        store_part(t + k, tanh(v), n - k);
    }
}

float read(const float* x, std::size_t n) {
    vf total[8] = {};
    std::size_t k = 0;
    for (; k + 8 * V <= n; k += 8 * V)
#pragma GCC unroll 8
        for (int part = 0; part < 8; ++part) total[part] += load(x + k + part * V);
    vf all = total[0];
    for (int part = 1; part < 8; ++part) all += total[part];
    return sum(all);
}

constexpr std::size_t CHAINS = 12;  // enough that no multiplication waits for another

float multiply(std::size_t rounds) {
    vf total[CHAINS] = {};
    vf factor = splat(0.999f), addend = splat(1e-3f);
    for (std::size_t k = 0; k < rounds; ++k) {
        asm volatile("" : "+m"(factor), "+m"(addend));
        const vf a = factor, b = addend;
#pragma GCC unroll 8
        for (int inner = 0; inner < 8; ++inner)
#pragma GCC unroll 12
            for (std::size_t chain = 0; chain < CHAINS; ++chain) total[chain] = fma(total[chain], a, b);
    }
    vf all = total[0];
    for (std::size_t chain = 1; chain < CHAINS; ++chain) all += total[chain];
    return sum(all);
}

}  // namespace

#define JOIN(a, b) a##b
#define NAMED(table, isa) JOIN(table, isa)
extern const Kernels NAMED(kernels_, CARROUSEL_ISA);
const Kernels NAMED(kernels_, CARROUSEL_ISA) = {V,           ROWS,          dense,    dense_scratch,     drive,
                                                drive_size,  drive_scratch, step,     step_scratch,      scale,
                                                activations, read,          multiply, CHAINS * 8 * V * 2};

}  // namespace carrousel
