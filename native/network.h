// The inside of a Model: its layers, packed.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "buffer.h"
#include "isa.h"
#include "kernel.h"
#include "model.h"
#include "pack.h"

namespace carrousel {

// One layer and direction of an LSTM, and the memory behind it.
struct PackedCell {
    Cell cell{};
    Packed all, input, hidden, projection;
    Buffer peephole, gain_input, gain_hidden, bias_input, bias_hidden, gain_cell, bias_cell;

    std::size_t bytes() const { return all.memory.bytes() + input.memory.bytes() + hidden.memory.bytes(); }
};

struct PackedLayer {
    const Layer* layer = nullptr;
    bool used = false;              // by a stack; the others are not packed
    Packed dense;                   // linear
    Buffer table, weight, bias;     // embedding; scale
    std::vector<PackedCell> cells;  // lstm: in the order of the state's rows
    Buffer h_0, c_0;                // lstm: (rows, P), (rows, H); no bytes: zeros

    std::size_t out() const { return layer->proj_size ? layer->proj_size : layer->hidden_size; }
    std::size_t directions() const { return layer->bidirectional ? 2 : 1; }
    std::size_t width() const {  // of what it gives
        return layer->kind == Kind::lstm ? directions() * out() : layer->output_size;
    }
};

struct Model::Impl {
    Architecture architecture;
    const Isa* isa = nullptr;
    const Kernels* kernels = nullptr;
    Dtype dtype = Dtype::float32;
    std::vector<PackedLayer> layers;
    std::size_t packed_bytes = 0;
};

}  // namespace carrousel
