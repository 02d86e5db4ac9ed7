// How values pass through a stack: rows in groups that stay in the caches, a block of time steps at a time, layer by
// layer.
#include <algorithm>
#include <cstring>
#include <numeric>

#include "crew.h"
#include "denormal.h"
#include "network.h"
#include "state.h"
#include "worker.h"

namespace carrousel {
namespace {

// Rows that pass through all layers together, a multiple of a tile's: as many as lie in the caches beside the weights
// of a tile. More of them where the weights come from a cache that is shared, which they then pass half as often.
constexpr std::size_t GROUP = 48, LARGE_GROUP = 96;
constexpr std::size_t LARGE = 6 << 20;           // bytes of a cell's weights
constexpr std::size_t BLOCK_FLOATS = 32 * 1024;  // of the widest layer that a block of steps holds at once: 128 KiB
constexpr std::size_t DRIVE_FLOATS = 64 * 1024;  // of what its inputs add to the gates, which is read once and in order

constexpr std::size_t SECOND_LEVEL = 1 << 20;       // bytes of the cache that large weights do not fit into
constexpr std::size_t SHARED_PRODUCTS = 64 * 1024;  // of one gate: the meeting after a step costs about a microsecond

// Where the values of one call lie; distances in values.
struct Call {
    const void* x;
    std::size_t x_row, x_time;
    float* y;
    std::size_t y_row, y_time;
    std::size_t steps;
    const std::size_t* lengths;  // of each stream, or null: all steps
    const std::size_t* order;    // streams, longest first, or null: as they come
    const TraceTarget* traces;

    std::size_t stream(std::size_t k) const { return order == nullptr ? k : order[k]; }
    std::size_t length(std::size_t stream) const { return lengths == nullptr ? steps : lengths[stream]; }
};

Gate gate_of(Activation activation) {
    switch (activation) {
        case Activation::relu: return Gate::relu;
        case Activation::tanh: return Gate::tanh;
        case Activation::silu: return Gate::silu;
        case Activation::sigmoid: return Gate::sigmoid;
        default: return Gate::none;
    }
}

}  // namespace

struct Session::Impl {
    std::shared_ptr<const Model> model;
    const Model::Impl& network;
    const Kernels& kernels;
    std::size_t batch, group = GROUP;
    std::vector<Memory> memory;  // one a layer
    std::vector<Worker> workers;
    std::unique_ptr<Crew> crew;  // threads beside the caller's
    bool backwards = false;

    Impl(std::shared_ptr<const Model> shared, std::size_t n, std::size_t threads)
        : model(std::move(shared)), network(model->impl()), kernels(*network.kernels), batch(n), workers(threads) {
        memory = remember(network, batch);
        for (const PackedLayer& layer : network.layers)
            for (const PackedCell& cell : layer.cells)
                if (cell.bytes() > LARGE) group = LARGE_GROUP;
        prepare_steps();
        if (threads > 1) crew = std::make_unique<Crew>(threads - 1);
    }

    // Every step that may come finds its memory ready.
    void prepare_steps() {
        for (std::size_t stack = 0; stack < network.architecture.stacks.size(); ++stack) {
            const Plan wanted = plan(stack, 1);
            for (Worker& worker : workers) worker.prepare(wanted);
        }
    }

    std::size_t rows_at_once() const {
        if (batch <= static_cast<std::size_t>(kernels.rows)) return batch;  // one tile: see shares_blocks
        const std::size_t share = (batch + workers.size() - 1) / workers.size(), groups = (share + group - 1) / group;
        return (share + groups - 1) / groups;
    }

    Plan plan(std::size_t stack, std::size_t steps) const {
        Plan wanted;
        wanted.rows = rows_at_once();
        std::size_t widest = 16, drive = 0;
        bool whole = false;
        for (std::size_t k : network.architecture.stacks[stack].second) {
            const PackedLayer& layer = network.layers[k];
            widest = std::max(widest, round_up(layer.width(), 16));
            whole |= layer.layer->bidirectional || layer.layer->reverse;
            for (const PackedCell& cell : layer.cells) drive = std::max(drive, kernels.drive_size(cell.cell));
        }
        // Few rows leave a tile half empty, which the steps of a block fill.
        const bool driven = wanted.rows < static_cast<std::size_t>(kernels.rows) && steps > 1 && drive > 0;
        wanted.width = widest;
        const Layer& front = *network.layers[network.architecture.stacks[stack].second.front()].layer;
        if (steps > 1 && wanted.rows > 1 && front.kind != Kind::embedding) wanted.in = round_up(front.input_size, 16);
        wanted.drive = driven ? drive : 0;
        const std::size_t tile = static_cast<std::size_t>(kernels.rows);
        std::size_t fitting = BLOCK_FLOATS / (wanted.rows * widest);
        if (driven) fitting = std::min(fitting, DRIVE_FLOATS / (wanted.rows * drive));
        wanted.steps = whole ? steps : std::min(steps, std::clamp<std::size_t>(fitting / tile * tile, tile, 16 * tile));
        wanted.cells = product(wanted.rows, std::max<std::size_t>(wanted.steps, 1));
        for (std::size_t k : network.architecture.stacks[stack].second) {
            const PackedLayer& layer = network.layers[k];
            if (layer.layer->kind == Kind::linear)
                wanted.scratch = std::max(wanted.scratch, kernels.dense_scratch(layer.dense.matrix, wanted.cells));
            for (const PackedCell& cell : layer.cells) {
                wanted.scratch = std::max(wanted.scratch, kernels.step_scratch(cell.cell, wanted.rows));
                if (driven) wanted.scratch = std::max(wanted.scratch, kernels.drive_scratch(cell.cell, wanted.cells));
            }
        }
        return wanted;
    }

