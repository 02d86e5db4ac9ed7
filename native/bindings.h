// What the files that know Python share: arrays in and out without copies, the lock released where the work is longer
// than that takes.
#pragma once

#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#define PY_ARRAY_UNIQUE_SYMBOL carrousel_numpy
#if !defined(CARROUSEL_IMPORTS_NUMPY)  // one file does, for all
#define NO_IMPORT_ARRAY
#endif
#include <Python.h>
#include <nanobind/nanobind.h>
#include <numpy/arrayobject.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kernel.h"
#include "model.h"
#include "network.h"

namespace nb = nanobind;

using carrousel::Model;
using carrousel::Session;
using carrousel::StackWidths;

void bind_watch(nb::module_& module);
void bind_training(nb::module_& module);

// Multiplications from which on the interpreter's lock is worth releasing: some ten microseconds.
constexpr double LONG = 1e6;

struct PyModel {
    std::shared_ptr<const Model> model;
    std::vector<StackWidths> widths;
    std::vector<double> products;  // of one step of one row
    std::vector<PyObject*> names;  // interned, kept for ever

    explicit PyModel(std::shared_ptr<const Model> shared) : model(std::move(shared)) {
        const auto& architecture = model->architecture();
        for (std::size_t k = 0; k < architecture.stacks.size(); ++k) {
            widths.push_back(carrousel::stack_widths(architecture, k));
            names.push_back(PyUnicode_InternFromString(architecture.stacks[k].first.c_str()));
            double total = 0;
            for (std::size_t n : architecture.stacks[k].second) {
                const carrousel::Layer& l = architecture.layers[n];
                const double size =
                    static_cast<double>(l.hidden_size ? 4 * l.hidden_size * l.num_layers : l.output_size);
                total += size * static_cast<double>(l.input_size + l.hidden_size);
            }
            products.push_back(total);
        }
    }

    // Index of a stack, or -1.
    int find(PyObject* name) const {
        if (name == Py_None) return names.size() == 1 ? 0 : -1;
        for (std::size_t k = 0; k < names.size(); ++k)
            if (names[k] == name) return static_cast<int>(k);
        if (!PyUnicode_Check(name)) return -1;
        for (std::size_t k = 0; k < names.size(); ++k)
            if (PyUnicode_Compare(names[k], name) == 0) return static_cast<int>(k);
        return -1;
    }
};

struct PySession {
    std::shared_ptr<PyModel> owner;
    std::unique_ptr<Session> session;
    std::vector<carrousel::StateView> views;
    bool busy = false;  // set and cleared under the interpreter's lock

    PySession(std::shared_ptr<PyModel> model, std::unique_ptr<Session> own)
        : owner(std::move(model)), session(std::move(own)), views(session->state()) {}
};

class Busy {
public:
    explicit Busy(PySession& session) : session_(session) {
        if (session.busy)
            throw carrousel::Error("session: expected one call at a time, got another from a second thread");
        session.busy = true;
    }
    ~Busy() { session_.busy = false; }
    Busy(const Busy&) = delete;
    Busy& operator=(const Busy&) = delete;

private:
    PySession& session_;
};

inline bool is_plain(PyObject* object, int type, int dimensions) {
    if (!PyArray_Check(object)) return false;
    PyArrayObject* array = reinterpret_cast<PyArrayObject*>(object);
    return PyArray_TYPE(array) == type && PyArray_NDIM(array) == dimensions && PyArray_IS_C_CONTIGUOUS(array) &&
           PyArray_ISALIGNED(array) && PyArray_ISNOTSWAPPED(array);
}

template <class Work>
void work(double products, const Work& run) {
    if (products < LONG) return run();
    nb::gil_scoped_release release;
    run();
}
