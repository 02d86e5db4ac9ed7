// A reader of safetensors files of float32: https://github.com/huggingface/safetensors#format
#pragma once

#include <cstddef>
#include <functional>
#include <string>

#include "architecture.h"
#include "buffer.h"

namespace carrousel {

// Where bytes come from, in order.
class Source {
public:
    virtual ~Source() = default;
    virtual std::size_t size() const = 0;
    virtual void read(void* to, std::size_t count) = 0;  // throws Error where there are fewer
};

// The tensors of a file, in memory of their own.
struct Weights {
    Buffer buffer;
    Tensors tensors;
    std::string checksum;  // SHA-256 of the whole file
};

// Throws Error for what is no such file, and for other types than float32. Sizes are checked before any is believed,
// and `check` sees the tensors, their data still null, before memory for them is asked for; it refuses by throwing.
Weights read_safetensors(Source& source, const std::string& where, const std::function<void(const Tensors&)>& check);

}  // namespace carrousel