    // Few rows through a large cell: the threads share its hidden units instead of the rows, and meet after every step.
    bool shares_blocks(const Cell& cell, std::size_t rows) const {
        return crew != nullptr && batch <= rows_at_once() && !cell.norm && cell.projection.outputs == 0 &&
               cell.all.count >= workers.size() && rows * cell.size * (cell.all.k1 + cell.all.k2) >= SHARED_PRODUCTS;
    }

    // A call, its rows shared out among the workers.
    void execute(std::size_t stack, const Call& call, const Plan& wanted) noexcept {
        const std::size_t groups = (batch + wanted.rows - 1) / wanted.rows;
        backwards = !backwards;
        const auto share = [&](std::size_t worker) {
            const FlushDenormals flush;
            for (std::size_t group = worker; group < groups; group += workers.size()) {
                const std::size_t first = group * wanted.rows;
                pass(workers[worker], stack, call, wanted, first, std::min(wanted.rows, batch - first));
            }
        };
        if (crew != nullptr && groups > 1)
            crew->run(share);
        else
            for (std::size_t worker = 0; worker < std::min(workers.size(), groups); ++worker) share(worker);
    }

    // Streams first ... first + rows of the call's order through the stack.
    void pass(Worker& w, std::size_t stack, const Call& call, const Plan& plan, std::size_t first, std::size_t rows) {
        const std::size_t longest = call.length(call.stream(first));
        for (std::size_t from = 0; from < longest; from += plan.steps)
            block(w, stack, call, first, rows, from, std::min(from + plan.steps, longest), plan.drive > 0);
    }

    void block(Worker& w, std::size_t stack, const Call& call, std::size_t first, std::size_t rows, std::size_t from,
               std::size_t to, bool driven) {
        const std::vector<std::size_t>& route = network.architecture.stacks[stack].second;
        std::size_t cells = 0;
        std::size_t live = rows;
        const bool ids = network.layers[route.front()].layer->kind == Kind::embedding;
        for (std::size_t t = from; t < to; ++t) {
            w.start[t - from] = cells;
            while (call.length(call.stream(first + live - 1)) <= t) --live;  // the longest goes on to the end
            for (std::size_t r = 0; r < live; ++r, ++cells) {
                const std::size_t at = call.stream(first + r) * call.x_row + t * call.x_time;
                if (ids) {
                    const PackedLayer& layer = network.layers[route.front()];
                    const std::size_t id = static_cast<std::size_t>(static_cast<const std::int32_t*>(call.x)[at]);
                    w.in[cells] = layer.table.floats() + id * layer.layer->output_size;
                } else {
                    w.in[cells] = static_cast<const float*>(call.x) + at;
                }
            }
        }
        w.start[to - from] = cells;
        if (!ids && rows > 1 && call.steps > 1) {  // for the same reason
            const std::size_t in = network.layers[route.front()].layer->input_size, stride = round_up(in, 16);
            for (std::size_t k = 0; k < cells; ++k) {
                float* own = w.inputs.floats() + k * stride;
                std::memcpy(own, w.in[k], in * sizeof(float));
                w.in[k] = own;
            }
        }

        int next = 0;  // the buffer that the next layer writes to
        const auto outputs = [&](bool last, std::size_t width) {
            if (!last) {
                float* base = w.values[next].floats();
                next = 1 - next;
                for (std::size_t k = 0; k < cells; ++k) w.out[k] = base + k * width;
                return;
            }
            for (std::size_t t = from, k = 0; t < to; ++t)
                for (std::size_t r = 0; k < w.start[t - from + 1]; ++r, ++k)
                    w.out[k] = call.y + call.stream(first + r) * call.y_row + t * call.y_time;
        };
        for (std::size_t n = 0; n < route.size(); ++n) {
            const PackedLayer& layer = network.layers[route[n]];
            const bool last = n + 1 == route.size();
            const std::size_t width = round_up(layer.width(), 16);
            if (layer.layer->kind == Kind::embedding) {
                if (!last) continue;
                outputs(last, width);
                for (std::size_t k = 0; k < cells; ++k) std::memcpy(w.out[k], w.in[k], layer.width() * sizeof(float));
            } else if (layer.layer->kind == Kind::scale) {
                outputs(last, width);
                for (std::size_t k = 0; k < cells; ++k)
                    kernels.scale(w.in[k], layer.weight.floats(), layer.bias.floats(), w.out[k], layer.width());
            } else if (layer.layer->kind == Kind::linear) {
                outputs(last, width);
                kernels.dense(layer.dense.matrix, gate_of(layer.layer->activation), cells, w.in.data(), w.out.data(),
                              w.scratch.floats());
            } else {
                for (std::size_t d = 0; d < layer.cells.size(); d += layer.directions()) {
                    outputs(last && d + layer.directions() == layer.cells.size(), width);
                    for (std::size_t way = 0; way < layer.directions(); ++way)
                        recur(w, route[n], d + way, call, first, rows, from, to, way * layer.out(), driven);
                    if (d + layer.directions() < layer.cells.size())
                        for (std::size_t k = 0; k < cells; ++k) w.in[k] = w.out[k];
                }
            }
            if (!last)
                for (std::size_t k = 0; k < cells; ++k) w.in[k] = w.out[k];
        }
    }

