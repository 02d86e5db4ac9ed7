// Products of rows with a packed matrix.
//
// A tile is R rows by C vectors of outputs, held in registers while the weights stream by once; its sums run over the
// inputs in order, so they are the same bits whatever R and C are. Gates, cell and hidden values are finished right
// behind the tile, while it is in the first-level cache.
#pragma once

#include "kernel_source.h"

namespace carrousel {

#if defined(__AVX512BF16__) && !defined(CARROUSEL_PLAIN)
extern const Kernels kernels_avx512vnni;
#elif defined(__AVX512VNNI__) && !defined(CARROUSEL_PLAIN)
extern const Kernels kernels_avx512;
#endif

namespace {

constexpr std::size_t LINE = 64;          // bytes of a cache
constexpr std::ptrdiff_t NEAR = 3 << 18;  // of a matrix that stays in the second level

// Weights that lie far away are called for while those of the group before them are multiplied, two lines at a time:
// the processor itself does not look that far.
INLINE void call_for(const void* w, std::ptrdiff_t ahead) {
    __builtin_prefetch(static_cast<const char*>(w) + ahead, 0, 2);
    __builtin_prefetch(static_cast<const char*>(w) + ahead + LINE, 0, 2);
}

template <bool FAR, int R, int C>
INLINE void add_floats(vf (&acc)[R][C], const float* w, std::size_t stride, std::size_t k, const float* const* rows,
                       std::ptrdiff_t ahead) {
    const float* x[R];
    for (int r = 0; r < R; ++r) x[r] = rows[r];
#pragma GCC unroll 2
    for (std::size_t j = 0; j < k; ++j, w += stride) {
        if constexpr (FAR) call_for(w, ahead);
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

// Two inputs at once, both factors in bfloat16.
template <bool FAR, int R, int C>
INLINE void add_pairs(vf (&acc)[R][C], const std::int32_t* w, std::size_t stride, std::size_t k, const Source& source,
                      std::size_t row, std::ptrdiff_t ahead) {
    const std::int32_t* x[R];
    for (int r = 0; r < R; ++r)
        x[r] = reinterpret_cast<const std::int32_t*>(source.rounded + (row + r) * source.stride);
    const std::size_t words = pairs(k);
#pragma GCC unroll 2
    for (std::size_t j = 0; j < words; ++j, w += stride) {
        if constexpr (FAR) call_for(w, ahead);
        vi in[R];
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) in[r] = splat(x[r][j]);
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) {
            const vi weight = *reinterpret_cast<const vi_loose*>(w + c * V);
#pragma GCC unroll 8
            for (int r = 0; r < R; ++r) acc[r][c] = dot2(acc[r][c], weight, in[r]);
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
        x[r] = source.rounded + (row + r) * source.stride;
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

// Whether R rows call for weights ahead of their use: so many multiply long enough that it costs nothing where there is
// nothing to call for. One row would wait for each of its weights in any case.
template <int R>
constexpr bool FAR_OF = (R > 3);

// R rows from `row` on by C vectors of a block from vector `at` on, to out[r · C · V ...].
template <Storage S, int R, int C>
__attribute__((noinline)) void tile(const Matrix& m, const Block& b, std::size_t at, const Source& x, const Source& h,
                                    std::size_t row, const float* const* init, std::size_t init_at, float* out,
                                    std::ptrdiff_t ahead) {
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
        if (x.used) add_floats<FAR_OF<R>, R, C>(acc, w, wide, m.k1, x.rows + row, ahead);
        if (h.used) add_floats<FAR_OF<R>, R, C>(acc, w + m.k1 * wide, wide, m.k2, h.rows + row, ahead);
    } else if constexpr (S == Storage::bfloat16) {
        const std::uint32_t* w = reinterpret_cast<const std::uint32_t*>(bias + wide) + at / 2 * V;
        if (x.used) add_halves<R, C>(acc, w, wide / 2, m.k1, x.rows + row);
        if (h.used) add_halves<R, C>(acc, w + m.k1 * (wide / 2), wide / 2, m.k2, h.rows + row);
    } else if constexpr (S == Storage::paired) {
        const std::int32_t* w = reinterpret_cast<const std::int32_t*>(bias + wide) + at * V;
        if (x.used) add_pairs<FAR_OF<R>, R, C>(acc, w, wide, m.k1, x, row, ahead);
        if (h.used) add_pairs<FAR_OF<R>, R, C>(acc, w + pairs(m.k1) * wide, wide, m.k2, h, row, ahead);
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
                      const float* const*, std::size_t, float*, std::ptrdiff_t);

// None for what pack.cpp makes no block of: an odd number of vectors in bfloat16, a multiple of three in int8.
template <Storage S, int R, int C>
Tile tile_if() {
    if constexpr (S == Storage::bfloat16 ? C % 2 == 0 : S == Storage::int8 ? C % 3 != 0 : true)
        return &tile<S, R, C>;
    else
        return nullptr;
}

template <Storage S, int R>
Tile narrow_tile(std::size_t c) {
    switch (c) {
        case 1: return tile_if<S, R, 1>();
        case 2: return tile_if<S, R, 2>();
        case 3: return tile_if<S, R, 3>();
        default: return tile_if<S, R, 4>();
    }
}

template <Storage S>
Tile tile_of(std::size_t rows, std::size_t c) {
    switch (rows) {
        case 1:
            if (c == 8) return tile_if<S, 1, 8>();
            if (c == 6) return tile_if<S, 1, 6>();
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

// By a set that adds to another one only what it adds is compiled again: a program may have to be small.
Tile tile_of(Storage storage, std::size_t rows, std::size_t c) {
#if defined(__AVX512BF16__) && !defined(CARROUSEL_PLAIN)
    if (storage == Storage::paired) return tile_of<Storage::paired>(rows, c);
    return reinterpret_cast<Tile>(kernels_avx512vnni.tile(storage, rows, c));
#elif defined(__AVX512VNNI__) && !defined(CARROUSEL_PLAIN)
    if (storage == Storage::int8) return tile_of<Storage::int8>(rows, c);
    return reinterpret_cast<Tile>(kernels_avx512.tile(storage, rows, c));
#else
    switch (storage) {
        case Storage::float32: return tile_of<Storage::float32>(rows, c);
        case Storage::bfloat16: return tile_of<Storage::bfloat16>(rows, c);
        default: return tile_of<Storage::int8>(rows, c);
    }
#endif
}

AnyTile any_tile(Storage storage, std::size_t rows, std::size_t c) {
    return reinterpret_cast<AnyTile>(tile_of(storage, rows, c));
}

// Bytes from the weights of a group to those of the one that comes next: of the same block, or the first of `after`.
// 0 where the matrix stays in the second level.
std::ptrdiff_t to_next(const Matrix& m, const Block& b, std::size_t group, const Block& after) {
    if (m.blocks[m.count - 1].data - m.blocks[0].data < NEAR) return 0;
    const std::ptrdiff_t size = b.width * V * 4;
    return group + 1 < b.groups ? size : after.data - b.data - static_cast<std::ptrdiff_t>(group) * size;
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
        const Block& after = n + 1 == m.count ? b : m.blocks[backwards ? m.count - 2 - n : n + 1];
        const std::size_t groups_at_once = rows == 1 ? b.groups : 1, c = groups_at_once * b.width;
        const std::size_t per_vector = m.gates > 1 ? b.width : 1;  // vectors of z for one of outputs or hidden units
        const std::size_t step = m.gates > 1 ? 1 : b.width;        // outputs or hidden units, in vectors, of a group
        for (std::size_t group = 0; group < b.groups; group += groups_at_once) {
            const std::ptrdiff_t next = to_next(m, b, group, after);
            const std::size_t span = std::size_t{b.width} * V * 4;  // of one input's weights, which the parts share out
            std::size_t row = 0;
            for (std::size_t part = 0; part < parts; ++part) {
                const std::size_t r = least + (part < more);
                const std::size_t at = group * b.width;
                tile_of(m.storage, r, c)(m, b, at, x, h, row, init, (b.first * per_vector + at) * V, z,
                                         next == 0 ? 0 : next + static_cast<std::ptrdiff_t>(part * 2 * LINE % span));
                for (std::size_t k = 0; k < r; ++k)
                    for (std::size_t g = 0; g < groups_at_once; ++g)
                        finish(row + k, b.first + (group + g) * step, b.width, z + (k * c + g * b.width) * V);
                row += r;
            }
        }
    }
}

}  // namespace
}  // namespace carrousel
