// Sessions of random networks: however the rows and steps are cut into calls, the same bits come out.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>

#include "check.h"
#include "isa.h"
#include "model.h"
#include "random.h"

using namespace carrousel;

namespace {

constexpr Dtype dtypes[] = {Dtype::float32, Dtype::bfloat16, Dtype::int8};

std::vector<std::string> supported() {
    std::vector<std::string> names;
    for (const Isa& isa : instruction_sets()) {
        if (isa.supported) names.emplace_back(isa.name);
    }
    return names;
}

// Inputs of N rows and L steps, ids or values.
struct Input {
    std::size_t batch, steps, in;
    bool ids;
    std::vector<float> values;
    std::vector<std::int32_t> numbers;

    Input(const Architecture& architecture, std::size_t batch, std::size_t steps, Random& random)
        : batch(batch), steps(steps) {
        StackWidths widths = stack_widths(architecture, 0);
        ids = widths.ids;
        in = ids ? 1 : widths.in;
        values = random.values(batch * steps * in);
        std::size_t count = architecture.layers[architecture.stacks[0].second[0]].input_size;
        for (std::size_t k = 0; k < batch * steps; ++k) {
            numbers.push_back(static_cast<std::int32_t>(random.below(count)));
        }
    }
    const void* at(std::size_t row, std::size_t step) const {
        std::size_t k = (row * steps + step) * in;
        return ids ? static_cast<const void*>(&numbers[k]) : &values[k];
    }
    // Rows from `first` on, steps from `from` on, contiguous.
    Input part(std::size_t first, std::size_t rows, std::size_t from, std::size_t count) const {
        Input other = *this;
        other.batch = rows;
        other.steps = count;
        other.values.resize(rows * count * in);
        other.numbers.resize(rows * count);
        for (std::size_t n = 0; n < rows; ++n) {
            std::copy_n(values.begin() + static_cast<std::ptrdiff_t>(((first + n) * steps + from) * in), count * in,
                        other.values.begin() + static_cast<std::ptrdiff_t>(n * count * in));
            std::copy_n(numbers.begin() + static_cast<std::ptrdiff_t>((first + n) * steps + from), count,
                        other.numbers.begin() + static_cast<std::ptrdiff_t>(n * count));
        }
        return other;
    }
};

using Floats = std::vector<float>;

Floats run(Session& session, const Input& input, const std::size_t* lengths = nullptr) {
    Floats y(input.batch * input.steps * stack_widths(session.model()->architecture(), 0).out, 9.0F);
    session.run(0, input.at(0, 0), input.steps, lengths, y.data(), nullptr);
    return y;
}

Floats state_of(Session& session) {
    Floats all;
    for (const StateView& view : session.state()) {
        for (std::size_t row = 0; row < view.rows * session.batch(); ++row) {
            all.insert(all.end(), view.data + row * view.stride, view.data + row * view.stride + view.size);
        }
    }
    return all;
}

bool same(const Floats& a, const Floats& b) {
    return a.size() == b.size() && !std::memcmp(a.data(), b.data(), a.size() * sizeof(float));
}

std::shared_ptr<const Model> make(const Network& network, const std::string& isa, Dtype dtype = Dtype::float32) {
    return std::make_shared<const Model>(network.architecture, network.tensors, dtype, isa);
}

template <typename Body>
void for_each_model(std::size_t networks, Body body) {
    for (const std::string& isa : supported()) {
        for (Dtype dtype : dtypes) {
            Random random(7);
            for (std::size_t k = 0; k < networks; ++k) {
                Network network = random_network(random);
                body(make(network, isa, dtype), random);
            }
        }
    }
}

bool whole(const Model& model) { return stack_widths(model.architecture(), 0).whole; }

}  // namespace

TEST(steps_give_the_bits_of_a_run) {
    for_each_model(25, [](const std::shared_ptr<const Model>& model, Random& random) {
        if (whole(*model)) return;
        std::size_t out = stack_widths(model->architecture(), 0).out;
        Input input(model->architecture(), 1 + random.below(9), 1 + random.below(7), random);
        Session once(model, input.batch), often(model, input.batch);
        Floats wanted = run(once, input), got(wanted.size());
        for (std::size_t t = 0; t < input.steps; ++t) {
            often.step(0, input.at(0, t), input.steps * input.in, got.data() + t * out, input.steps * out);
        }
        CHECK(same(got, wanted));
        CHECK(same(state_of(once), state_of(often)));
    });
}