    // One layer and direction of an LSTM over a block of steps: w.in to w.out from `column` on.
    void recur(Worker& w, std::size_t index, std::size_t d, const Call& call, std::size_t first, std::size_t rows,
               std::size_t from, std::size_t to, std::size_t column, bool driven) {
        const PackedLayer& layer = network.layers[index];
        const bool reversed = column > 0 || layer.layer->reverse;
        const Cell& cell = layer.cells[d].cell;
        const Memory& own = memory[index];
        const std::size_t cells = w.start[to - from];
        // Turning round at each step finds the end of the last one still in the cache; where all fits, order is faster.
        const bool large = layer.cells[d].bytes() > SECOND_LEVEL * 3 / 4;
        if (driven) {
            const std::size_t size = kernels.drive_size(cell);
            for (std::size_t k = 0; k < cells; ++k) w.drives[k] = w.drive.floats() + k * size;
            kernels.drive(cell, cells, w.in.data(), w.drives.data(), w.scratch.floats());
        }
        for (std::size_t r = 0; r < rows; ++r) {
            const std::size_t stream = call.stream(first + r);
            w.h[r] = own.h_at(d, stream);
            w.c[r] = own.c_at(d, stream);
        }
        const TraceTarget* target = call.traces == nullptr ? nullptr : call.traces + index;
        for (std::size_t s = from; s < to; ++s) {
            const std::size_t live = w.start[s - from + 1] - w.start[s - from];
            for (std::size_t r = 0; r < live; ++r) {
                const std::size_t stream = call.stream(first + r);
                const std::size_t t = reversed ? call.length(stream) - 1 - s : s;
                const std::size_t k = w.start[t - from] + r;
                w.step_x[r] = w.in[k];
                w.step_y[r] = w.out[k] + column;
                if (driven) w.step_drive[r] = w.drives[k];
                if (target != nullptr) w.trace[r] = trace_row(*target, layer, d, t, stream);
            }
            const bool shared = target == nullptr && shares_blocks(cell, live);
            CellStep step{live,
                          w.step_x.data(),
                          w.h.data(),
                          w.c.data(),
                          w.step_y.data(),
                          driven ? w.step_drive.data() : nullptr,
                          target == nullptr ? nullptr : w.trace.data(),
                          w.scratch.floats(),
                          0,
                          shared ? workers.size() : 1,
                          large && backwards != ((s - from) % 2 == 1)};
            if (!shared) {
                kernels.step(step, cell);
            } else {
                crew->run([&](std::size_t worker) {
                    const FlushDenormals flush;
                    CellStep part = step;
                    part.part = worker;
                    part.scratch = workers[worker].scratch.floats();
                    kernels.step(part, cell);
                });
            }
            // Rows of a batch lie a whole sequence apart in y, at distances that a cache maps to few places.
            for (std::size_t r = 0; r < live; ++r) {
                if (rows == 1)
                    w.h[r] = w.step_y[r];
                else
                    std::memcpy(own.h_at(d, call.stream(first + r)), w.step_y[r], cell.out * sizeof(float));
            }
        }
        for (std::size_t r = 0; r < rows; ++r) {
            float* state = own.h_at(d, call.stream(first + r));
            if (w.h[r] != state) std::memcpy(state, w.h[r], cell.out * sizeof(float));
        }
    }

