// The engine for Python. What does not fit is not described here but handed to a Python function that finds the right
// sentence.
#define CARROUSEL_IMPORTS_NUMPY
#include "bindings.h"

#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include "isa.h"
#include "sha256.h"

namespace {

// (session, x, out, stack): refuses in one sentence, or brings the arrays into form and steps. Kept for ever.
PyObject* slow_step = nullptr;

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
    bind_watch(module);
    bind_training(module);
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
    module.def("activations", [](const std::string& isa, nb::handle x, nb::handle sigmoid, nb::handle tanh) {
        const auto data = [](nb::handle h) {
            return static_cast<float*>(PyArray_DATA(reinterpret_cast<PyArrayObject*>(h.ptr())));
        };
        const std::size_t n = static_cast<std::size_t>(PyArray_SIZE(reinterpret_cast<PyArrayObject*>(x.ptr())));
        carrousel::choose_isa(isa).kernels->activations(data(x), data(sigmoid), data(tanh), n);
    });
}
