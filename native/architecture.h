// A network as plain data, the C++ twin of src/carrousel/architecture.py: what config.json says, and the tensors it
// asks for.
#pragma once

#include <cstddef>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace carrousel {

struct Json;  // json.h

// Every error that the engine raises on purpose; says where, what was expected, what was got, what to do.
struct Error : std::runtime_error {
    using std::runtime_error::runtime_error;
};

enum class Kind { scale, embedding, linear, lstm };
enum class Activation { none, relu, tanh, silu, sigmoid };

struct Layer {
    Kind kind = Kind::linear;
    std::string name;
    std::size_t input_size = 0;                // scale: its size; embedding: the number of ids
    std::size_t output_size = 0;               // scale: its size; embedding: the width of a vector; lstm: unused
    bool bias = true;                          // linear, lstm
    Activation activation = Activation::none;  // linear
    // lstm
    std::size_t hidden_size = 0;
    std::size_t num_layers = 1;
    std::size_t proj_size = 0;  // 0: no projection
    bool bidirectional = false;
    bool reverse = false;  // every layer runs from the last step to the first
    bool peephole = false;
    bool coupled = false;
    bool layer_norm = false;
    bool trainable_state = false;
    double zoneout_h = 0.0;
    double zoneout_c = 0.0;
};

struct Architecture {
    std::vector<Layer> layers;
    // Name of each stack, and the indices of its layers in order.
    std::vector<std::pair<std::string, std::vector<std::size_t>>> stacks;
};

// float32, C order; the memory belongs to whoever made it and must outlive the use.
struct Tensor {
    const float* data = nullptr;
    std::vector<std::size_t> shape;
};
using Tensors = std::map<std::string, Tensor>;
using Shapes = std::map<std::string, std::vector<std::size_t>>;

// The endings of an LSTM's parameter names in the order of its state's rows: "_l0", "_l0_reverse", "_l1", ...
std::vector<std::string> suffixes(const Layer& layer);

// Shape of every tensor as {layer}.{tensor}; throws Error where a size would overflow.
Shapes expected_tensors(const Architecture& architecture);

// From the JSON of Architecture.to_data(); every key is validated, unknown ones are refused.
Architecture parse_architecture(const std::string& json, const std::string& where);
Architecture parse_architecture(const Json& data, const std::string& where);

// Throws Error unless the tensors are exactly those that the architecture asks for, and finite.
void check_tensors(const Architecture& architecture, const Tensors& tensors, const std::string& where);

// The part of check_tensors that needs no values: the data may be null.
void check_shapes(const Architecture& architecture, const Tensors& tensors, const std::string& where);

}  // namespace carrousel