TEST(chunks_and_neighbours_change_no_bit) {
    for_each_model(15, [](const std::shared_ptr<const Model>& model, Random& random) {
        std::size_t out = stack_widths(model->architecture(), 0).out;
        Input input(model->architecture(), 2 + random.below(60), 2 + random.below(12), random);
        Session together(model, input.batch, 1 + random.below(3));
        Floats wanted = run(together, input);
        std::size_t row = random.below(input.batch), cut = 1 + random.below(input.steps - 1);
        Session alone(model, 1);
        Floats got;
        if (whole(*model)) {
            got = run(alone, input.part(row, 1, 0, input.steps));
        } else {
            got = run(alone, input.part(row, 1, 0, cut));
            Floats rest = run(alone, input.part(row, 1, cut, input.steps - cut));
            got.insert(got.end(), rest.begin(), rest.end());
        }
        auto from = wanted.begin() + static_cast<std::ptrdiff_t>(row * input.steps * out);
        CHECK(same(got, Floats(from, from + static_cast<std::ptrdiff_t>(input.steps * out))));
    });
}

TEST(lengths_end_rows_early) {
    for_each_model(15, [](const std::shared_ptr<const Model>& model, Random& random) {
        std::size_t out = stack_widths(model->architecture(), 0).out;
        Input input(model->architecture(), 1 + random.below(9), 1 + random.below(9), random);
        std::vector<std::size_t> lengths(input.batch);
        for (std::size_t& length : lengths) length = random.below(input.steps + 1);
        Session together(model, input.batch);
        Floats got = run(together, input, lengths.data());
        for (std::size_t n = 0; n < input.batch; ++n) {
            Session alone(model, 1);
            Floats wanted = lengths[n] ? run(alone, input.part(n, 1, 0, lengths[n])) : Floats();
            wanted.resize(input.steps * out, 0.0F);
            auto from = got.begin() + static_cast<std::ptrdiff_t>(n * input.steps * out);
            CHECK(same(wanted, Floats(from, from + static_cast<std::ptrdiff_t>(input.steps * out))));
            const std::size_t rows[] = {n};
            CHECK(same(state_of(*together.fork(rows, 1)), state_of(alone)));
        }
    });
}

TEST(forks_resizes_and_resets_keep_what_they_say) {
    for_each_model(10, [](const std::shared_ptr<const Model>& model, Random& random) {
        Input input(model->architecture(), 3, 4, random), more(model->architecture(), 5, 2, random);
        Session session(model, 3);
        Floats fresh = state_of(session);
        run(session, input);
        Floats before = state_of(session);
        const std::size_t rows[] = {2, 0, 2, 1, 0};
        std::unique_ptr<Session> fork = session.fork(rows, 5);
        CHECK_EQUAL(fork->batch(), 5U);
        run(*fork, more);
        CHECK(same(state_of(session), before));

        std::unique_ptr<Session> larger = session.resized(5);
        const std::size_t old[] = {0, 1, 2}, added[] = {3, 4, 4};
        CHECK(same(state_of(*larger->fork(old, 3)), before));
        CHECK(same(state_of(*larger->fork(added, 3)), fresh));
        run(*larger, more);
        std::unique_ptr<Session> smaller = larger->resized(2);
        const std::size_t kept[] = {0, 1};
        CHECK(same(state_of(*smaller), state_of(*larger->fork(kept, 2))));

        const std::size_t last[] = {2};
        session.reset(last, 1);
        CHECK(same(state_of(*session.fork(kept, 2)), [&] {
            Session again(model, 3);
            run(again, input);
            return state_of(*again.fork(kept, 2));
        }()));
        session.reset(nullptr, 0);
        CHECK(same(state_of(session), fresh));
    });
}

TEST(states_can_be_put_back) {
    for_each_model(10, [](const std::shared_ptr<const Model>& model, Random& random) {
        Input first(model->architecture(), 2, 3, random), second(model->architecture(), 2, 3, random);
        Session session(model, 2), other(model, 2);
        run(session, first);
        std::vector<StateView> from = session.state(), to = other.state();
        for (std::size_t k = 0; k < from.size(); ++k) {
            CHECK_EQUAL(to[k].name, from[k].name);
            for (std::size_t row = 0; row < from[k].rows * 2; ++row) {
                std::copy_n(from[k].data + row * from[k].stride, from[k].size, to[k].data + row * to[k].stride);
            }
        }
        CHECK(same(run(session, second), run(other, second)));
    });
}

