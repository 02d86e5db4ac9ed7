#include "random.h"

#include <stdlib.h>

#include <cstring>
#include <fstream>

#include "sha256.h"

using namespace carrousel;

Network fill(const Architecture& architecture, Random& random) {
    Network network{architecture, {}, {}};
    for (const auto& [name, shape] : expected_tensors(architecture)) {
        std::size_t size = 1;
        for (std::size_t extent : shape) size *= extent;
        network.memory.push_back(random.values(size));
        network.tensors[name] = {network.memory.back().data(), shape};
    }
    return network;
}

static Layer random_lstm(Random& random, std::size_t width, std::size_t number) {
    Layer layer;
    layer.kind = Kind::lstm;
    layer.name = "lstm" + std::to_string(number);
    layer.input_size = width;
    layer.hidden_size = 1 + random.below(random.flip() ? 6 : 70);
    layer.num_layers = 1 + random.below(3);
    layer.bias = random.below(4) != 0;
    layer.proj_size = random.below(4) == 0 ? random.below(layer.hidden_size) : 0;
    layer.bidirectional = random.below(5) == 0;
    layer.reverse = !layer.bidirectional && random.below(8) == 0;
    layer.peephole = random.below(3) == 0;
    layer.coupled = random.below(3) == 0;
    layer.layer_norm = random.below(3) == 0;
    layer.trainable_state = random.below(3) == 0;
    layer.zoneout_h = random.below(3) == 0 ? 0.1 : 0.0;
    layer.zoneout_c = random.below(3) == 0 ? 0.2 : 0.0;
    return layer;
}

Network random_network(Random& random) {
    Architecture architecture;
    auto& layers = architecture.layers;
    std::size_t width = 1 + random.below(random.flip() ? 5 : 40);
    if (std::size_t first = random.below(4); first < 2) {
        Layer layer;
        layer.kind = first ? Kind::scale : Kind::embedding;
        layer.name = "first";
        layer.input_size = first ? width : 1 + random.below(20);
        layer.output_size = width;
        layers.push_back(layer);
    }
    for (std::size_t k = 0, count = 1 + random.below(2); k < count; ++k) {
        layers.push_back(random_lstm(random, width, k));
        const Layer& last = layers.back();
        width = (last.bidirectional ? 2 : 1) * (last.proj_size ? last.proj_size : last.hidden_size);
    }
    if (random.flip()) {
        Layer layer;
        layer.kind = Kind::linear;
        layer.name = "head";
        layer.input_size = width;
        layer.output_size = 1 + random.below(20);
        layer.bias = random.flip();
        layer.activation = static_cast<Activation>(random.below(5));
        layers.push_back(layer);
    }
    std::vector<std::size_t> all;
    for (std::size_t k = 0; k < layers.size(); ++k) all.push_back(k);
    architecture.stacks.emplace_back("main", all);
    return fill(architecture, random);
}

std::string architecture_text(const Architecture& architecture) {
    static const char* const activations[] = {"null", "\"relu\"", "\"tanh\"", "\"silu\"", "\"sigmoid\""};
    auto flag = [](bool value) { return std::string(value ? "true" : "false"); };
    std::string text;
    for (const Layer& layer : architecture.layers) {
        std::string in = std::to_string(layer.input_size), out = std::to_string(layer.output_size);
        text += (text.empty() ? "{\"name\": \"" : ", {\"name\": \"") + layer.name + "\", ";
        switch (layer.kind) {
            case Kind::scale: text += "\"kind\": \"scale\", \"size\": " + in; break;
            case Kind::embedding:
                text += "\"kind\": \"embedding\", \"num_embeddings\": " + in + ", \"embedding_dim\": " + out;
                break;
            case Kind::linear:
                text += "\"kind\": \"linear\", \"input_size\": " + in + ", \"output_size\": " + out +
                        ", \"bias\": " + flag(layer.bias) +
                        ", \"activation\": " + activations[static_cast<int>(layer.activation)];
                break;
            case Kind::lstm:
                text += "\"kind\": \"lstm\", \"input_size\": " + in +
                        ", \"hidden_size\": " + std::to_string(layer.hidden_size) +
                        ", \"num_layers\": " + std::to_string(layer.num_layers) +
                        ", \"proj_size\": " + std::to_string(layer.proj_size) + ", \"bias\": " + flag(layer.bias) +
                        ", \"bidirectional\": " + flag(layer.bidirectional) + ", \"reverse\": " + flag(layer.reverse) +
                        ", \"peephole\": " + flag(layer.peephole) + ", \"coupled\": " + flag(layer.coupled) +
                        ", \"layer_norm\": " + flag(layer.layer_norm) +
                        ", \"trainable_state\": " + flag(layer.trainable_state) + ", \"zoneout\": [" +
                        std::to_string(layer.zoneout_h) + ", " + std::to_string(layer.zoneout_c) + "]";
                break;
        }
        text += "}";
    }
    std::string stacks;
    for (const auto& [name, stack] : architecture.stacks) {
        std::string names;
        for (std::size_t k : stack) names += (names.empty() ? "\"" : ", \"") + architecture.layers[k].name + "\"";
        stacks += (stacks.empty() ? "\"" : ", \"") + name + "\": [" + names + "]";
    }
    return "{\"layers\": [" + text + "], \"stacks\": {" + stacks + "}}";
}

std::string safetensors_bytes(const Network& network) {
    std::string header = "{\"__metadata__\": {\"format\": \"pt\"}", data;
    for (const auto& [name, tensor] : network.tensors) {
        std::size_t size = 1;
        std::string shape;
        for (std::size_t extent : tensor.shape) {
            size *= extent;
            shape += (shape.empty() ? "" : ",") + std::to_string(extent);
        }
        std::string begin = std::to_string(data.size());
        data.append(reinterpret_cast<const char*>(tensor.data), size * sizeof(float));
        header += ", \"" + name + "\": {\"dtype\": \"F32\", \"shape\": [" + shape + "], \"data_offsets\": [" + begin +
                  ", " + std::to_string(data.size()) + "]}";
    }
    header += "}";
    header.resize((header.size() + 7) / 8 * 8, ' ');
    std::string bytes;
    for (int k = 0; k < 8; ++k) bytes.push_back(static_cast<char>(header.size() >> (8 * k) & 255U));
    return bytes + header + data;
}

std::string config_text(const Network& network, const std::string& checksum) {
    return "{\"format_version\": 1, \"carrousel_version\": \"0\", \"model_type\": \"carrousel\", \"architectures\": "
           "[\"A\"],"
           " \"task\": \"forecast\", \"settings\": {}, \"statistics\": {}, \"checksums\": {\"model.safetensors\": \"" +
           checksum + "\"}, \"architecture\": " + architecture_text(network.architecture) + "}";
}

Folder::Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "carrousel-test-XXXXXX").string();
    if (!mkdtemp(name.data())) throw Error("no temporary folder");
    path_ = std::filesystem::canonical(name);
}

Folder::~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
}

void write_file(const std::string& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }

void save(const Network& network, const Folder& folder) {
    std::string bytes = safetensors_bytes(network);
    Sha256 checksum;
    checksum.update(bytes.data(), bytes.size());
    write_file(folder / "model.safetensors", bytes);
    write_file(folder / "config.json", config_text(network, checksum.hex()));
}
