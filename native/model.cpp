#include "model.h"

#include <cstring>

#include "network.h"

namespace carrousel {
namespace {

// A row of int8 is summed in 32 bits: 65,536 products of at most 255 · 127 fit.
constexpr std::size_t INT8_INPUTS = 65536;

class Builder {
public:
    Builder(Model::Impl& model, const Tensors& tensors) : model_(model), tensors_(tensors) {
        switch (model.dtype) {
            case Dtype::float32: storage_ = Storage::float32; break;
            case Dtype::bfloat16: storage_ = model.kernels->paired ? Storage::paired : Storage::bfloat16; break;
            case Dtype::int8: storage_ = Storage::int8; break;
        }
        lanes_ = static_cast<std::size_t>(model.kernels->lanes);
    }

    void build(PackedLayer& packed) {
        const Layer& layer = *packed.layer;
        switch (layer.kind) {
            case Kind::scale:
                packed.weight = copy(layer, "weight");
                packed.bias = copy(layer, "bias");
                break;
            case Kind::embedding: packed.table = copy(layer, "weight"); break;
            case Kind::linear:
                check(layer, layer.input_size);
                packed.dense =
                    pack(layer.output_size, 1, layer.input_size, 0,
                         {find(layer, "weight"), nullptr, layer.bias ? find(layer, "bias") : nullptr, nullptr},
                         storage_, lanes_);
                count(packed.dense.memory);
                break;
            case Kind::lstm: build_lstm(packed); break;
        }
    }

private:
    const float* find(const Layer& layer, const std::string& name) const {
        return tensors_.at(layer.name + "." + name).data;
    }

    Buffer copy(const Layer& layer, const std::string& name) {
        const Tensor& tensor = tensors_.at(layer.name + "." + name);
        std::size_t count = 1;
        for (std::size_t size : tensor.shape) count = product(count, size);
        Buffer buffer(product(count, sizeof(float)));
        std::memcpy(buffer.data(), tensor.data, buffer.bytes());
        this->count(buffer);
        return buffer;
    }

    void check(const Layer& layer, std::size_t inputs) const {
        if (storage_ == Storage::int8 && inputs > INT8_INPUTS)
            throw Error("layer '" + layer.name + "': int8: expected at most 65536 inputs, got " +
                        std::to_string(inputs) + "; use float32 or bfloat16");
    }

    void count(const Buffer& buffer) { model_.packed_bytes += buffer.bytes(); }

    void build_lstm(PackedLayer& packed) {
        const Layer& layer = *packed.layer;
        const std::size_t H = layer.hidden_size, P = packed.out(), gates = layer.coupled ? 3 : 4;
        const auto optional = [&](bool there, const std::string& name) { return there ? find(layer, name) : nullptr; };
        std::size_t row = 0;
        for (const std::string& s : suffixes(layer)) {
            const std::size_t E = row++ < packed.directions() ? layer.input_size : packed.directions() * P;
            check(layer, E);
            check(layer, H);
            PackedCell own;
            Cell& cell = own.cell;
            const float *w_ih = find(layer, "weight_ih" + s), *w_hh = find(layer, "weight_hh" + s);
            const float* b_ih = optional(layer.bias, "bias_ih" + s);
            const float* b_hh = optional(layer.bias, "bias_hh" + s);
            if (layer.layer_norm) {
                own.input = pack(H, gates, E, 0, {w_ih, nullptr, nullptr, nullptr}, storage_, lanes_);
                own.hidden = pack(H, gates, P, 0, {w_hh, nullptr, nullptr, nullptr}, storage_, lanes_);
                const std::size_t width = own.hidden.blocks.front().width;
                own.gain_input = pack_gates(find(layer, "gain_ih" + s), H, gates, width, lanes_);
                own.gain_hidden = pack_gates(find(layer, "gain_hh" + s), H, gates, width, lanes_);
                own.bias_input = pack_gates(b_ih, H, gates, width, lanes_);
                own.bias_hidden = pack_gates(b_hh, H, gates, width, lanes_);
                own.gain_cell = pack_gates(find(layer, "gain_c" + s), H, 1, 1, lanes_);
                own.bias_cell = pack_gates(optional(layer.bias, "bias_c" + s), H, 1, 1, lanes_);
            } else {
                own.all = pack(H, gates, E, P, {w_ih, w_hh, b_ih, b_hh}, storage_, lanes_);
            }
            if (layer.proj_size)
                own.projection =
                    pack(P, 1, H, 0, {find(layer, "weight_hr" + s), nullptr, nullptr, nullptr}, storage_, lanes_);
            if (layer.peephole) own.peephole = pack_peephole(find(layer, "weight_ch" + s), H, layer.coupled);
            for (const Packed* part : {&own.all, &own.input, &own.hidden, &own.projection}) count(part->memory);
            cell.all = own.all.matrix;
            cell.input = own.input.matrix;
            cell.hidden = own.hidden.matrix;
            cell.projection = own.projection.matrix;
            cell.peephole = own.peephole.bytes() ? own.peephole.floats() : nullptr;
            cell.gain_input = own.gain_input.floats();
            cell.gain_hidden = own.gain_hidden.floats();
            cell.bias_input = own.bias_input.floats();
            cell.bias_hidden = own.bias_hidden.floats();
            cell.gain_cell = own.gain_cell.floats();
            cell.bias_cell = own.bias_cell.floats();
            cell.size = H;
            cell.out = P;
            cell.coupled = layer.coupled;
            cell.norm = layer.layer_norm;
            cell.keep_h = static_cast<float>(layer.zoneout_h);
            cell.keep_c = static_cast<float>(layer.zoneout_c);
            packed.cells.push_back(std::move(own));
        }
        if (layer.trainable_state) {
            packed.h_0 = copy(layer, "h_0");
            packed.c_0 = copy(layer, "c_0");
        }
    }

