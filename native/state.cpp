#include "state.h"

#include <cstring>

namespace carrousel {

std::vector<Memory> remember(const Model::Impl& network, std::size_t n) {
    std::vector<Memory> all(network.layers.size());
    for (std::size_t k = 0; k < all.size(); ++k) {
        const PackedLayer& layer = network.layers[k];
        if (layer.cells.empty()) continue;
        Memory& own = all[k];
        own.rows = layer.cells.size();
        own.batch = n;
        own.h_stride = round_up(layer.out(), 16);
        own.c_stride = round_up(layer.layer->hidden_size, 16);
        own.h = Buffer(product(own.rows, n, own.h_stride * sizeof(float)));
        own.c = Buffer(product(own.rows, n, own.c_stride * sizeof(float)));
        if (layer.h_0.bytes())
            for (std::size_t stream = 0; stream < n; ++stream) start(layer, own, stream);
    }
    return all;
}

void start(const PackedLayer& layer, const Memory& own, std::size_t stream) {
    const std::size_t P = layer.out(), H = layer.layer->hidden_size;
    for (std::size_t d = 0; d < own.rows; ++d) {
        float *h = own.h_at(d, stream), *c = own.c_at(d, stream);
        std::memset(h, 0, own.h_stride * sizeof(float));
        std::memset(c, 0, own.c_stride * sizeof(float));
        if (!layer.h_0.bytes()) continue;
        std::memcpy(h, layer.h_0.floats() + d * P, P * sizeof(float));
        std::memcpy(c, layer.c_0.floats() + d * H, H * sizeof(float));
    }
}

void copy(const Memory& from, const std::size_t* streams, std::size_t count, const Memory& to) {
    for (std::size_t d = 0; d < to.rows; ++d)
        for (std::size_t n = 0; n < count; ++n) {
            std::memcpy(to.h_at(d, n), from.h_at(d, streams[n]), to.h_stride * sizeof(float));
            std::memcpy(to.c_at(d, n), from.c_at(d, streams[n]), to.c_stride * sizeof(float));
        }
}

}  // namespace carrousel
