/* Carrousel's engine for C and C++: load a saved model, keep the state of many streams, step them in microseconds.
 *
 *     carrousel_model *model;
 *     carrousel_session *session;
 *     char error[CARROUSEL_ERROR_SIZE];
 *     if (carrousel_load("runs/model", NULL, &model, error, sizeof error) != CARROUSEL_OK) ...
 *     if (carrousel_session_create(model, 1, NULL, &session, error, sizeof error) != CARROUSEL_OK) ...
 *     carrousel_step(session, x, y, error, sizeof error);
 *
 * Every function that can fail returns a status and, where `error` is not NULL, writes one sentence to it: where, what
 * was expected, what was got, what to do. It is cut to error_size bytes and always ends with a 0. No exception leaves a
 * function.
 *
 * A model never changes and may be used from any number of threads; a session by one thread at a time. A session keeps
 * what it needs of its model, so the model may be freed first. carrousel_step allocates nothing and takes no lock.
 *
 * Arrays are contiguous, C order. N: rows of the session (independent streams), L: time steps, H_in and H_out: the
 * widths of its stack. Sizes of arrays are the caller's word; everything else is checked.
 */
#ifndef CARROUSEL_H
#define CARROUSEL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CARROUSEL_ERROR_SIZE 512 /* bytes that hold nearly every message */

typedef enum carrousel_status {
    CARROUSEL_OK = 0,
    CARROUSEL_INVALID = 1,  /* an argument, or the wrong call for this stack */
    CARROUSEL_ARTIFACT = 2, /* a saved model that cannot be read, or does not fit */
    CARROUSEL_MEMORY = 3,   /* not enough memory; nothing has changed */
    CARROUSEL_INTERNAL = 4  /* a defect of the engine */
} carrousel_status;

typedef enum carrousel_dtype {
    CARROUSEL_FLOAT32 = 0,
    CARROUSEL_BFLOAT16 = 1, /* weights in 16 bits, sums in float32 */
    CARROUSEL_INT8 = 2      /* weights in 8 bits with a scale for each row */
} carrousel_dtype;

/* All zero is the default. */
typedef struct carrousel_options {
    const char* isa; /* instruction set: "portable", "avx2", "avx512", "avx512vnni", "avx512bf16", "neon"; NULL: the
                        best one here */
    int dtype;       /* a carrousel_dtype: how weights are kept */
    size_t threads;  /* that work on one call at most; 0: one */
} carrousel_options;

typedef struct carrousel_model carrousel_model;
typedef struct carrousel_session carrousel_session;

typedef struct carrousel_widths {
    size_t batch; /* N */
    size_t in;    /* H_in; 0 where the stack takes ids */
    size_t out;   /* H_out */
    size_t ids;   /* 0, or how many ids there are: they go from 0 to ids - 1 */
} carrousel_widths;

/* The model of a folder that Python's `save` or `carrousel train` wrote. options may be NULL. */
carrousel_status carrousel_load(const char* folder, const carrousel_options* options, carrousel_model** model,
                                char* error, size_t error_size);
void carrousel_model_free(carrousel_model* model);

/* Name of the instruction set that runs. */
const char* carrousel_isa(const carrousel_model* model);

/* Names of the model's stacks, index from 0; NULL behind the last one. */
const char* carrousel_stack_name(const carrousel_model* model, size_t index);

/* Fresh state for `batch` rows. stack: which stack it steps; may be NULL where the model has only one. */
carrousel_status carrousel_session_create(const carrousel_model* model, size_t batch, const char* stack,
                                          carrousel_session** session, char* error, size_t error_size);
void carrousel_session_free(carrousel_session* session);

/* Go on with another stack of the model. Layers that both have keep their state. */
carrousel_status carrousel_session_use(carrousel_session* session, const char* stack, char* error, size_t error_size);

carrousel_widths carrousel_session_widths(const carrousel_session* session);

/* One step of every row: x (N, H_in) or ids (N) to y (N, H_out), which may not overlap x. */
carrousel_status carrousel_step(carrousel_session* session, const float* x, float* y, char* error, size_t error_size);
carrousel_status carrousel_step_ids(carrousel_session* session, const int32_t* ids, float* y, char* error,
                                    size_t error_size);

/* Several steps: x (N, L, H_in) or ids (N, L) to y (N, L, H_out). lengths: how many of the steps of each row count,
 * from 0 to L, or NULL for all; y is 0 beyond them. */
carrousel_status carrousel_run(carrousel_session* session, const float* x, size_t steps, const size_t* lengths,
                               float* y, char* error, size_t error_size);
carrousel_status carrousel_run_ids(carrousel_session* session, const int32_t* ids, size_t steps, const size_t* lengths,
                                   float* y, char* error, size_t error_size);

/* Back to the initial state: `count` rows by number, or all where rows is NULL. */
carrousel_status carrousel_reset(carrousel_session* session, const size_t* rows, size_t count, char* error,
                                 size_t error_size);

/* A session of its own that starts from copies of some rows, in that order; repeats are allowed. */
carrousel_status carrousel_fork(const carrousel_session* session, const size_t* rows, size_t count,
                                carrousel_session** fork, char* error, size_t error_size);

