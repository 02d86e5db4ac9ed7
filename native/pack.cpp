#include "pack.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

namespace carrousel {
namespace {

std::uint16_t to_bfloat16(float value) {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t rounded = bits + 0x7fffu + ((bits >> 16) & 1u);  // to nearest, ties to even
    return static_cast<std::uint16_t>((((rounded >> 23) & 0xffu) == 0xffu ? bits : rounded) >>
                                      16);  // never to infinity
}

struct Quantised {
    float scale = 0.0f;
    float inverse = 0.0f;

    Quantised(const float* row, std::size_t k) {
        float most = 0.0f;
        for (std::size_t j = 0; j < k; ++j) most = std::max(most, std::fabs(row[j]));
        if (most < 1e-30f) return;
        scale = most / 127.0f;
        inverse = 127.0f / most;
    }
    int operator()(float value) const { return static_cast<int>(std::nearbyintf(value * inverse)); }
};

class Packer {
public:
    Packer(const Matrix& shape, const Rows& rows, std::size_t lanes) : m_(shape), rows_(rows), lanes_(lanes) {}

    std::size_t bytes(const Block& block) const {
        const std::size_t wide = vectors(block) * lanes_;
        switch (m_.storage) {
            case Storage::float32: return product(wide * sizeof(float), 1 + m_.k1 + m_.k2);
            case Storage::bfloat16: return product(wide, 4 + 2 * (m_.k1 + m_.k2));
            case Storage::paired: return product(wide * 4, 1 + (m_.k1 + 1) / 2 + (m_.k2 + 1) / 2);
            default: return product(wide * 4, 5 + (m_.k1 + 3) / 4 + (m_.k2 + 3) / 4);
        }
    }

    void fill(const Block& block, unsigned char* out) const {
        const std::size_t wide = vectors(block) * lanes_;
        float* bias = reinterpret_cast<float*>(out);
        for (std::size_t v = 0; v < vectors(block); ++v)
            for (std::size_t lane = 0; lane < lanes_; ++lane) {
                const std::size_t row = row_of(block, v, lane);
                if (row == NONE) continue;
                const std::size_t at = v * lanes_ + lane;
                bias[at] = (rows_.bias_1 ? rows_.bias_1[row] : 0.0f) + (rows_.bias_2 ? rows_.bias_2[row] : 0.0f);
                fill_part(rows_.weight_1, row, m_.k1, out, wide, at, 0);
                fill_part(rows_.weight_2, row, m_.k2, out, wide, at, 1);
            }
    }

private:
    static constexpr std::size_t NONE = static_cast<std::size_t>(-1);

    std::size_t vectors(const Block& block) const { return std::size_t{block.groups} * block.width; }

    // Row of the unpacked matrix that stands in a lane of a vector of a block.
    std::size_t row_of(const Block& block, std::size_t vector, std::size_t lane) const {
        if (m_.gates == 1) {
            const std::size_t row = (block.first + vector) * lanes_ + lane;
            return row < m_.outputs ? row : NONE;
        }
        const std::size_t gate = vector % block.width;
        const std::size_t unit = (block.first + vector / block.width) * lanes_ + lane;
        return gate < m_.gates && unit < m_.outputs ? gate * m_.outputs + unit : NONE;
    }

