// The detector's per-row work for Python.
#include <nanobind/stl/string.h>

#include <map>

#include "bindings.h"
#include "isa.h"
#include "watch.h"

namespace {

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
                              : type == NPY_FLOAT16                   ? 'e'
                              : type == NPY_INT64                     ? 'l'
                              : type == NPY_INT32                     ? 'i'
                              : type == NPY_INT16                     ? 'h'
                              : type == NPY_UINT16                    ? 'H'
                              : type == NPY_INT8                      ? 'b'
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
    const npy_intp width = static_cast<npy_intp>(w.watch.variables() + w.watch.covariates());
    PyArrayObject *x = reinterpret_cast<PyArrayObject*>(values.ptr()),
                  *times = reinterpret_cast<PyArrayObject*>(seconds.ptr());
    if (!is_plain(values.ptr(), NPY_FLOAT64, 2) || !is_plain(seconds.ptr(), NPY_FLOAT64, 1) ||
        PyArray_DIM(x, 0) != shape[0] || PyArray_DIM(x, 1) != width || PyArray_DIM(times, 0) != shape[0])
        return nb::none();
    const double* clock = static_cast<const double*>(PyArray_DATA(times));
    for (npy_intp n = 0; n < shape[0]; ++n)
        if (!w.watch.is_time(clock[n])) return nb::none();
    nb::object fields = nb::steal(PyTuple_New(23));
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
    for (double** of_variable : {&out.level, &out.level_lower, &out.level_upper, &out.slope, &out.slope_lower,
                                 &out.slope_upper, &out.season, &out.season_lower, &out.season_upper})
        make(2, NPY_FLOAT64, *of_variable);
    make(2, NPY_INT8, out.change);
    make(2, NPY_BOOL, out.drift);
    const Busy busy(s);
    work(w.products * static_cast<double>(s.session->batch()),
         [&] { w.watch.step(static_cast<const double*>(PyArray_DATA(x)), clock, out); });
    return fields;
}

}  // namespace

void bind_watch(nb::module_& module) {
    nb::class_<PyWatch>(module, "Watch").def("step", &watch_step);
    module.def("watch", [](nb::object session, std::size_t variables, nb::dict numbers, nb::dict arrays) {
        if (!nb::isinstance<PySession>(session)) throw carrousel::Error("watch: expected a session of this engine");
        std::map<std::string, std::vector<double>> values;
        for (auto [key, value] : numbers)
            for (nb::handle number : value) values[nb::cast<std::string>(key)].push_back(nb::cast<double>(number));
        return new PyWatch(session, variables, values, arrays);
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
}
