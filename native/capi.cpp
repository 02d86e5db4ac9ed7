// carrousel.h on top of model.h: arguments are checked here, and exceptions become statuses.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "artifact.h"
#include "carrousel.h"
#include "isa.h"
#include "json.h"
#include "model.h"

using carrousel::Error;

struct carrousel_model {
    std::shared_ptr<const carrousel::Model> model;
    std::size_t threads;
};

struct carrousel_session {
    std::unique_ptr<carrousel::Session> session;
    std::size_t threads;
    std::size_t stack;
    carrousel::StackWidths widths;
    std::size_t ids;  // how many there are, 0: the stack takes values
};

namespace {

// An argument that does not fit; the artifact's own errors are plain ones.
struct Invalid : Error {
    using Error::Error;
};

void put(char* error, std::size_t size, const char* message) {
    if (error && size) std::snprintf(error, size, "%s", message);
}

template <typename Body>
carrousel_status guarded(char* error, std::size_t size, Body body) noexcept {
    try {
        body();
        put(error, size, "");
        return CARROUSEL_OK;
    } catch (const Invalid& problem) {
        put(error, size, problem.what());
        return CARROUSEL_INVALID;
    } catch (const Error& problem) {
        put(error, size, problem.what());
        return CARROUSEL_ARTIFACT;
    } catch (const std::bad_alloc&) {
        put(error, size, "expected more memory than there is; use a smaller batch or model");
        return CARROUSEL_MEMORY;
    } catch (const std::length_error&) {
        put(error, size, "expected more memory than there is; use a smaller batch or model");
        return CARROUSEL_MEMORY;
    } catch (const std::exception& problem) {
        put(error, size, problem.what());
        return CARROUSEL_INTERNAL;
    } catch (...) {
        put(error, size, "expected no error but those of carrousel.h, got another");
        return CARROUSEL_INTERNAL;
    }
}

template <typename Pointer>
Pointer given(Pointer pointer, const char* name) {
    if (!pointer) throw Invalid(std::string(name) + ": expected a pointer, got NULL");
    return pointer;
}

std::size_t whole_batch(std::size_t batch) {
    if (!batch) throw Invalid("batch: expected at least 1, got 0");
    return batch;
}

const carrousel::Architecture& architecture_of(const carrousel_session& session) {
    return session.session->model()->architecture();
}

std::size_t find_stack(const carrousel::Architecture& architecture, const char* name) {
    const auto& stacks = architecture.stacks;
    std::vector<std::string> names;
    for (const auto& stack : stacks) names.push_back(stack.first);
    if (!name && stacks.size() == 1) return 0;
    if (!name) throw Invalid("stack: expected the name of one, got NULL; " + carrousel::nearest("", names));
    auto found = std::find(names.begin(), names.end(), name);
    if (found == names.end()) {
        throw Invalid("stack: unknown name " + carrousel::quote(name) + "; " + carrousel::nearest(name, names));
    }
    return static_cast<std::size_t>(found - names.begin());
}

void use_stack(carrousel_session& session, std::size_t stack) {
    const carrousel::Architecture& architecture = architecture_of(session);
    session.stack = stack;
    session.widths = carrousel::stack_widths(architecture, stack);
    const carrousel::Layer& first = architecture.layers[architecture.stacks[stack].second.front()];
    session.ids = session.widths.ids ? first.input_size : 0;
}

void check_rows(const carrousel_session& session, const std::size_t* rows, std::size_t count) {
    const std::size_t batch = session.session->batch();
    for (std::size_t k = 0; k < count; ++k) {
        if (rows[k] >= batch) {
            throw Invalid("rows: expected values from 0 to " + std::to_string(batch - 1) + ", got " +
                          std::to_string(rows[k]));
        }
    }
}

void check_kind(const carrousel_session& session, bool ids) {
    if (session.widths.ids == ids) return;
    throw Invalid(
        ids ? "ids: expected values, this stack takes no ids; use carrousel_step or carrousel_run"
            : "x: expected ids, this stack starts with an embedding; use carrousel_step_ids or carrousel_run_ids");
}

void check_ids(const carrousel_session& session, const std::int32_t* ids, std::size_t count) {
    for (std::size_t k = 0; k < count; ++k) {
        if (ids[k] < 0 || static_cast<std::size_t>(ids[k]) >= session.ids) {
            throw Invalid("ids: expected values from 0 to " + std::to_string(session.ids - 1) + ", got " +
                          std::to_string(ids[k]) + " at index " + std::to_string(k));
        }
    }
}

void step(carrousel_session& session, const void* x, std::size_t x_stride, float* y) {
    if (session.widths.whole) {
        throw Invalid("step: expected a stack that runs forward in time, got one that needs whole sequences; use run");
    }
    session.session->step(session.stack, x, x_stride, y, session.widths.out);
}

void run(carrousel_session& session, const void* x, std::size_t steps, const std::size_t* lengths, float* y) {
    for (std::size_t n = 0; lengths && n < session.session->batch(); ++n) {
        if (lengths[n] > steps) {
            throw Invalid("lengths: expected values from 0 to " + std::to_string(steps) + ", got " +
                          std::to_string(lengths[n]) + " in row " + std::to_string(n));
        }
    }
    if (!steps) return;
    session.session->run(session.stack, given(x, "x"), steps, lengths, given(y, "y"), nullptr);
}

std::size_t state_size(carrousel_session& session) {
    std::size_t count = 0;
    for (const auto& view : session.session->state()) count += view.rows * session.session->batch() * view.size;
    return count;
}

void check_count(carrousel_session& session, std::size_t count) {
    const std::size_t expected = state_size(session);
    if (count == expected) return;
    throw Invalid("count: expected " + std::to_string(expected) + " floats of state, got " + std::to_string(count));
}

// Calls visit(row of values, their number) for every layer, direction and stream, in the order of carrousel.h.
template <typename Visit>
void each_row(carrousel_session& session, Visit visit) {
    for (const auto& view : session.session->state()) {
        for (std::size_t row = 0; row < view.rows * session.session->batch(); ++row) {
            visit(view.data + row * view.stride, view.size);
        }
    }
}

}  // namespace

