// The training kernels for Python: addresses, which the Python side has checked.
#include <nanobind/stl/string.h>

#include <string_view>
#include <unordered_map>

#include "bindings.h"
#include "isa.h"
#include "mask.h"
#include "train.h"

namespace {

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

// `count` elements of `width` bytes at an address, which the Python side has made.
void mask(const std::string& isa, std::uintptr_t address, std::size_t count, std::size_t width, std::uint64_t key,
          std::uint32_t bound, std::uint64_t value, std::size_t threads) {
    const carrousel::Isa& set = carrousel::choose_isa(isa);
    nb::gil_scoped_release release;
    carrousel::fill_mask(set, {key, bound, value}, width, count, reinterpret_cast<void*>(address), threads);
}

}  // namespace

void bind_training(nb::module_& module) {
    module.def("train_mask", &mask);
    module.def("train_forward", &train<Pass::forward>);
    module.def("train_backward", &train<Pass::backward>);
}
