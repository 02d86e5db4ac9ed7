// What the recurrent layers remember of all streams.
#pragma once

#include <cstddef>
#include <vector>

#include "buffer.h"
#include "network.h"

namespace carrousel {

// Of one LSTM: row d of stream n at (d · batch + n) · stride. Of any other layer: nothing.
struct Memory {
    std::size_t rows = 0, batch = 0;
    std::size_t h_stride = 0, c_stride = 0;
    Buffer h, c;

    float* h_at(std::size_t d, std::size_t n) const { return h.floats() + (d * batch + n) * h_stride; }
    float* c_at(std::size_t d, std::size_t n) const { return c.floats() + (d * batch + n) * c_stride; }
};

// Memory of all layers for n streams in their initial state.
std::vector<Memory> remember(const Model::Impl& network, std::size_t n);

// Put one stream back to the initial state of a layer.
void start(const PackedLayer& layer, const Memory& own, std::size_t stream);

// Stream k of `to` becomes stream streams[k] of `from`.
void copy(const Memory& from, const std::size_t* streams, std::size_t count, const Memory& to);

}  // namespace carrousel