carrousel_status carrousel_load(const char* folder, const carrousel_options* options, carrousel_model** model,
                                char* error, size_t error_size) {
    return guarded(error, error_size, [&] {
        *given(model, "model") = nullptr;
        given(folder, "folder");
        const carrousel_options wanted = options ? *options : carrousel_options{};
        const std::string isa = wanted.isa ? wanted.isa : "";
        carrousel::Dtype dtype = carrousel::Dtype::float32;
        switch (wanted.dtype) {
            case CARROUSEL_FLOAT32: break;
            case CARROUSEL_BFLOAT16: dtype = carrousel::Dtype::bfloat16; break;
            case CARROUSEL_INT8: dtype = carrousel::Dtype::int8; break;
            default: throw Invalid("dtype: expected one of carrousel_dtype, got " + std::to_string(wanted.dtype));
        }
        try {
            carrousel::choose_isa(isa);
        } catch (const Error& problem) {
            throw Invalid(problem.what());
        }
        const carrousel::Artifact artifact = carrousel::load_artifact(folder);
        *model = new carrousel_model{
            std::make_shared<const carrousel::Model>(artifact.architecture, artifact.weights.tensors, dtype, isa),
            std::max<std::size_t>(wanted.threads, 1)};
    });
}

void carrousel_model_free(carrousel_model* model) { delete model; }

const char* carrousel_isa(const carrousel_model* model) { return model ? model->model->isa() : nullptr; }

const char* carrousel_stack_name(const carrousel_model* model, size_t index) {
    if (!model || index >= model->model->architecture().stacks.size()) return nullptr;
    return model->model->architecture().stacks[index].first.c_str();
}

carrousel_status carrousel_session_create(const carrousel_model* model, size_t batch, const char* stack,
                                          carrousel_session** session, char* error, size_t error_size) {
    return guarded(error, error_size, [&] {
        *given(session, "session") = nullptr;
        const std::size_t index = find_stack(given(model, "model")->model->architecture(), stack);
        std::unique_ptr<carrousel_session> made(new carrousel_session{
            std::make_unique<carrousel::Session>(model->model, whole_batch(batch), model->threads),
            model->threads,
            0,
            {},
            0});
        use_stack(*made, index);
        *session = made.release();
    });
}

