// carrousel.h: values through C and C++ owners, and every way in which a call can be refused.
#include <cstring>
#include <limits>
#include <memory>

#include "carrousel.h"
#include "check.h"
#include "model.h"
#include "random.h"

namespace embed = carrousel::embed;
using carrousel::parse_architecture;

namespace {

const char* const two_stacks = R"({"layers": [
    {"kind": "scale", "name": "in", "size": 2},
    {"kind": "lstm", "name": "lstm", "input_size": 2, "hidden_size": 5},
    {"kind": "linear", "name": "head", "input_size": 5, "output_size": 3},
    {"kind": "embedding", "name": "table", "num_embeddings": 4, "embedding_dim": 2},
    {"kind": "lstm", "name": "both", "input_size": 2, "hidden_size": 3, "bidirectional": true}],
    "stacks": {"values": ["in", "lstm", "head"], "ids": ["table", "lstm", "head"], "whole": ["both"]}})";

// A saved network with the stacks above, loaded.
struct Fixture {
    Folder folder;
    Network network;
    std::unique_ptr<embed::Model> model;

    Fixture() {
        Random random(1);
        network = fill(parse_architecture(two_stacks, "a"), random);
        save(network, folder);
        model = std::make_unique<embed::Model>(folder.path());
    }
};

struct Answer {
    carrousel_status status;
    std::string message;
};

template <typename Function, typename... Arguments>
Answer call(Function function, Arguments... arguments) {
    char error[CARROUSEL_ERROR_SIZE] = "untouched";
    carrousel_status status = function(arguments..., error, sizeof error);
    return {status, error};
}

void check_answer(int line, const Answer& got, carrousel_status status, const std::string& message) {
    check_equal(__FILE__, line, static_cast<int>(got.status), static_cast<int>(status));
    check_equal(__FILE__, line, got.message, message);
}
#define CHECK_INVALID(answer, message) check_answer(__LINE__, answer, CARROUSEL_INVALID, message)
#define CHECK_OK(answer) check_answer(__LINE__, answer, CARROUSEL_OK, "")

}  // namespace

TEST(a_loaded_model_gives_the_bits_of_one_in_memory) {
    Fixture fixture;
    auto model = std::make_shared<const carrousel::Model>(fixture.network.architecture, fixture.network.tensors,
                                                          carrousel::Dtype::float32, "");
    carrousel::Session wanted(model, 3);
    embed::Session got(*fixture.model, 3, "values");
    Random random(2);
    for (int t = 0; t < 5; ++t) {
        std::vector<float> x = random.values(6), a(9), b(9);
        got.step(x, a);
        wanted.step(0, x.data(), 2, b.data(), 3);
        CHECK(a == b);
    }
    CHECK_EQUAL(std::string(fixture.model->isa()), std::string(model->isa()));
}

TEST(stacks_share_the_state_of_their_layers) {
    Fixture fixture;
    CHECK(fixture.model->stacks() == (std::vector<std::string>{"values", "ids", "whole"}));
    embed::Session session(*fixture.model, 2, "ids");
    CHECK_EQUAL(session.widths().ids, 4U);
    CHECK_EQUAL(session.widths().in, 0U);
    std::vector<float> first = session.run(std::vector<std::int32_t>{0, 1, 2, 3, 2, 1}, 3), before = session.state();
    session.use("values");
    CHECK_EQUAL(session.widths().ids, 0U);
    CHECK_EQUAL(session.widths().in, 2U);
    CHECK(session.state() == before);
    std::vector<float> y(6);
    session.step(std::vector<float>{1, 2, 3, 4}, y);
    CHECK(session.state() != before);
    session.set_state(before);
    CHECK(session.state() == before);
    session.reset();
    session.use("ids");
    CHECK(session.run(std::vector<std::int32_t>{0, 1, 2, 3, 2, 1}, 3) == first);
}

TEST(sessions_outlive_their_model) {
    Fixture fixture;
    embed::Session session(*fixture.model, 1, "values");
    fixture.model.reset();
    embed::Session fork = session.fork(std::vector<std::size_t>{0, 0});
    std::vector<float> y(6);
    fork.step(std::vector<float>{1, 2, 1, 2}, y);
    CHECK(!std::memcmp(&y[0], &y[3], 3 * sizeof(float)));
    fork.resize(1);
    CHECK_EQUAL(fork.widths().batch, 1U);
}

TEST(steps_allocate_nothing) {
    Fixture fixture;
    embed::Session session(*fixture.model, 4, "values");
    std::vector<float> x(8, 0.5F), y(12);
    char error[CARROUSEL_ERROR_SIZE];
    std::size_t before = allocations;
    for (int k = 0; k < 100; ++k) {
        CHECK(carrousel_step(session.get(), x.data(), y.data(), error, sizeof error) == CARROUSEL_OK);
    }
    CHECK_EQUAL(allocations, before);
}

