// The only file that knows Python: arrays in and out without copies, the lock released where the work is longer than
// that takes. What does not fit is not described here but handed to a Python function that finds the right sentence.
#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#include <Python.h>
#include <nanobind/nanobind.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <numpy/arrayobject.h>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "isa.h"
#include "kernel.h"
#include "model.h"
#include "network.h"
#include "sha256.h"
#include "train.h"
#include "watch.h"

namespace nb = nanobind;

namespace {

using carrousel::Model;
using carrousel::Session;
using carrousel::StackWidths;

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

// (session, x, out, stack): refuses in one sentence, or brings the arrays into form and steps. Kept for ever.
PyObject* slow_step = nullptr;

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

bool is_plain(PyObject* object, int type, int dimensions) {
    if (!PyArray_Check(object)) return false;
    PyArrayObject* array = reinterpret_cast<PyArrayObject*>(object);
    return PyArray_TYPE(array) == type && PyArray_NDIM(array) == dimensions && PyArray_IS_C_CONTIGUOUS(array) &&
           PyArray_ISALIGNED(array) && PyArray_ISNOTSWAPPED(array);
}

bool overlap(const void* a, std::size_t a_bytes, const void* b, std::size_t b_bytes) {
    const char *first = static_cast<const char*>(a), *second = static_cast<const char*>(b);
    return first < second + b_bytes && second < first + a_bytes;
}

// Whether memory that is written belongs to the state, which a step reads until its end.
bool in_state(const PySession& s, const void* data, std::size_t bytes) {
    for (const carrousel::StateView& view : s.views)
        if (overlap(data, bytes, view.data, view.rows * s.session->batch() * view.stride * sizeof(float))) return true;
    return false;
}

template <class Work>
void work(double products, const Work& run) {
    if (products < LONG) return run();
    nb::gil_scoped_release release;
    run();
}

nb::object step(nb::handle self, nb::handle x, nb::handle out, nb::handle stack) {
    PySession& s = *nb::inst_ptr<PySession>(self);
    const PyModel& m = *s.owner;
    const int index = m.find(stack.ptr());
    if (index >= 0) {
        const StackWidths& w = m.widths[static_cast<std::size_t>(index)];
        const npy_intp batch = static_cast<npy_intp>(s.session->batch());
        PyArrayObject* in = reinterpret_cast<PyArrayObject*>(x.ptr());
        const bool fits = !w.whole && !w.ids && is_plain(x.ptr(), NPY_FLOAT32, 2) && PyArray_DIM(in, 0) == batch &&
                          PyArray_DIM(in, 1) == static_cast<npy_intp>(w.in);
        if (fits) {
            nb::object result;
            bool written = true;
            if (out.is_none()) {
                const npy_intp shape[2] = {batch, static_cast<npy_intp>(w.out)};
                result = nb::steal(PyArray_SimpleNew(2, shape, NPY_FLOAT32));
                if (!result.is_valid()) nb::raise_python_error();
            } else {
                result = nb::borrow(out);
                PyArrayObject* array = reinterpret_cast<PyArrayObject*>(out.ptr());
                written = is_plain(out.ptr(), NPY_FLOAT32, 2) && PyArray_ISWRITEABLE(array) &&
                          PyArray_DIM(array, 0) == batch && PyArray_DIM(array, 1) == static_cast<npy_intp>(w.out) &&
                          !overlap(PyArray_DATA(array), static_cast<std::size_t>(PyArray_NBYTES(array)),
                                   PyArray_DATA(in), static_cast<std::size_t>(PyArray_NBYTES(in))) &&
                          !in_state(s, PyArray_DATA(array), static_cast<std::size_t>(PyArray_NBYTES(array)));
            }
            if (written) {
                const Busy busy(s);
                float* y = static_cast<float*>(PyArray_DATA(reinterpret_cast<PyArrayObject*>(result.ptr())));
                work(m.products[static_cast<std::size_t>(index)] * static_cast<double>(batch),
                     [&] { s.session->step(static_cast<std::size_t>(index), PyArray_DATA(in), w.in, y, w.out); });
                return result;
            }
        }
    }
    return nb::borrow(slow_step)(self, x, out, stack);
}

// What the Python side has checked and brought into form. Ids are int32.
void step_checked(nb::handle self, std::size_t stack, nb::handle x, nb::handle out) {
    PySession& s = *nb::inst_ptr<PySession>(self);
    const StackWidths& w = s.owner->widths.at(stack);
    PyArrayObject *in = reinterpret_cast<PyArrayObject*>(x.ptr()), *y = reinterpret_cast<PyArrayObject*>(out.ptr());
    const Busy busy(s);
    work(s.owner->products[stack] * static_cast<double>(s.session->batch()), [&] {
        s.session->step(stack, PyArray_DATA(in), w.ids ? 1 : w.in, static_cast<float*>(PyArray_DATA(y)), w.out);
    });
}

void run_checked(nb::handle self, std::size_t stack, nb::handle x, std::size_t steps, nb::handle lengths,
                 nb::handle out, nb::handle traces) {
    PySession& s = *nb::inst_ptr<PySession>(self);
    std::vector<carrousel::TraceTarget> targets;
    if (!traces.is_none()) {
        targets.resize(s.session->model()->architecture().layers.size());
        for (auto [key, value] : nb::cast<nb::dict>(traces)) {
            float* parts[6];
            for (std::size_t k = 0; k < 6; ++k)
                parts[k] =
                    static_cast<float*>(PyArray_DATA(reinterpret_cast<PyArrayObject*>(nb::object(value[k]).ptr())));
            targets.at(nb::cast<std::size_t>(key)) = {parts[0], parts[1], parts[2], parts[3], parts[4], parts[5]};
        }
    }
    const std::size_t* counts = nullptr;
    if (!lengths.is_none())
        counts = static_cast<const std::size_t*>(PyArray_DATA(reinterpret_cast<PyArrayObject*>(lengths.ptr())));
    const void* in = PyArray_DATA(reinterpret_cast<PyArrayObject*>(x.ptr()));
    float* y = static_cast<float*>(PyArray_DATA(reinterpret_cast<PyArrayObject*>(out.ptr())));
    const Busy busy(s);
    work(s.owner->products.at(stack) * static_cast<double>(s.session->batch() * steps),
         [&] { s.session->run(stack, in, steps, counts, y, targets.empty() ? nullptr : targets.data()); });
}

// Live views of the state, by name: (rows, N, size), which keep the session alive.
nb::dict state(nb::handle self) {
    PySession& s = *nb::inst_ptr<PySession>(self);
    nb::dict result;
    for (const carrousel::StateView& view : s.views) {
        const npy_intp shape[3] = {static_cast<npy_intp>(view.rows), static_cast<npy_intp>(s.session->batch()),
                                   static_cast<npy_intp>(view.size)};
        const npy_intp row = static_cast<npy_intp>(view.stride * sizeof(float));
        const npy_intp strides[3] = {row * shape[1], row, static_cast<npy_intp>(sizeof(float))};
        nb::object array = nb::steal(PyArray_New(&PyArray_Type, 3, shape, NPY_FLOAT32, strides, view.data, 0,
                                                 NPY_ARRAY_WRITEABLE | NPY_ARRAY_ALIGNED, nullptr));
        if (!array.is_valid()) nb::raise_python_error();
        if (PyArray_SetBaseObject(reinterpret_cast<PyArrayObject*>(array.ptr()), nb::borrow(self).release().ptr()) != 0)
            nb::raise_python_error();
        result[view.name.c_str()] = array;
    }
    return result;
}

std::vector<std::size_t> indices(nb::handle rows) {
    PyArrayObject* array = reinterpret_cast<PyArrayObject*>(rows.ptr());
    const npy_int64* data = static_cast<const npy_int64*>(PyArray_DATA(array));
    return {data, data + PyArray_SIZE(array)};
}

// The allocator keeps what loading took and has given back; a process that only streams never needs it again.
void give_back_memory() {
#if defined(__GLIBC__)
    malloc_trim(0);
#endif
}

std::shared_ptr<PyModel> make_model(const std::string& architecture, nb::dict weights, const std::string& dtype,
                                    const std::string& isa) {
    carrousel::Tensors tensors;
    for (auto [key, value] : weights) {
        PyArrayObject* array = reinterpret_cast<PyArrayObject*>(value.ptr());
        if (!PyArray_Check(value.ptr()) || PyArray_TYPE(array) != NPY_FLOAT32 || !PyArray_IS_C_CONTIGUOUS(array))
            throw carrousel::Error(nb::cast<std::string>(key) + ": expected a contiguous float32 array");
        carrousel::Tensor tensor;
        tensor.data = static_cast<const float*>(PyArray_DATA(array));
        for (int k = 0; k < PyArray_NDIM(array); ++k)
            tensor.shape.push_back(static_cast<std::size_t>(PyArray_DIM(array, k)));
        tensors.emplace(nb::cast<std::string>(key), std::move(tensor));
    }
    const carrousel::Dtype kind = dtype == "bfloat16" ? carrousel::Dtype::bfloat16
                                  : dtype == "int8"   ? carrousel::Dtype::int8
                                                      : carrousel::Dtype::float32;
    return std::make_shared<PyModel>(
        std::make_shared<const Model>(carrousel::parse_architecture(architecture, "architecture"), tensors, kind, isa));
}

// One layer's training; pointers by the names of Scan's members, of arrays that the caller keeps.
template <class Real>
carrousel::Scan<Real> make_scan(nb::tuple sizes, nb::dict pointers, nb::tuple keep, bool reverse) {
    using Scan = carrousel::Scan<Real>;
    static const std::unordered_map<std::string_view, const Real* Scan::*> read = {{"x", &Scan::x},
                                                                                   {"w_ih", &Scan::w_ih},
                                                                                   {"b_ih", &Scan::b_ih},
                                                                                   {"b_hh", &Scan::b_hh},
                                                                                   {"h_0", &Scan::h_0},
                                                                                   {"c_0", &Scan::c_0},
                                                                                   {"w_hh", &Scan::w_hh},
                                                                                   {"w_hr", &Scan::w_hr},
                                                                                   {"gain_ih", &Scan::gain_ih},
                                                                                   {"gain_hh", &Scan::gain_hh},
                                                                                   {"gain_c", &Scan::gain_c},
                                                                                   {"bias_c", &Scan::bias_c},
                                                                                   {"peephole", &Scan::peephole},
                                                                                   {"mask_h", &Scan::mask_h},
                                                                                   {"mask_g", &Scan::mask_g},
                                                                                   {"keep_h", &Scan::draw_h},
                                                                                   {"keep_c", &Scan::draw_c},
                                                                                   {"d_y", &Scan::d_y},
                                                                                   {"d_h_n", &Scan::d_h_n},
                                                                                   {"d_c_n", &Scan::d_c_n}};
    static const std::unordered_map<std::string_view, Real* Scan::*> filled = {{"y", &Scan::y},
                                                                               {"h_n", &Scan::h_n},
                                                                               {"c_n", &Scan::c_n},
                                                                               {"z", &Scan::z},
                                                                               {"c", &Scan::c},
                                                                               {"a_hat", &Scan::a_hat},
                                                                               {"a_scale", &Scan::a_scale},
                                                                               {"r_hat", &Scan::r_hat},
                                                                               {"r_scale", &Scan::r_scale},
                                                                               {"u_hat", &Scan::u_hat},
                                                                               {"u_scale", &Scan::u_scale},
                                                                               {"m", &Scan::m},
                                                                               {"d_h_0", &Scan::d_h_0},
                                                                               {"d_c_0", &Scan::d_c_0},
                                                                               {"d_x", &Scan::d_x},
                                                                               {"d_w_ih", &Scan::d_w_ih},
                                                                               {"d_w_hh", &Scan::d_w_hh},
                                                                               {"d_w_hr", &Scan::d_w_hr},
                                                                               {"d_b_ih", &Scan::d_b_ih},
                                                                               {"d_b_hh", &Scan::d_b_hh},
                                                                               {"d_peephole", &Scan::d_peephole},
                                                                               {"d_gain_ih", &Scan::d_gain_ih},
                                                                               {"d_gain_hh", &Scan::d_gain_hh},
                                                                               {"d_gain_c", &Scan::d_gain_c},
                                                                               {"d_bias_c", &Scan::d_bias_c}};
    static const std::unordered_map<std::string_view, const std::int64_t* Scan::*> numbers = {
        {"cell", &Scan::cell}, {"lengths", &Scan::lengths}, {"place", &Scan::place}};
    Scan s{};
    std::size_t* const extents[] = {&s.L, &s.N, &s.E, &s.G, &s.H, &s.P, &s.M};
    for (std::size_t k = 0; k < 7; ++k) *extents[k] = nb::cast<std::size_t>(sizes[k]);
    s.keep_h = static_cast<Real>(nb::cast<double>(keep[0]));
    s.keep_c = static_cast<Real>(nb::cast<double>(keep[1]));
    s.reverse = reverse;
    for (const auto& [key, value] : pointers) {
        const std::string_view name = nb::cast<const char*>(key);
        void* const data = reinterpret_cast<void*>(nb::cast<std::uintptr_t>(value));
        if (const auto found = read.find(name); found != read.end())
            s.*(found->second) = static_cast<const Real*>(data);
        else if (const auto own = filled.find(name); own != filled.end())
            s.*(own->second) = static_cast<Real*>(data);
        else
            s.*(numbers.at(name)) = static_cast<const std::int64_t*>(data);
    }
    return s;
}

// real: "float32", "float64", or "bfloat16": float32 whose products round their factors to it.
enum class Pass { forward, backward };
template <Pass pass>
void train(const std::string& isa, const std::string& real, nb::tuple sizes, nb::dict pointers, nb::tuple keep,
           bool reverse, std::size_t threads) {
    const carrousel::Trainers& trainers = carrousel::trainers(carrousel::choose_isa(isa));
    const auto run = [&](const auto& trainer, const auto& scan) {
        nb::gil_scoped_release release;
        if constexpr (pass == Pass::forward) carrousel::scan_forward(trainer, scan, threads);
        if constexpr (pass == Pass::backward) carrousel::scan_backward(trainer, scan, threads);
    };
    if (real == "float64")
        run(trainers.twice, make_scan<double>(sizes, pointers, keep, reverse));
    else
        run(real == "bfloat16" ? trainers.half : trainers.single, make_scan<float>(sizes, pointers, keep, reverse));
}

// The detector's per-row work over arrays that the Python components own, and the network's step in its middle.
struct PyWatch {
    nb::object session;  // these two are kept as long as the watch
    std::vector<nb::object> arrays;
    carrousel::Watch watch;
    double products;