void carrousel_session_free(carrousel_session* session) { delete session; }

carrousel_status carrousel_session_use(carrousel_session* session, const char* stack, char* error, size_t error_size) {
    return guarded(error, error_size, [&] {
        given(session, "session");
        use_stack(*session, find_stack(architecture_of(*session), stack));
    });
}

carrousel_widths carrousel_session_widths(const carrousel_session* session) {
    if (!session) return {};
    return {session->session->batch(), session->widths.in, session->widths.out, session->ids};
}

carrousel_status carrousel_step(carrousel_session* session, const float* x, float* y, char* error, size_t error_size) {
    return guarded(error, error_size, [&] {
        check_kind(*given(session, "session"), false);
        step(*session, given(x, "x"), session->widths.in, given(y, "y"));
    });
}

carrousel_status carrousel_step_ids(carrousel_session* session, const int32_t* ids, float* y, char* error,
                                    size_t error_size) {
    return guarded(error, error_size, [&] {
        check_kind(*given(session, "session"), true);
        check_ids(*session, given(ids, "ids"), session->session->batch());
        step(*session, ids, 1, given(y, "y"));
    });
}

carrousel_status carrousel_run(carrousel_session* session, const float* x, size_t steps, const size_t* lengths,
                               float* y, char* error, size_t error_size) {
    return guarded(error, error_size, [&] {
        check_kind(*given(session, "session"), false);
        run(*session, x, steps, lengths, y);
    });
}

carrousel_status carrousel_run_ids(carrousel_session* session, const int32_t* ids, size_t steps, const size_t* lengths,
                                   float* y, char* error, size_t error_size) {
    return guarded(error, error_size, [&] {
        check_kind(*given(session, "session"), true);
        if (steps) check_ids(*session, given(ids, "ids"), session->session->batch() * steps);
        run(*session, ids, steps, lengths, y);
    });
}

carrousel_status carrousel_reset(carrousel_session* session, const size_t* rows, size_t count, char* error,
                                 size_t error_size) {
    return guarded(error, error_size, [&] {
        given(session, "session");
        if (rows) check_rows(*session, rows, count);
        session->session->reset(rows, count);
    });
}

carrousel_status carrousel_fork(const carrousel_session* session, const size_t* rows, size_t count,
                                carrousel_session** fork, char* error, size_t error_size) {
    return guarded(error, error_size, [&] {
        *given(fork, "fork") = nullptr;
        given(session, "session");
        if (!count) throw Invalid("rows: expected at least one row, got none");
        check_rows(*session, given(rows, "rows"), count);
        *fork = new carrousel_session{session->session->fork(rows, count), session->threads, session->stack,
                                      session->widths, session->ids};
    });
}

carrousel_status carrousel_resize(carrousel_session* session, size_t batch, char* error, size_t error_size) {
    return guarded(error, error_size, [&] {
        given(session, "session");
        session->session = session->session->resized(whole_batch(batch));
    });
}

carrousel_status carrousel_state_size(carrousel_session* session, size_t* count, char* error, size_t error_size) {
    return guarded(error, error_size, [&] { *given(count, "count") = state_size(*given(session, "session")); });
}

carrousel_status carrousel_state_get(carrousel_session* session, float* to, size_t count, char* error,
                                     size_t error_size) {
    return guarded(error, error_size, [&] {
        check_count(*given(session, "session"), count);
        if (count) given(to, "to");
        each_row(*session, [&](const float* values, std::size_t size) { to = std::copy_n(values, size, to); });
    });
}

carrousel_status carrousel_state_set(carrousel_session* session, const float* from, size_t count, char* error,
                                     size_t error_size) {
    return guarded(error, error_size, [&] {
        check_count(*given(session, "session"), count);
        if (count) given(from, "from");
        each_row(*session, [&](float* values, std::size_t size) {
            std::copy_n(from, size, values);
            from += size;
        });
    });
}