    TraceRow trace_row(const TraceTarget& target, const PackedLayer& layer, std::size_t d, std::size_t t,
                       std::size_t stream) const {
        const std::size_t at = (t * layer.cells.size() + d) * batch + stream;
        const std::size_t H = at * layer.layer->hidden_size, P = at * layer.out();
        return {target.i + H, target.f + H, target.g + H, target.o + H, target.c + H, target.h + P};
    }
};

Session::Session(std::shared_ptr<const Model> model, std::size_t batch, std::size_t threads)
    : impl_(std::make_unique<Impl>(std::move(model), batch, std::max<std::size_t>(threads, 1))) {}
Session::~Session() = default;

std::size_t Session::batch() const { return impl_->batch; }
const std::shared_ptr<const Model>& Session::model() const { return impl_->model; }

void Session::step(std::size_t stack, const void* x, std::size_t x_stride, float* y, std::size_t y_stride) noexcept {
    Plan plan;
    plan.rows = impl_->rows_at_once();
    plan.steps = 1;
    impl_->execute(stack, {x, x_stride, 0, y, y_stride, 0, 1, nullptr, nullptr, nullptr}, plan);
}

void Session::run(std::size_t stack, const void* x, std::size_t steps, const std::size_t* lengths, float* y,
                  const TraceTarget* traces) {
    const StackWidths widths = stack_widths(impl_->network.architecture, stack);
    const std::size_t in = widths.ids ? 1 : widths.in, batch = impl_->batch;
    std::vector<std::size_t> order;
    if (lengths != nullptr && !std::is_sorted(lengths, lengths + batch, std::greater<>())) {
        order.resize(batch);
        std::iota(order.begin(), order.end(), std::size_t{0});
        std::stable_sort(order.begin(), order.end(),
                         [&](std::size_t a, std::size_t b) { return lengths[a] > lengths[b]; });
    }
    const Plan plan = impl_->plan(stack, steps);
    for (Worker& worker : impl_->workers) worker.prepare(plan);
    if (lengths != nullptr)
        for (std::size_t n = 0; n < batch; ++n)
            std::memset(y + (n * steps + lengths[n]) * widths.out, 0,
                        (steps - lengths[n]) * widths.out * sizeof(float));
    if (steps == 0) return;
    impl_->execute(stack,
                   {x, steps * in, in, y, steps * widths.out, widths.out, steps, lengths,
                    order.empty() ? nullptr : order.data(), traces},
                   plan);
}

void Session::reset(const std::size_t* rows, std::size_t count) {
    for (std::size_t k = 0; k < impl_->memory.size(); ++k)
        for (std::size_t n = 0; n < (rows == nullptr ? impl_->batch : count); ++n)
            start(impl_->network.layers[k], impl_->memory[k], rows == nullptr ? n : rows[n]);
}

// Row k becomes that of another session's row rows[k].
void Session::take(const Session& other, const std::size_t* rows, std::size_t count) {
    for (std::size_t k = 0; k < impl_->memory.size(); ++k) copy(other.impl_->memory[k], rows, count, impl_->memory[k]);
}

std::unique_ptr<Session> Session::fork(const std::size_t* rows, std::size_t count) const {
    auto session = std::make_unique<Session>(impl_->model, count, impl_->workers.size());
    session->take(*this, rows, count);
    return session;
}

std::unique_ptr<Session> Session::resized(std::size_t batch) const {
    auto session = std::make_unique<Session>(impl_->model, batch, impl_->workers.size());
    std::vector<std::size_t> kept(std::min(batch, impl_->batch));
    std::iota(kept.begin(), kept.end(), std::size_t{0});
    session->take(*this, kept.data(), kept.size());
    return session;
}

std::vector<StateView> Session::state() {
    std::vector<StateView> views;
    for (std::size_t k = 0; k < impl_->memory.size(); ++k) {
        const PackedLayer& layer = impl_->network.layers[k];
        const Memory& own = impl_->memory[k];
        if (layer.cells.empty()) continue;
        const std::string& name = layer.layer->name;
        views.push_back({name + ".h", own.h.floats(), layer.cells.size(), layer.out(), own.h_stride});
        views.push_back({name + ".c", own.c.floats(), layer.cells.size(), layer.layer->hidden_size, own.c_stride});
    }
    return views;
}

}  // namespace carrousel