TEST(traces_end_in_the_state) {
    for_each_model(10, [](const std::shared_ptr<const Model>& model, Random& random) {
        const Architecture& architecture = model->architecture();
        Input input(architecture, 3, 4, random);
        std::vector<Floats> memory;
        std::vector<TraceTarget> traces;
        std::vector<std::size_t> sizes;
        memory.reserve(architecture.layers.size() * 6);
        for (const Layer& layer : architecture.layers) {
            TraceTarget target{};
            if (layer.kind == Kind::lstm) {
                std::size_t rows = suffixes(layer).size(), out = layer.proj_size ? layer.proj_size : layer.hidden_size;
                for (float** gate : {&target.i, &target.f, &target.g, &target.o, &target.c, &target.h}) {
                    std::size_t size = gate == &target.h ? out : layer.hidden_size;
                    memory.emplace_back(input.steps * rows * input.batch * size);
                    *gate = memory.back().data();
                }
            }
            traces.push_back(target);
        }
        Session session(model, input.batch), untraced(model, input.batch);
        Floats y(input.batch * input.steps * stack_widths(architecture, 0).out);
        session.run(0, input.at(0, 0), input.steps, nullptr, y.data(), traces.data());
        CHECK(same(y, run(untraced, input)));
        if (whole(*model)) return;
        std::size_t layer = 0;
        for (const StateView& view : session.state()) {
            while (architecture.layers[layer].kind != Kind::lstm) ++layer;
            bool is_h = view.name.ends_with(".h");
            const float* trace = is_h ? traces[layer].h : traces[layer].c;
            std::size_t cells = view.rows * input.batch;
            trace += (input.steps - 1) * cells * view.size;
            for (std::size_t row = 0; row < cells; ++row) {
                CHECK(!std::memcmp(trace + row * view.size, view.data + row * view.stride, view.size * sizeof(float)));
            }
            layer += !is_h;
        }
    });
}

TEST(what_is_not_finite_stays_in_its_row) {
    for (const std::string& isa : supported()) {
        Random random(3);
        for (int k = 0; k < 15; ++k) {
            std::shared_ptr<const Model> model = make(random_network(random), isa);
            Input input(model->architecture(), 7, 3, random);
            if (input.ids) continue;
            Session clean(model, 7), dirty(model, 7);
            Floats wanted = run(clean, input);
            std::size_t bad = random.below(7), row = wanted.size() / 7;
            input.values[bad * 3 * input.in] = std::numeric_limits<float>::quiet_NaN();
            Floats got = run(dirty, input);
            for (std::size_t n = 0; n < wanted.size(); ++n) {
                CHECK(n / row == bad || !std::memcmp(&got[n], &wanted[n], sizeof(float)));
            }
        }
    }
}

TEST(instruction_sets_agree) {
    Random random(5);
    for (int k = 0; k < 30; ++k) {
        Network network = random_network(random);
        Input input(network.architecture, 3, 5, random);
        Session reference(make(network, "portable"), 3);
        Floats wanted = run(reference, input);
        for (const std::string& isa : supported()) {
            Session session(make(network, isa), 3);
            Floats got = run(session, input);
            // Sums of up to 150 products of weights below 1, rounded in another order, through three layers with
            // layer normalisation at times.
            for (std::size_t n = 0; n < got.size(); ++n) CHECK(std::fabs(got[n] - wanted[n]) < 2e-4F);
        }
    }
}

TEST(a_plain_cell_is_what_its_equations_say) {
    for (const std::string& isa : supported()) {
        Random random(11);
        for (std::size_t H : {1U, 3U, 8U, 17U, 40U}) {
            const std::size_t E = 1 + random.below(9), L = 6;
            Network network =
                fill(parse_architecture(R"([{"kind": "lstm", "name": "l", "input_size": )" + std::to_string(E) +
                                            R"(, "hidden_size": )" + std::to_string(H) + "}]",
                                        "a"),
                     random);
            Input input(network.architecture, 1, L, random);
            Session session(make(network, isa), 1);
            Floats got = run(session, input);
            auto tensor = [&](const char* name) { return network.tensors["l." + std::string(name) + "_l0"].data; };
            const float *w = tensor("weight_ih"), *u = tensor("weight_hh"), *b = tensor("bias_ih"),
                        *d = tensor("bias_hh");
            std::vector<double> h(H), c(H);
            auto sigmoid = [](double v) { return 1 / (1 + std::exp(-v)); };
            for (std::size_t t = 0; t < L; ++t) {
                std::vector<double> gates(4 * H);
                for (std::size_t k = 0; k < 4 * H; ++k) {
                    gates[k] = double{b[k]} + double{d[k]};
                    for (std::size_t j = 0; j < E; ++j)
                        gates[k] += double{w[k * E + j]} * double{input.values[t * E + j]};
                    for (std::size_t j = 0; j < H; ++j) gates[k] += double{u[k * H + j]} * h[j];
                }
                for (std::size_t j = 0; j < H; ++j) {
                    c[j] = sigmoid(gates[H + j]) * c[j] + sigmoid(gates[j]) * std::tanh(gates[2 * H + j]);
                    h[j] = sigmoid(gates[3 * H + j]) * std::tanh(c[j]);
                    CHECK(std::fabs(double{got[t * H + j]} - h[j]) < 1e-5);
                }
            }
        }
    }
}