    // (i, f, o) or, coupled, (i, o) of H each as [vectors][i, f, o][lanes].
    Buffer pack_peephole(const float* p, std::size_t H, bool coupled) const {
        const std::size_t vectors = (H + lanes_ - 1) / lanes_;
        Buffer packed(product(vectors, 3 * lanes_, sizeof(float)));
        for (std::size_t unit = 0; unit < H; ++unit) {
            float* own = packed.floats() + unit / lanes_ * 3 * lanes_ + unit % lanes_;
            own[0] = p[unit];
            own[lanes_] = coupled ? 0.0f : p[H + unit];
            own[2 * lanes_] = p[(coupled ? 1 : 2) * H + unit];
        }
        return packed;
    }

    Model::Impl& model_;
    const Tensors& tensors_;
    Storage storage_ = Storage::float32;
    std::size_t lanes_;
};

}  // namespace

Model::Model(const Architecture& architecture, const Tensors& tensors, Dtype dtype, const std::string& isa)
    : impl_(std::make_unique<Impl>()) {
    check_tensors(architecture, tensors, "weights");
    impl_->architecture = architecture;
    impl_->isa = &choose_isa(isa);
    impl_->kernels = impl_->isa->kernels;
    impl_->dtype = dtype;
    impl_->layers.resize(architecture.layers.size());
    for (std::size_t k = 0; k < impl_->layers.size(); ++k) impl_->layers[k].layer = &impl_->architecture.layers[k];
    for (const auto& [name, route] : impl_->architecture.stacks)
        for (std::size_t k : route) impl_->layers[k].used = true;
    Builder builder(*impl_, tensors);
    for (PackedLayer& layer : impl_->layers)
        if (layer.used) builder.build(layer);
}

Model::~Model() = default;
const Architecture& Model::architecture() const { return impl_->architecture; }
const char* Model::isa() const { return impl_->isa->name; }
Dtype Model::dtype() const { return impl_->dtype; }
std::size_t Model::packed_bytes() const { return impl_->packed_bytes; }

StackWidths stack_widths(const Architecture& architecture, std::size_t stack) {
    const auto& route = architecture.stacks.at(stack).second;
    const auto width = [](const Layer& layer) {
        return layer.kind == Kind::lstm
                   ? (layer.bidirectional ? 2 : 1) * (layer.proj_size ? layer.proj_size : layer.hidden_size)
                   : layer.output_size;
    };
    const Layer& first = architecture.layers[route.front()];
    StackWidths widths{};
    widths.ids = first.kind == Kind::embedding;
    widths.in = widths.ids ? 0 : first.input_size;
    widths.out = width(architecture.layers[route.back()]);
    for (std::size_t k : route) widths.whole |= architecture.layers[k].bidirectional || architecture.layers[k].reverse;
    return widths;
}

}  // namespace carrousel