TEST(loads_that_cannot_be_are_refused) {
    Fixture fixture;
    const std::string path = fixture.folder.path();
    const char* folder = path.c_str();
    carrousel_model* model = nullptr;
    carrousel_options options{};
    CHECK_INVALID(call(carrousel_load, folder, &options, nullptr), "model: expected a pointer, got NULL");
    CHECK_INVALID(call(carrousel_load, nullptr, &options, &model), "folder: expected a pointer, got NULL");
    options.dtype = 7;
    CHECK_INVALID(call(carrousel_load, folder, &options, &model), "dtype: expected one of carrousel_dtype, got 7");
    options = {};
    options.isa = "sse9";
    Answer answer = call(carrousel_load, folder, &options, &model);
    CHECK(answer.status == CARROUSEL_INVALID && answer.message.find("'sse9'") != std::string::npos);
    check_answer(__LINE__, call(carrousel_load, "/nowhere", nullptr, &model), CARROUSEL_ARTIFACT,
                 "/nowhere: expected the folder of a saved model, got nothing; check the path");
    CHECK(model == nullptr);
    write_file(fixture.folder / "config.json", "{}");
    CHECK(call(carrousel_load, folder, nullptr, &model).status == CARROUSEL_ARTIFACT);
}

TEST(every_dtype_and_instruction_set_loads) {
    Fixture fixture;
    const std::string path = fixture.folder.path();
    for (int dtype : {CARROUSEL_FLOAT32, CARROUSEL_BFLOAT16, CARROUSEL_INT8}) {
        embed::Model model(path, {"portable", dtype, 2});
        CHECK_EQUAL(std::string(model.isa()), "portable");
        embed::Session session(model, 1, "values");
        CHECK_EQUAL(session.run(std::vector<float>{1, 2}, 1).size(), 3U);
    }
}

TEST(sessions_that_cannot_be_are_refused) {
    Fixture fixture;
    const carrousel_model* model = fixture.model->get();
    carrousel_session* session = nullptr;
    CHECK_INVALID(call(carrousel_session_create, model, std::size_t{1}, "values", nullptr),
                  "session: expected a pointer, got NULL");
    CHECK_INVALID(call(carrousel_session_create, nullptr, std::size_t{1}, "values", &session),
                  "model: expected a pointer, got NULL");
    CHECK_INVALID(call(carrousel_session_create, model, std::size_t{0}, "values", &session),
                  "batch: expected at least 1, got 0");
    CHECK_INVALID(call(carrousel_session_create, model, std::size_t{1}, nullptr, &session),
                  "stack: expected the name of one, got NULL; known are ids, values, whole");
    CHECK_INVALID(call(carrousel_session_create, model, std::size_t{1}, "value", &session),
                  "stack: unknown name 'value'; did you mean 'values'?");
    Answer answer =
        call(carrousel_session_create, model, std::numeric_limits<std::size_t>::max() / 2, "values", &session);
    check_answer(__LINE__, answer, CARROUSEL_MEMORY,
                 "expected more memory than there is; use a smaller batch or model");
    CHECK(session == nullptr);
    embed::Session good(*fixture.model, 1, "values");
    CHECK_INVALID(call(carrousel_session_use, good.get(), "valves"),
                  "stack: unknown name 'valves'; did you mean 'values'?");
    CHECK_INVALID(call(carrousel_session_use, nullptr, "values"), "session: expected a pointer, got NULL");
    CHECK_EQUAL(good.widths().in, 2U);
}

