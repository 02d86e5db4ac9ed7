// A saved model as carrousel.artifact (Python) writes it: a folder with config.json and model.safetensors.
//
// Everything that the engine uses is validated as Python does, and the weights' checksum with it. Not read: the model
// card, the context of the task, and the checksum of config.json itself, which is taken over Python's own way of
// writing JSON.
#pragma once

#include <string>
#include <string_view>

#include "architecture.h"
#include "safetensors.h"

namespace carrousel {

struct Artifact {
    std::string task;
    Architecture architecture;
    Weights weights;
};

// Throws Error for a folder that is missing, damaged, hostile or too new.
Artifact load_artifact(const std::string& folder);

// The same from memory; where: how config.json and model.safetensors are called in messages.
struct Config {
    std::string task;
    Architecture architecture;
    std::string weights_checksum;
};
Config parse_config(std::string_view json, const std::string& where);
Weights read_weights(Source& source, const Architecture& architecture, const std::string& where);

}  // namespace carrousel
