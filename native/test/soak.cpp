// Steps a session many times, with a fork, a reset and a resize now and then: soak STEPS. For leak checkers.
#include <cstdio>
#include <cstdlib>

#include "model.h"
#include "random.h"

int main(int count, char** arguments) {
    const long steps = count > 1 ? std::atol(arguments[1]) : 1000;
    Random random(1);
    const Network network = fill(carrousel::parse_architecture(R"([
        {"kind": "lstm", "name": "lstm", "input_size": 3, "hidden_size": 9, "proj_size": 4, "peephole": true},
        {"kind": "linear", "name": "head", "input_size": 4, "output_size": 2, "activation": "tanh"}])",
                                                               "soak"),
                                 random);
    auto model =
        std::make_shared<const carrousel::Model>(network.architecture, network.tensors, carrousel::Dtype::float32, "");
    auto session = std::make_unique<carrousel::Session>(model, 2);
    const std::size_t rows[] = {1, 0};
    float x[6], y[4], sum = 0;
    for (long k = 0; k < steps; ++k) {
        for (float& value : x) value = random.value();
        session->step(0, x, 3, y, 2);
        sum += y[0];
        if (k % (steps / 4 + 1) == 0) {  // four times, however many steps there are: the rest must allocate nothing
            session = session->fork(rows, 2);
            session->reset(rows, 1);
            session = session->resized(3)->resized(2);
        }
    }
    std::printf("%ld steps on %s: %g\n", steps, model->isa(), static_cast<double>(sum));
    return sum == sum ? 0 : 1;
}