TEST(calls_that_do_not_fit_are_refused) {
    Fixture fixture;
    embed::Session values(*fixture.model, 2, "values"), ids(*fixture.model, 2, "ids"),
        whole(*fixture.model, 2, "whole");
    float x[12] = {}, y[36] = {};
    std::int32_t numbers[] = {0, 4}, negative[] = {-1, 0}, good[] = {0, 3};
    std::size_t rows[] = {0, 2}, lengths[] = {3, 4};
    CHECK_INVALID(call(carrousel_step, nullptr, x, y), "session: expected a pointer, got NULL");
    CHECK_INVALID(call(carrousel_step, values.get(), nullptr, y), "x: expected a pointer, got NULL");
    CHECK_INVALID(call(carrousel_step, values.get(), x, nullptr), "y: expected a pointer, got NULL");
    CHECK_INVALID(call(carrousel_step, ids.get(), x, y),
                  "x: expected ids, this stack starts with an embedding; use carrousel_step_ids or carrousel_run_ids");
    CHECK_INVALID(call(carrousel_step, whole.get(), x, y),
                  "step: expected a stack that runs forward in time, got one that needs whole sequences; use run");
    CHECK_INVALID(call(carrousel_step_ids, values.get(), good, y),
                  "ids: expected values, this stack takes no ids; use carrousel_step or carrousel_run");
    CHECK_INVALID(call(carrousel_step_ids, ids.get(), numbers, y),
                  "ids: expected values from 0 to 3, got 4 at index 1");
    CHECK_INVALID(call(carrousel_step_ids, ids.get(), negative, y),
                  "ids: expected values from 0 to 3, got -1 at index 0");
    CHECK_INVALID(call(carrousel_step_ids, ids.get(), nullptr, y), "ids: expected a pointer, got NULL");
    CHECK_INVALID(call(carrousel_run, values.get(), x, std::size_t{3}, lengths, y),
                  "lengths: expected values from 0 to 3, got 4 in row 1");
    CHECK_INVALID(call(carrousel_run, values.get(), nullptr, std::size_t{3}, nullptr, y),
                  "x: expected a pointer, got NULL");
    CHECK_INVALID(call(carrousel_run_ids, ids.get(), numbers, std::size_t{1}, nullptr, y),
                  "ids: expected values from 0 to 3, got 4 at index 1");
    CHECK_OK(call(carrousel_run, values.get(), nullptr, std::size_t{0}, nullptr, nullptr));
    CHECK_OK(call(carrousel_run, whole.get(), x, std::size_t{3}, nullptr, y));
    CHECK_INVALID(call(carrousel_reset, values.get(), rows, std::size_t{2}),
                  "rows: expected values from 0 to 1, got 2");
    CHECK_INVALID(call(carrousel_resize, values.get(), std::size_t{0}), "batch: expected at least 1, got 0");
    carrousel_session* fork = nullptr;
    CHECK_INVALID(call(carrousel_fork, values.get(), rows, std::size_t{2}, &fork),
                  "rows: expected values from 0 to 1, got 2");
    CHECK_INVALID(call(carrousel_fork, values.get(), rows, std::size_t{0}, &fork),
                  "rows: expected at least one row, got none");
    CHECK_INVALID(call(carrousel_fork, values.get(), nullptr, std::size_t{1}, &fork),
                  "rows: expected a pointer, got NULL");
    CHECK(fork == nullptr);
    std::size_t count = 0;
    CHECK_INVALID(call(carrousel_state_size, values.get(), nullptr), "count: expected a pointer, got NULL");
    CHECK_OK(call(carrousel_state_size, values.get(), &count));
    std::vector<float> state(count);
    CHECK_INVALID(call(carrousel_state_get, values.get(), state.data(), count - 1),
                  "count: expected " + std::to_string(count) + " floats of state, got " + std::to_string(count - 1));
    CHECK_INVALID(call(carrousel_state_get, values.get(), nullptr, count), "to: expected a pointer, got NULL");
    CHECK_INVALID(call(carrousel_state_set, values.get(), nullptr, count), "from: expected a pointer, got NULL");
    CHECK_OK(call(carrousel_state_get, values.get(), state.data(), count));
    CHECK_OK(call(carrousel_state_set, values.get(), state.data(), count));
}

TEST(null_is_freed_and_described_without_harm) {
    carrousel_model_free(nullptr);
    carrousel_session_free(nullptr);
    CHECK(carrousel_isa(nullptr) == nullptr);
    CHECK(carrousel_stack_name(nullptr, 0) == nullptr);
    CHECK_EQUAL(carrousel_session_widths(nullptr).batch, 0U);
}

TEST(messages_are_cut_to_the_caller_s_buffer) {
    char error[9] = "12345678";
    carrousel_model* model = nullptr;
    CHECK(carrousel_load("/nowhere", nullptr, &model, error, 8) == CARROUSEL_ARTIFACT);
    CHECK_EQUAL(std::string(error), "/nowher");
    CHECK(error[8] == '\0');
    CHECK(carrousel_load("/nowhere", nullptr, &model, nullptr, 0) == CARROUSEL_ARTIFACT);
    CHECK(carrousel_load("/nowhere", nullptr, &model, error, 0) == CARROUSEL_ARTIFACT);
}

TEST(owners_check_the_sizes_of_arrays) {
    Fixture fixture;
    embed::Session session(*fixture.model, 2, "values");
    std::string message;
    std::vector<float> y(5);
    try {
        session.step(std::vector<float>(4), y);
    } catch (const embed::Error& error) {
        message = error.what();
    }
    CHECK_EQUAL(message, "expected 4 values in and 6 out, got 4 and 5");
}
