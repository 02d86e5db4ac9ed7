// The loader against hostile files. An input is a config.json, a 0, and a model.safetensors; what loads is also
// stepped.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

#include "artifact.h"
#include "model.h"

using namespace carrousel;

namespace {

class Bytes : public Source {
public:
    explicit Bytes(std::string_view bytes) : bytes_(bytes) {}
    std::size_t size() const override { return bytes_.size(); }
    void read(void* to, std::size_t count) override {
        if (count > bytes_.size()) throw Error("truncated");
        std::memcpy(to, bytes_.data(), count);
        bytes_.remove_prefix(count);
    }

private:
    std::string_view bytes_;
};

void step(const Architecture& architecture, const Tensors& tensors, Dtype dtype) {
    auto model = std::make_shared<const Model>(architecture, tensors, dtype, "");
    Session session(model, 2);
    for (std::size_t stack = 0; stack < architecture.stacks.size(); ++stack) {
        StackWidths widths = stack_widths(architecture, stack);
        std::vector<float> x(2 * (widths.in + 1)), y(2 * widths.out);  // ids of 0 are the same bits
        session.run(stack, x.data(), 1, nullptr, y.data(), nullptr);
        if (!widths.whole) session.step(stack, x.data(), widths.ids ? 1 : widths.in, y.data(), widths.out);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    std::string_view input(reinterpret_cast<const char*>(data), size);
    std::size_t end = std::min(input.find('\0'), input.size());
    try {
        Config config = parse_config(input.substr(0, end), "config.json");
        Bytes bytes(input.substr(std::min(end + 1, input.size())));
        Weights weights = read_weights(bytes, config.architecture, "model.safetensors");
        for (Dtype dtype : {Dtype::float32, Dtype::bfloat16, Dtype::int8}) {
            step(config.architecture, weights.tensors, dtype);
        }
    } catch (const Error&) {}
    return 0;
}