/* Keep the first `batch` rows, or add fresh ones. */
carrousel_status carrousel_resize(carrousel_session* session, size_t batch, char* error, size_t error_size);

/* The state as floats: of each LSTM in the order of the model's layers h (num_layers * directions, N, P), then c (...,
 * N, H). count must be what carrousel_state_size says. */
carrousel_status carrousel_state_size(carrousel_session* session, size_t* count, char* error, size_t error_size);
carrousel_status carrousel_state_get(carrousel_session* session, float* to, size_t count, char* error,
                                     size_t error_size);
carrousel_status carrousel_state_set(carrousel_session* session, const float* from, size_t count, char* error,
                                     size_t error_size);

#ifdef __cplusplus
} /* extern "C" */

#if __cplusplus >= 202002L

#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

/* The same for C++: owners that free, and errors that throw. */
namespace carrousel::embed {

struct Error : std::runtime_error {
    Error(carrousel_status code, const char* message) : std::runtime_error(message), status(code) {}
    carrousel_status status;
};

/* Calls a C function with the buffer for its error. */
template <typename Function, typename... Arguments>
void check(Function function, Arguments... arguments) {
    char error[CARROUSEL_ERROR_SIZE] = "";
    carrousel_status status = function(arguments..., error, sizeof error);
    if (status != CARROUSEL_OK) throw Error(status, error);
}

class Model {
public:
    explicit Model(const std::string& folder, const carrousel_options& options = {}) {
        carrousel_model* made = nullptr;
        check(carrousel_load, folder.c_str(), &options, &made);
        model_.reset(made);
    }
    const char* isa() const { return carrousel_isa(model_.get()); }
    std::vector<std::string> stacks() const {
        std::vector<std::string> names;
        while (const char* name = carrousel_stack_name(model_.get(), names.size())) names.emplace_back(name);
        return names;
    }
    const carrousel_model* get() const { return model_.get(); }

private:
    struct Free {
        void operator()(carrousel_model* model) const { carrousel_model_free(model); }
    };
    std::unique_ptr<carrousel_model, Free> model_;
};

class Session {
public:
    explicit Session(const Model& model, std::size_t batch = 1, const char* stack = nullptr) {
        carrousel_session* made = nullptr;
        check(carrousel_session_create, model.get(), batch, stack, &made);
        session_.reset(made);
    }
    carrousel_widths widths() const { return carrousel_session_widths(session_.get()); }
    void use(const std::string& stack) { check(carrousel_session_use, session_.get(), stack.c_str()); }

    void step(std::span<const float> x, std::span<float> y) {
        fits(x.size(), y.size(), 1, widths().in);
        check(carrousel_step, session_.get(), x.data(), y.data());
    }
    void step(std::span<const std::int32_t> ids, std::span<float> y) {
        fits(ids.size(), y.size(), 1, 1);
        check(carrousel_step_ids, session_.get(), ids.data(), y.data());
    }
    std::vector<float> run(std::span<const float> x, std::size_t steps) {
        std::vector<float> y(widths().batch * steps * widths().out);
        fits(x.size(), y.size(), steps, widths().in);
        check(carrousel_run, session_.get(), x.data(), steps, nullptr, y.data());
        return y;
    }
    std::vector<float> run(std::span<const std::int32_t> ids, std::size_t steps) {
        std::vector<float> y(widths().batch * steps * widths().out);
        fits(ids.size(), y.size(), steps, 1);
        check(carrousel_run_ids, session_.get(), ids.data(), steps, nullptr, y.data());
        return y;
    }

    void reset() { check(carrousel_reset, session_.get(), nullptr, std::size_t{0}); }
    void reset(std::span<const std::size_t> rows) { check(carrousel_reset, session_.get(), rows.data(), rows.size()); }
    void resize(std::size_t batch) { check(carrousel_resize, session_.get(), batch); }
    Session fork(std::span<const std::size_t> rows) const {
        carrousel_session* made = nullptr;
        check(carrousel_fork, session_.get(), rows.data(), rows.size(), &made);
        return Session(made);
    }

    std::vector<float> state() const {
        std::size_t count = 0;
        check(carrousel_state_size, session_.get(), &count);
        std::vector<float> values(count);
        check(carrousel_state_get, session_.get(), values.data(), count);
        return values;
    }
    void set_state(std::span<const float> values) {
        check(carrousel_state_set, session_.get(), values.data(), values.size());
    }
    carrousel_session* get() const { return session_.get(); }

private:
    explicit Session(carrousel_session* made) : session_(made) {}

    void fits(std::size_t x, std::size_t y, std::size_t steps, std::size_t in) const {
        const std::size_t rows = widths().batch * steps;
        if (x == rows * in && y == rows * widths().out) return;
        const std::string message = "expected " + std::to_string(rows * in) + " values in and " +
                                    std::to_string(rows * widths().out) + " out, got " + std::to_string(x) + " and " +
                                    std::to_string(y);
        throw Error(CARROUSEL_INVALID, message.c_str());
    }

    struct Free {
        void operator()(carrousel_session* session) const { carrousel_session_free(session); }
    };
    std::unique_ptr<carrousel_session, Free> session_;
};

}  // namespace carrousel::embed

#endif /* C++20 */
#endif /* __cplusplus */
#endif /* CARROUSEL_H */