    static std::map<std::string, carrousel::WatchArray> views(nb::dict arrays) {
        std::map<std::string, carrousel::WatchArray> all;
        for (auto [key, value] : arrays) {
            const std::string name = nb::cast<std::string>(key);
            PyArrayObject* array = reinterpret_cast<PyArrayObject*>(value.ptr());
            if (!PyArray_Check(value.ptr()) || !PyArray_IS_C_CONTIGUOUS(array) || !PyArray_ISBEHAVED(array))
                throw carrousel::Error("watch: expected a contiguous, writable array " + name);
            const int type = PyArray_TYPE(array);
            const char kind = type == NPY_FLOAT64                     ? 'd'
                              : type == NPY_FLOAT32                   ? 'f'
                              : type == NPY_INT64                     ? 'l'
                              : type == NPY_UINT8 || type == NPY_BOOL ? 'B'
                                                                      : '?';
            all[name] = {PyArray_DATA(array), kind, static_cast<std::size_t>(PyArray_SIZE(array))};
        }
        return all;
    }

    PyWatch(nb::object own, std::size_t variables, const std::map<std::string, std::vector<double>>& numbers,
            nb::dict of)
        : session(own),
          watch(*nb::inst_ptr<PySession>(own)->session, variables, numbers, views(of)),
          products(nb::inst_ptr<PySession>(own)->owner->products[0] + 2000) {  // about what the rest costs
        for (auto [key, value] : of) arrays.push_back(nb::borrow(value));
    }
};

// The fields of carrousel.online.watch.Readings in their order; None where the arguments are not plain or no times.
nb::object watch_step(PyWatch& w, nb::handle values, nb::handle seconds) {
    PySession& s = *nb::inst_ptr<PySession>(w.session);
    const npy_intp shape[3] = {static_cast<npy_intp>(w.watch.batch()), static_cast<npy_intp>(w.watch.variables()),
                               static_cast<npy_intp>(w.watch.members())};
    PyArrayObject *x = reinterpret_cast<PyArrayObject*>(values.ptr()),
                  *times = reinterpret_cast<PyArrayObject*>(seconds.ptr());
    if (!is_plain(values.ptr(), NPY_FLOAT64, 2) || !is_plain(seconds.ptr(), NPY_FLOAT64, 1) ||
        PyArray_DIM(x, 0) != shape[0] || PyArray_DIM(x, 1) != shape[1] || PyArray_DIM(times, 0) != shape[0])
        return nb::none();
    const double* clock = static_cast<const double*>(PyArray_DATA(times));
    for (npy_intp n = 0; n < shape[0]; ++n)
        if (!w.watch.is_time(clock[n])) return nb::none();
    nb::object fields = nb::steal(PyTuple_New(12));
    if (!fields.is_valid()) nb::raise_python_error();
    Py_ssize_t place = 0;
    const auto make = [&]<class T>(int dimensions, int type, T*& data) {
        PyObject* array = PyArray_SimpleNew(dimensions, shape, type);
        if (array == nullptr) nb::raise_python_error();
        data = static_cast<T*>(PyArray_DATA(reinterpret_cast<PyArrayObject*>(array)));
        PyTuple_SET_ITEM(fields.ptr(), place++, array);
    };
    carrousel::WatchReadings out{};
    for (double** of_stream : {&out.score, &out.onset, &out.rarity, &out.p_value}) make(1, NPY_FLOAT64, *of_stream);
    for (std::uint8_t** flag : {&out.warming, &out.alarm, &out.incident}) make(1, NPY_BOOL, *flag);
    for (double** of_variable : {&out.expected, &out.lower, &out.upper, &out.residual})
        make(2, NPY_FLOAT64, *of_variable);
    make(3, NPY_FLOAT64, out.contributions);
    const Busy busy(s);
    work(w.products * static_cast<double>(s.session->batch()),
         [&] { w.watch.step(static_cast<const double*>(PyArray_DATA(x)), clock, out); });
    return fields;
}

bool load_numpy() {
    import_array1(false);
    return true;
}

}  // namespace

