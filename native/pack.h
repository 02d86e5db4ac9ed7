// Weights in the order in which the kernels read them.
#pragma once

#include <vector>

#include "buffer.h"
#include "kernel.h"

namespace carrousel {

// Rows of a matrix as a file has them: torch's, C order. Null where there is none.
struct Rows {
    const float* weight_1 = nullptr;
    const float* weight_2 = nullptr;
    const float* bias_1 = nullptr;
    const float* bias_2 = nullptr;
};

// A packed matrix and its memory.
struct Packed {
    Buffer memory;
    std::vector<Block> blocks;
    Matrix matrix{};
};

// gates 1: a linear layer of `outputs`; else an LSTM's `outputs` hidden units with 3 or 4 gates.
Packed pack(std::size_t outputs, std::size_t gates, std::size_t k1, std::size_t k2, const Rows& rows, Storage storage,
            std::size_t lanes);

// (gates · size) values of the rows of an LSTM as [vectors][width][lanes], zeros where there are none.
Buffer pack_gates(const float* values, std::size_t size, std::size_t gates, std::size_t width, std::size_t lanes);

}  // namespace carrousel
