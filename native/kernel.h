// What the kernels of one instruction set offer to the rest of the engine, and the form in which they want their data.
// Plain structures and function pointers: kernel.cpp is compiled with wide instructions and must share no inline code.
#pragma once

#include <cstddef>
#include <cstdint>

namespace carrousel {

// How weights are stored. paired: in bfloat16, the weights of two inputs together; the inputs are rounded to it as
// well.
enum class Storage { float32, bfloat16, paired, int8 };

// A part of a packed matrix: 1 or 2 groups of `width` vectors of outputs, whose weights form one contiguous stream.
//
// The stream holds `groups · width` vectors of biases and then, for each input (for each two of them in paired, four in
// int8), as many vectors of weights. In an LSTM a group is the gates of one vector of hidden units; in a linear layer
// it is up to four vectors of outputs. bfloat16 stores two vectors in the halves of the words of one; paired puts the
// weights of two inputs into a word, the first in its low half; int8 puts those of four into one and has, behind the
// biases, vectors of scales of W_1, of W_2, and of 128 times the row sums of either.
struct Block {
    const unsigned char* data;
    std::uint32_t first;  // its first vector: of outputs, or in an LSTM of hidden units
    std::uint32_t groups, width;
};

// y = W_1 x + W_2 h + b, packed. Every output is summed in one order: bias, x in order, h in order.
struct Matrix {
    const Block* blocks;
    std::size_t count;
    std::size_t k1, k2;   // inputs: of x, of h
    std::size_t outputs;  // of a linear layer; in an LSTM hidden units
    std::size_t gates;    // 1, or vectors of a group: 3 or 4
    Storage storage;
};

enum class Gate : int { none, relu, tanh, silu, sigmoid };

// One layer and direction of an LSTM. Arrays of vectors are padded to whole ones.
struct Cell {
    Matrix all;             // without layer normalisation: both products in one stream
    Matrix input, hidden;   // with it: each alone, biases 0
    Matrix projection;      // outputs 0: none
    const float* peephole;  // [vectors][i, f, o][V], or null
    const float *gain_input, *gain_hidden, *bias_input, *bias_hidden;  // [vectors][gates][V], or null
    const float *gain_cell, *bias_cell;                                // [vectors][V]
    std::size_t size, out;                                             // H, P
    bool coupled, norm;
    float keep_h, keep_c;  // zoneout's expectations
};

// Where one row's gates go: H (h: P) values each.
struct TraceRow {
    float *i, *f, *g, *o, *c, *h;
};

// One step of some rows. y may not overlap h: other blocks still read what a block would overwrite.
struct CellStep {
    std::size_t rows;
    const float* const* x;      // E values each; unused where drive is given
    const float* const* h;      // P values each, before
    float* const* c;            // H values each, padded to whole vectors; updated
    float* const* y;            // P values each: h after
    const float* const* drive;  // what Kernels::drive made of x, or null
    const TraceRow* trace;      // one a row, or null
    float* scratch;             // Kernels::step_scratch(cell, rows) floats
    std::size_t part, parts;    // of the blocks that this call does: one of several threads'; parts 1: all
    bool backwards;             // the order of the blocks, which decides what stays in the cache, not what comes out
};

// A tile of a product, whose type only kernels know.
using AnyTile = void (*)();

struct Kernels {
    int lanes, rows;  // floats in a vector; rows that a full tile spans
    bool paired;      // how it wants bfloat16 stored

    // y = a(W x + b) for some rows; y may not overlap x. scratch: dense_scratch(matrix, rows) floats.
    void (*dense)(const Matrix& matrix, Gate gate, std::size_t rows, const float* const* x, float* const* y,
                  float* scratch);
    std::size_t (*dense_scratch)(const Matrix& matrix, std::size_t rows);
    // What the inputs add to the gates: drive_size(cell) floats a row, in the order of the blocks.
    void (*drive)(const Cell& cell, std::size_t rows, const float* const* x, float* const* drive, float* scratch);
    std::size_t (*drive_size)(const Cell& cell);
    std::size_t (*drive_scratch)(const Cell& cell, std::size_t rows);
    void (*step)(const CellStep& step, const Cell& cell);
    std::size_t (*step_scratch)(const Cell& cell, std::size_t rows);
    // y = weight · x + bias, elementwise, n values.
    void (*scale)(const float* x, const float* weight, const float* bias, float* y, std::size_t n);
    // σ and tanh of n values, for tests of their accuracy.
    void (*activations)(const float* x, float* sigmoid, float* tanh, std::size_t n);
    // What a machine can do at most, to hold a measured time against: n floats read once, in order; and
    // multiply_flops · rounds operations in registers. Both return something that depends on all of it.
    float (*read)(const float* x, std::size_t n);
    float (*multiply)(std::size_t rounds);
    std::size_t multiply_flops;
    // For the sets that add to this one: see kernel_product.h.
    AnyTile (*tile)(Storage storage, std::size_t rows, std::size_t columns);
};

}  // namespace carrousel