    void fill_part(const float* weight, std::size_t row, std::size_t k, unsigned char* out, std::size_t wide,
                   std::size_t at, int part) const {
        if (k == 0) return;
        const float* own = weight + row * k;
        float* floats = reinterpret_cast<float*>(out);
        if (m_.storage == Storage::float32) {
            float* w = floats + wide * (1 + (part ? m_.k1 : 0)) + at;
            for (std::size_t j = 0; j < k; ++j) w[j * wide] = own[j];
        } else if (m_.storage == Storage::bfloat16) {
            // Vectors 2n and 2n + 1 are the high and low halves of the words of vector n.
            const std::size_t vector = at / lanes_, lane = at % lanes_;
            std::uint32_t* w = reinterpret_cast<std::uint32_t*>(floats + wide) + (part ? m_.k1 : 0) * (wide / 2) +
                               vector / 2 * lanes_ + lane;
            const int shift = vector % 2 ? 0 : 16;
            for (std::size_t j = 0; j < k; ++j) w[j * (wide / 2)] |= std::uint32_t{to_bfloat16(own[j])} << shift;
        } else if (m_.storage == Storage::paired) {
            std::uint32_t* w =
                reinterpret_cast<std::uint32_t*>(floats) + wide * (1 + (part ? (m_.k1 + 1) / 2 : 0)) + at;
            for (std::size_t j = 0; j < k; ++j)
                w[j / 2 * wide] |= std::uint32_t{to_bfloat16(own[j])} << (j % 2 ? 16 : 0);
        } else {
            const Quantised quantised(own, k);
            floats[wide * (1 + part) + at] = quantised.scale;
            std::int32_t total = 0;
            unsigned char* w = out + wide * 4 * (5 + (part ? (m_.k1 + 3) / 4 : 0)) + at * 4;
            for (std::size_t j = 0; j < k; ++j) {
                const int q = quantised(own[j]);
                total += q;
                w[j / 4 * wide * 4 + j % 4] = static_cast<unsigned char>(static_cast<signed char>(q));
            }
            reinterpret_cast<std::int32_t*>(out)[wide * (3 + part) + at] = 128 * total;
        }
    }

    const Matrix& m_;
    const Rows& rows_;
    std::size_t lanes_;
};

}  // namespace

Packed pack(std::size_t outputs, std::size_t gates, std::size_t k1, std::size_t k2, const Rows& rows, Storage storage,
            std::size_t lanes) {
    Packed packed;
    packed.matrix = Matrix{nullptr, 0, k1, k2, outputs, gates, storage};
    const std::size_t vectors = (outputs + lanes - 1) / lanes;
    const bool even = storage == Storage::bfloat16;
    if (gates > 1) {
        const std::uint32_t width =
            storage == Storage::float32 || storage == Storage::paired ? static_cast<std::uint32_t>(gates) : 4;
        for (std::size_t first = 0; first < vectors; first += 2)
            packed.blocks.push_back({nullptr, static_cast<std::uint32_t>(first), vectors - first > 1 ? 2u : 1u, width});
    } else {
        for (std::size_t first = 0; first < vectors;) {
            const std::size_t left = vectors - first;
            const std::uint32_t groups = left >= 8 ? 2 : 1;
            const std::uint32_t width = left >= 3 ? 4 : left == 2 || even ? 2 : 1;
            packed.blocks.push_back({nullptr, static_cast<std::uint32_t>(first), groups, width});
            first += std::size_t{groups} * width;
        }
    }
    const Packer packer(packed.matrix, rows, lanes);
    std::size_t total = 0;
    for (const Block& block : packed.blocks) {
        const std::size_t bytes = round_up(packer.bytes(block), 64);
        if (__builtin_add_overflow(total, bytes, &total)) throw std::bad_alloc();
    }
    packed.memory = Buffer(total);
    unsigned char* at = packed.memory.data();
    for (Block& block : packed.blocks) {
        block.data = at;
        packer.fill(block, at);
        at += round_up(packer.bytes(block), 64);
    }
    packed.matrix.blocks = packed.blocks.data();
    packed.matrix.count = packed.blocks.size();
    return packed;
}

Buffer pack_gates(const float* values, std::size_t size, std::size_t gates, std::size_t width, std::size_t lanes) {
    const std::size_t vectors = (size + lanes - 1) / lanes;
    Buffer packed(product(vectors, width * lanes, sizeof(float)));
    if (values == nullptr) return packed;
    for (std::size_t gate = 0; gate < gates; ++gate)
        for (std::size_t unit = 0; unit < size; ++unit)
            packed.floats()[((unit / lanes) * width + gate) * lanes + unit % lanes] = values[gate * size + unit];
    return packed;
}

}  // namespace carrousel
