#include "architecture.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <set>
#include <span>

#include "json.h"

namespace carrousel {

namespace {

constexpr std::size_t tensor_limit = 100'000;  // of a whole network; bounds what a small file can make of the memory

[[noreturn]] void fail(const std::string& where, const std::string& problem) { throw Error(where + ": " + problem); }

[[noreturn]] void refuse(const std::string& where, const std::string& wanted, const Json& got) {
    fail(where, "expected " + wanted + ", got " + describe(got));
}

// How a key of a layer is read: as a size, as true or false, or in a way of its own.
struct Field {
    const char* name;
    bool required = false;
    std::size_t Layer::*size = nullptr;
    std::size_t minimum = 1;
    bool Layer::*flag = nullptr;
    void (*other)(Layer&, const Json&, const std::string& where) = nullptr;
    const char* words = "";  // of `other`, what it admits
};

void read_name(Layer& layer, const Json& value, const std::string& where) {
    if (value.type != Json::Type::string) refuse(where, "a string", value);
    layer.name = value.text;
}

constexpr std::pair<const char*, Activation> activations[] = {
    {"relu", Activation::relu},
    {"tanh", Activation::tanh},
    {"silu", Activation::silu},
    {"sigmoid", Activation::sigmoid},
};

void read_activation(Layer& layer, const Json& value, const std::string& where) {
    if (value.type == Json::Type::null) return;
    for (auto [name, activation] : activations) {
        if (value.type == Json::Type::string && value.text == name) {
            layer.activation = activation;
            return;
        }
    }
    refuse(where, "one of 'relu', 'tanh', 'silu', 'sigmoid' or null", value);
}

void read_zoneout(Layer& layer, const Json& value, const std::string& where) {
    if (value.type != Json::Type::array || value.items.size() != 2) refuse(where, "a list of 2 numbers", value);
    for (std::size_t k = 0; k < 2; ++k) {
        const Json& item = value.items[k];
        if (!item.is_number() || item.number < 0 || item.number > 1) {
            refuse(where + "[" + std::to_string(k) + "]", "a number of at least 0 and of at most 1", item);
        }
    }
    layer.zoneout_h = value.items[0].number;
    layer.zoneout_c = value.items[1].number;
}

constexpr Field name_field{.name = "name", .required = true, .other = read_name, .words = "a string"};

constexpr Field scale_fields[] = {
    name_field,
    {.name = "size", .required = true, .size = &Layer::input_size},
};
constexpr Field embedding_fields[] = {
    name_field,
    {.name = "num_embeddings", .required = true, .size = &Layer::input_size},
    {.name = "embedding_dim", .required = true, .size = &Layer::output_size},
};
constexpr Field linear_fields[] = {
    name_field,
    {.name = "input_size", .required = true, .size = &Layer::input_size},
    {.name = "output_size", .required = true, .size = &Layer::output_size},
    {.name = "bias", .flag = &Layer::bias},
    {.name = "activation", .other = read_activation},
};
constexpr Field lstm_fields[] = {
    name_field,
    {.name = "input_size", .required = true, .size = &Layer::input_size},
    {.name = "hidden_size", .required = true, .size = &Layer::hidden_size},
    {.name = "num_layers", .size = &Layer::num_layers},
    {.name = "bias", .flag = &Layer::bias},
    {.name = "bidirectional", .flag = &Layer::bidirectional},
    {.name = "reverse", .flag = &Layer::reverse},
    {.name = "proj_size", .size = &Layer::proj_size, .minimum = 0},
    {.name = "peephole", .flag = &Layer::peephole},
    {.name = "coupled", .flag = &Layer::coupled},
    {.name = "layer_norm", .flag = &Layer::layer_norm},
    {.name = "zoneout", .other = read_zoneout},
    {.name = "trainable_state", .flag = &Layer::trainable_state},
};

struct KindOf {
    const char* name;
    Kind kind;
    std::span<const Field> fields;
};
constexpr KindOf kinds[] = {
    {"scale", Kind::scale, scale_fields},
    {"embedding", Kind::embedding, embedding_fields},
    {"linear", Kind::linear, linear_fields},
    {"lstm", Kind::lstm, lstm_fields},
};

const KindOf& kind_of(Kind kind) {
    return *std::find_if(std::begin(kinds), std::end(kinds), [&](const KindOf& one) { return one.kind == kind; });
}

std::string at_least(std::size_t minimum) { return "an integer of at least " + std::to_string(minimum); }

void read_field(Layer& layer, const Field& field, const Json& value, const std::string& where) {
    if (field.size) {
        if (value.type != Json::Type::integer || value.integer < static_cast<std::int64_t>(field.minimum) ||
            static_cast<std::uint64_t>(value.integer) > std::numeric_limits<std::size_t>::max()) {
            refuse(where, at_least(field.minimum), value);
        }
        layer.*field.size = static_cast<std::size_t>(value.integer);
    } else if (field.flag) {
        if (value.type != Json::Type::boolean) refuse(where, "true or false", value);
        layer.*field.flag = value.boolean;
    } else {
        field.other(layer, value, where);
    }
}

template <typename Items>
std::vector<std::string> names_of(const Items& items) {
    std::vector<std::string> names;
    for (const auto& item : items) names.emplace_back(item.name);
    return names;
}

Layer read_layer(const Json& data, const std::string& where) {
    const Json* kind = data.type == Json::Type::object ? data.find("kind") : nullptr;
    if (!kind || kind->type != Json::Type::string) refuse(where, "an object with a string 'kind'", data);
    auto one = std::find_if(std::begin(kinds), std::end(kinds), [&](const KindOf& k) { return k.name == kind->text; });
    if (one == std::end(kinds)) {
        fail(where, "kind: unknown kind " + quote(kind->text) + "; " + nearest(kind->text, names_of(kinds)));
    }
    std::vector<const Field*> found;
    for (const std::string& key : data.keys) {
        auto field =
            std::find_if(one->fields.begin(), one->fields.end(), [&](const Field& f) { return f.name == key; });
        if (field != one->fields.end()) {
            found.push_back(&*field);
        } else if (key == "kind") {
            found.push_back(nullptr);
        } else {
            fail(where, "unknown key " + quote(key) + "; " + nearest(key, names_of(one->fields)));
        }
    }
    for (const Field& field : one->fields) {
        if (field.required && !data.find(field.name)) {
            fail(where,
                 "missing key " + quote(field.name) + ", " + (field.size ? at_least(field.minimum) : field.words));
        }
    }
    Layer layer;
    layer.kind = one->kind;
    for (std::size_t k = 0; k < found.size(); ++k) {
        if (found[k]) read_field(layer, *found[k], data.items[k], where + ": " + found[k]->name);
    }
    if (layer.kind == Kind::scale) layer.output_size = layer.input_size;
    std::string called = where + ": layer " + quote(layer.name);
    if (layer.name.empty() || layer.name.find('.') != std::string::npos) {
        fail(called, "expected a name that is not empty and has no dot");
    }
    if (layer.kind == Kind::lstm && layer.proj_size >= layer.hidden_size) {
        fail(called, "proj_size: expected less than hidden_size=" + std::to_string(layer.hidden_size) + ", got " +
                         std::to_string(layer.proj_size) + "; 0 means no projection");
    }
    if (layer.reverse && layer.bidirectional) {
        fail(called, "reverse: expected false in a bidirectional layer, got true; it runs both ways");
    }
    return layer;
}

std::size_t multiply(std::size_t a, std::size_t b, const std::string& name) {
    if (a && b > std::numeric_limits<std::size_t>::max() / a) {
        fail(name,
             "expected a size that the memory can hold, got " + std::to_string(a) + " times " + std::to_string(b));
    }
    return a * b;
}

std::size_t directions(const Layer& layer) { return layer.bidirectional ? 2 : 1; }

// P: size of h, the projection's when there is one.
std::size_t hidden_width(const Layer& layer) { return layer.proj_size ? layer.proj_size : layer.hidden_size; }

std::size_t width_out(const Layer& layer) {
    return layer.kind == Kind::lstm ? multiply(directions(layer), hidden_width(layer), layer.name) : layer.output_size;
}

void check_stack(const Architecture& architecture, const std::string& name, const std::vector<std::size_t>& stack,
                 const std::string& where) {
    std::string called = where + ": stack " + quote(name);
    if (stack.empty()) fail(called, "expected at least one layer, got none");
    for (std::size_t k = 1; k < stack.size(); ++k) {
        const Layer &before = architecture.layers[stack[k - 1]], &after = architecture.layers[stack[k]];
        if (after.kind == Kind::embedding) {
            fail(called, quote(after.name) + " takes ids and can only stand first, but " + quote(before.name) +
                             " stands before it");
        }
        if (width_out(before) != after.input_size) {
            fail(called, quote(after.name) + " takes " + std::to_string(after.input_size) + " values, but " +
                             quote(before.name) + " before it gives " + std::to_string(width_out(before)));
        }
    }
}

void read_stacks(Architecture& architecture, const Json* data, const std::string& where) {
    if (data && data->type != Json::Type::object) refuse(where + ": stacks", "an object", *data);
    std::map<std::string, std::size_t> index;
    for (std::size_t k = 0; k < architecture.layers.size(); ++k) {
        const std::string& name = architecture.layers[k].name;
        if (!index.emplace(name, k).second) {
            fail(where, "layers: expected a name of its own for each, got " + quote(name) + " twice");
        }
    }
    if (!data || data->items.empty()) {
        std::vector<std::size_t> all(architecture.layers.size());
        for (std::size_t k = 0; k < all.size(); ++k) all[k] = k;
        architecture.stacks.emplace_back("main", all);
    }
    for (std::size_t k = 0; data && k < data->items.size(); ++k) {
        const Json& names = data->items[k];
        std::string at = where + ": stacks." + data->keys[k].substr(0, 60);
        if (names.type != Json::Type::array) refuse(at, "a list, each item a string", names);
        std::vector<std::size_t> stack;
        for (std::size_t n = 0; n < names.items.size(); ++n) {
            const Json& item = names.items[n];
            if (item.type != Json::Type::string) refuse(at + "[" + std::to_string(n) + "]", "a string", item);
            auto found = index.find(item.text);
            if (found == index.end()) {
                fail(where, "stack " + quote(data->keys[k]) + ": unknown layer " + quote(item.text) + "; " +
                                nearest(item.text, names_of(architecture.layers)));
            }
            stack.push_back(found->second);
        }
        architecture.stacks.emplace_back(data->keys[k], std::move(stack));
    }
    for (const auto& [name, stack] : architecture.stacks) check_stack(architecture, name, stack, where);
}

std::string shape_text(const std::vector<std::size_t>& shape) {
    std::string text = "(";
    for (std::size_t k = 0; k < shape.size(); ++k) text += (k ? ", " : "") + std::to_string(shape[k]);
    return text + (shape.size() == 1 ? ",)" : ")");
}

// Why a shape is expected: the sizes that the tensor's layer was declared with.
std::string sizes_text(const Architecture& architecture, const std::string& tensor) {
    std::string name = tensor.substr(0, tensor.find('.'));
    for (const Layer& layer : architecture.layers) {
        if (layer.name != name) continue;
        std::string text;
        for (const Field& field : kind_of(layer.kind).fields) {
            if (!field.size) continue;
            text += (text.empty() ? "" : ", ") + std::string(field.name) + "=" + std::to_string(layer.*field.size);
        }
        return "layer " + quote(name) + " has " + text;
    }
    return "";
}

void lstm_tensors(const Layer& layer, const std::function<void(const std::string&, std::vector<std::size_t>)>& add) {
    std::size_t size = layer.hidden_size, out = hidden_width(layer);
    std::size_t gates = multiply(layer.coupled ? 3 : 4, size, layer.name);
    std::vector<std::string> endings = suffixes(layer);
    for (std::size_t row = 0; row < endings.size(); ++row) {
        const std::string& s = endings[row];
        add("weight_ih" + s, {gates, row < directions(layer) ? layer.input_size : width_out(layer)});
        add("weight_hh" + s, {gates, out});
        if (layer.bias) {
            add("bias_ih" + s, {gates});
            add("bias_hh" + s, {gates});
        }
        if (layer.proj_size) add("weight_hr" + s, {out, size});
        if (layer.peephole) add("weight_ch" + s, {gates - size});
        if (layer.layer_norm) {
            add("gain_ih" + s, {gates});
            add("gain_hh" + s, {gates});
            add("gain_c" + s, {size});
            if (layer.bias) add("bias_c" + s, {size});
        }
    }
    if (layer.trainable_state) {
        add("h_0", {endings.size(), out});
        add("c_0", {endings.size(), size});
    }
}

}  // namespace

std::vector<std::string> suffixes(const Layer& layer) {
    if (layer.num_layers > tensor_limit / 2) {
        fail("layer " + quote(layer.name), "num_layers: expected an integer of at most " +
                                               std::to_string(tensor_limit / 2) + ", got " +
                                               std::to_string(layer.num_layers));
    }
    std::vector<std::string> endings;
    for (std::size_t k = 0; k < layer.num_layers; ++k) {
        endings.push_back("_l" + std::to_string(k));
        if (layer.bidirectional) endings.push_back("_l" + std::to_string(k) + "_reverse");
    }
    return endings;
}

Shapes expected_tensors(const Architecture& architecture) {
    Shapes shapes;
    for (const Layer& layer : architecture.layers) {
        auto add = [&](const std::string& tensor, std::vector<std::size_t> shape) {
            std::string name = layer.name + "." + tensor;
            std::size_t bytes = sizeof(float);
            for (std::size_t size : shape) bytes = multiply(bytes, size, name);
            shapes.emplace(std::move(name), std::move(shape));
            if (shapes.size() > tensor_limit) {
                fail("layers", "expected a network of at most " + std::to_string(tensor_limit) + " tensors, got more");
            }
        };
        switch (layer.kind) {
            case Kind::scale:
                add("weight", {layer.input_size});
                add("bias", {layer.input_size});
                break;
            case Kind::embedding: add("weight", {layer.input_size, layer.output_size}); break;
            case Kind::linear:
                add("weight", {layer.output_size, layer.input_size});
                if (layer.bias) add("bias", {layer.output_size});
                break;
            case Kind::lstm: lstm_tensors(layer, add); break;
        }
    }
    return shapes;
}

Architecture parse_architecture(const std::string& json, const std::string& where) {
    return parse_architecture(parse_json(json, where), where);
}

Architecture parse_architecture(const Json& data, const std::string& where) {
    bool only_layers = data.type == Json::Type::array;
    if (!only_layers && data.type != Json::Type::object) refuse(where, "an object", data);
    for (const std::string& key : data.keys) {
        if (key != "layers" && key != "stacks") {
            fail(where, "unknown key " + quote(key) + "; " + nearest(key, {"layers", "stacks"}));
        }
    }
    const Json* layers = only_layers ? &data : data.find("layers");
    if (!layers) fail(where, "missing key 'layers', a list, each item an object");
    if (layers->type != Json::Type::array) refuse(where + ": layers", "a list, each item an object", *layers);
    Architecture architecture;
    for (std::size_t k = 0; k < layers->items.size(); ++k) {
        architecture.layers.push_back(read_layer(layers->items[k], where + ": layers[" + std::to_string(k) + "]"));
    }
    read_stacks(architecture, data.find("stacks"), where);
    return architecture;
}

void check_shapes(const Architecture& architecture, const Tensors& tensors, const std::string& where) {
    Shapes expected = expected_tensors(architecture);
    for (const auto& [name, shape] : expected) {
        if (!tensors.contains(name)) fail(where, "missing tensor " + quote(name) + ", expected " + shape_text(shape));
    }
    for (const auto& [name, tensor] : tensors) {
        auto found = expected.find(name);
        if (found == expected.end()) {
            std::vector<std::string> names;
            for (const auto& entry : expected) names.push_back(entry.first);
            fail(where, "unknown tensor " + quote(name) + "; " + nearest(name, std::move(names)));
        }
        if (tensor.shape != found->second) {
            fail(where, name + ": expected " + shape_text(found->second) + ", got " + shape_text(tensor.shape) + "; " +
                            sizes_text(architecture, name));
        }
    }
}

void check_tensors(const Architecture& architecture, const Tensors& tensors, const std::string& where) {
    check_shapes(architecture, tensors, where);
    for (const auto& [name, tensor] : tensors) {
        std::size_t size = 1, bad = 0;
        for (std::size_t extent : tensor.shape) size *= extent;
        for (std::size_t k = 0; k < size; ++k) {
            std::uint32_t bits;
            std::memcpy(&bits, tensor.data + k, sizeof bits);
            bad += (bits & 0x7F800000U) == 0x7F800000U;
        }
        if (bad) {
            fail(where, name + ": expected finite values, got " + std::to_string(bad) + " of " + std::to_string(size) +
                            " NaN or infinite");
        }
    }
}

}  // namespace carrousel
