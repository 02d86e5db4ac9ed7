// A network ready for inference, and the state of many independent streams through it. No exceptions cross step and
// run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "architecture.h"

namespace carrousel {

enum class Dtype { float32, bfloat16, int8 };

class Session;

// Weights packed once for one instruction set, then never changed; shared by any number of sessions and threads.
class Model {
public:
    // isa: name of an instruction set of isa.h, or empty for the best one here. Tensors are copied.
    Model(const Architecture& architecture, const Tensors& tensors, Dtype dtype, const std::string& isa);
    ~Model();
    Model(const Model&) = delete;
    Model& operator=(const Model&) = delete;

    const Architecture& architecture() const;
    const char* isa() const;
    Dtype dtype() const;
    std::size_t packed_bytes() const;

    struct Impl;
    const Impl& impl() const { return *impl_; }

private:
    std::unique_ptr<Impl> impl_;
};

// One recurrent layer's state: rows is num_layers · directions; row r of stream n starts at data + (r · batch + n) ·
// stride.
struct StateView {
    std::string name;  // "{layer}.h" or "{layer}.c"
    float* data;
    std::size_t rows, size, stride;  // size values are real, stride - size are padding
};

// Where a trace goes: arrays of (steps, num_layers · directions, batch, size), zeroed by the caller; one for each LSTM.
struct TraceTarget {
    float *i, *f, *g, *o, *c, *h;
};

class Session {
public:
    // stack: index into architecture().stacks. threads: at most this many work on one call.
    Session(std::shared_ptr<const Model> model, std::size_t batch, std::size_t threads = 1);
    ~Session();
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    std::size_t batch() const;
    const std::shared_ptr<const Model>& model() const;

    // x: float32 (N, H_in), or int32 ids (N,) where the stack starts with an embedding. y: float32 (N, H_out).
    // Row strides are in values. The caller has checked ids, and that the stack has no bidirectional layer.
    // Allocates nothing, locks nothing, throws nothing.
    void step(std::size_t stack, const void* x, std::size_t x_stride, float* y, std::size_t y_stride) noexcept;

    // x: (N, L, H_in) or ids (N, L); lengths: N values from 0 to L or null; y: (N, L, H_out), contiguous, 0 beyond a
    // length. traces: one for each layer of the architecture (entries of layers that are no LSTM of the stack are
    // unused), or null. Throws std::bad_alloc where there is no memory for the scratch; nothing has changed then.
    void run(std::size_t stack, const void* x, std::size_t steps, const std::size_t* lengths, float* y,
             const TraceTarget* traces);

    void reset(const std::size_t* rows, std::size_t count);  // rows null: all
    std::unique_ptr<Session> fork(const std::size_t* rows, std::size_t count) const;
    // The first rows of this one, and fresh ones behind them.
    std::unique_ptr<Session> resized(std::size_t batch) const;
    std::vector<StateView> state();

    struct Impl;

private:
    void take(const Session& other, const std::size_t* rows, std::size_t count);

    std::unique_ptr<Impl> impl_;
};

// Widths of a stack: 0 in where it takes ids.
struct StackWidths {
    std::size_t in, out;
    bool ids, whole;  // whole: has a layer that runs backwards in time, so that it needs run
};
StackWidths stack_widths(const Architecture& architecture, std::size_t stack);

}  // namespace carrousel