NB_MODULE(_native, module) {
    if (!load_numpy()) throw nb::python_error();
    nb::set_leak_warnings(false);
    nb::exception<carrousel::Error>(module, "Error",
                                    nb::module_::import_("carrousel.errors").attr("SettingError").ptr());

    nb::class_<PyModel>(module, "Model")
        .def_prop_ro("isa", [](const PyModel& m) { return std::string(m.model->isa()); })
        .def_prop_ro("packed_bytes", [](const PyModel& m) { return m.model->packed_bytes(); });
    module.def("model", &make_model, nb::arg("architecture"), nb::arg("weights"), nb::arg("dtype"), nb::arg("isa"));

    nb::class_<PySession>(module, "Session", nb::dynamic_attr())  // context: of slow_step
        .def_prop_ro("batch", [](const PySession& s) { return s.session->batch(); })
        .def("step", &step, nb::arg("x").none(), nb::arg("out") = nb::none(), nb::kw_only(),
             nb::arg("stack") = nb::none())
        .def("step_checked", &step_checked)
        .def("run_checked", &run_checked, nb::arg("stack"), nb::arg("x"), nb::arg("steps"), nb::arg("lengths").none(),
             nb::arg("out"), nb::arg("traces").none())
        .def("state", &state)
        .def(
            "reset",
            [](PySession& s, nb::handle rows) {
                const Busy busy(s);
                if (rows.is_none()) return s.session->reset(nullptr, 0);
                const std::vector<std::size_t> list = indices(rows);
                s.session->reset(list.data(), list.size());
            },
            nb::arg("rows").none())
        .def("fork",
             [](PySession& s, nb::handle rows) {
                 const Busy busy(s);
                 const std::vector<std::size_t> list = indices(rows);
                 return new PySession(s.owner, s.session->fork(list.data(), list.size()));
             })
        // A session of its own, since arrays may still look at the memory of this one.
        .def("resized", [](PySession& s, std::size_t batch) {
            const Busy busy(s);
            return new PySession(s.owner, s.session->resized(batch));
        });
    module.def("session", [](std::shared_ptr<PyModel> model, std::size_t batch, std::size_t threads) {
        auto session = std::make_unique<Session>(model->model, batch, threads);
        return new PySession(std::move(model), std::move(session));
    });
    nb::class_<PyWatch>(module, "Watch").def("step", &watch_step);
    module.def("watch", [](nb::object session, std::size_t variables, nb::dict numbers, nb::dict arrays) {
        if (!nb::isinstance<PySession>(session)) throw carrousel::Error("watch: expected a session of this engine");
        std::map<std::string, std::vector<double>> values;
        for (auto [key, value] : numbers)
            for (nb::handle number : value) values[nb::cast<std::string>(key)].push_back(nb::cast<double>(number));
        return new PyWatch(session, variables, values, arrays);
    });
    nb::class_<carrousel::Sha256>(module, "Sha256")  // with the face of hashlib's
        .def(nb::init<>())
        .def("update", [](carrousel::Sha256& digest, nb::bytes data) { digest.update(data.data(), data.size()); })
        .def("hexdigest", [](const carrousel::Sha256& digest) { return carrousel::Sha256(digest).hex(); });
    module.def("give_back_memory", &give_back_memory);
    module.def("set_slow_step", [](nb::object function) { slow_step = function.release().ptr(); });

    module.def("instruction_sets", [] {
        nb::list sets;
        for (const carrousel::Isa& isa : carrousel::instruction_sets())
            sets.append(nb::make_tuple(isa.name, isa.supported, isa.missing, isa.kernels->lanes));
        return sets;
    });
    module.def("choose_isa", [](const std::string& name) { return std::string(carrousel::choose_isa(name).name); });
    module.def("cache_sizes", [] {
        const carrousel::CacheSizes sizes = carrousel::cache_sizes();
        return nb::make_tuple(sizes.l1d, sizes.l2, sizes.l3);
    });
    module.def("read", [](const std::string& isa, nb::handle x) {
        PyArrayObject* array = reinterpret_cast<PyArrayObject*>(x.ptr());
        return carrousel::choose_isa(isa).kernels->read(static_cast<const float*>(PyArray_DATA(array)),
                                                        static_cast<std::size_t>(PyArray_SIZE(array)));
    });
    module.def("multiply", [](const std::string& isa, std::size_t rounds) {  // returns the operations that it did
        const carrousel::Kernels& kernels = *carrousel::choose_isa(isa).kernels;
        const float total = kernels.multiply(rounds);
        return total == total ? kernels.multiply_flops * rounds : 0;
    });
    module.def("watch_functions", [](const std::string& isa, nb::handle x, nb::handle out) {  // (n) to (5, n)
        const auto data = [](nb::handle h) {
            return static_cast<double*>(PyArray_DATA(reinterpret_cast<PyArrayObject*>(h.ptr())));
        };
        const std::size_t n = static_cast<std::size_t>(PyArray_SIZE(reinterpret_cast<PyArrayObject*>(x.ptr())));
        double* y = data(out);
        carrousel::watch_kernel(carrousel::choose_isa(isa))
            .functions(data(x), y, y + n, y + 2 * n, y + 3 * n, y + 4 * n, n);
    });
    module.def("train_forward", &train<Pass::forward>);
    module.def("train_backward", &train<Pass::backward>);
    module.def("activations", [](const std::string& isa, nb::handle x, nb::handle sigmoid, nb::handle tanh) {
        const auto data = [](nb::handle h) {
            return static_cast<float*>(PyArray_DATA(reinterpret_cast<PyArrayObject*>(h.ptr())));
        };
        const std::size_t n = static_cast<std::size_t>(PyArray_SIZE(reinterpret_cast<PyArrayObject*>(x.ptr())));
        carrousel::choose_isa(isa).kernels->activations(data(x), data(sigmoid), data(tanh), n);
    });
}
