// A linear layer: the product, and an activation of what comes out.
#pragma once

#include "kernel_product.h"

namespace carrousel {
namespace {

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

}  // namespace
}  // namespace carrousel
