// The recurrence for training, in every variant: reads and writes nothing beyond its arrays (sanitizers watch), gives the
// same bits on any number of threads, and its gradient is that of finite differences. Values are held by the Python tests.
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <map>
#include <memory>

#include "check.h"
#include "isa.h"
#include "random.h"
#include "train.h"

namespace {

using carrousel::Scan;

struct Variant {
    bool coupled, peephole, norm, projection, drops, zones, ragged, reverse;

    explicit Variant(unsigned bits)
        : coupled(bits & 1),
          peephole(bits & 2),
          norm(bits & 4),
          projection(bits & 8),
          drops(bits & 16),
          zones(bits & 32),
          ragged(bits & 64),
          reverse(bits & 128) {}
};

// Every array of one call in a block of its own, of exactly the size that is promised.
template <class Real>
class Problem {
public:
    Problem(const Variant& v, std::size_t H) {
        Random random(H);
        scan.L = 4;
        scan.N = 3;
        scan.G = v.coupled ? 3 : 4;
        scan.H = H;
        scan.P = v.projection ? (H + 1) / 2 : H;
        scan.reverse = v.reverse;
        const std::size_t L = scan.L, N = scan.N, P = scan.P, wide = scan.G * H;
        std::size_t M = L * N;
        if (v.ragged) {
            const std::int64_t lengths[] = {2, 4, 0};
            lengths_.assign(lengths, lengths + 3);
            M = 0;
            for (std::size_t t = 0; t < L; ++t)
                for (std::size_t n = 0; n < N; ++n)
                    cell_.push_back(static_cast<std::int64_t>(t) < lengths[n] ? static_cast<std::int64_t>(M++) : -1);
            scan.lengths = lengths_.data();
            scan.cell = cell_.data();
        }
        const auto in = [&](const Real*& member, std::size_t count, bool there = true) {
            if (there) member = make(count, &random);
        };
        const auto out = [&](Real*& member, std::size_t count, bool there = true) {
            if (there) member = make(count, nullptr);
        };
        z_ = make(M * wide, &random);
        in(scan.h_0, N * P), in(scan.c_0, N * H), in(scan.w_hh, wide * P), in(scan.w_hr, P * H, v.projection);
        in(scan.peephole, wide - H, v.peephole), in(scan.gain_hh, wide, v.norm), in(scan.b_hh, wide, v.norm);
        in(scan.gain_c, H, v.norm), in(scan.bias_c, H, v.norm), in(scan.mask_h, N * P, v.drops);
        in(scan.mask_g, L * N * H, v.drops), in(scan.draw_h, L * N * P, v.zones), in(scan.draw_c, L * N * H, v.zones);
        in(scan.d_y, L * N * P), in(scan.d_h_n, N * P), in(scan.d_c_n, N * H);
        out(scan.z, M * wide), out(scan.y, L * N * P), out(scan.c, M * H), out(scan.h_n, N * P), out(scan.c_n, N * H);
        out(scan.r_hat, M * wide, v.norm), out(scan.r_scale, M, v.norm), out(scan.u_hat, M * H, v.norm);
        out(scan.u_scale, M, v.norm), out(scan.m, M * H, v.projection), out(scan.d_z, M * wide);
        out(scan.d_h_0, N * P), out(scan.d_c_0, N * H), out(scan.d_r, M * wide, v.norm), out(scan.d_u, M * H, v.norm);
        out(scan.d_p, M * P, v.projection);
        size_z_ = M * wide;
    }

    void forward(const carrousel::Trainer<Real>& trainer, std::size_t threads) {
        std::copy(z_, z_ + size_z_, scan.z);
        carrousel::scan_forward(trainer, scan, threads);
    }
    // Of outputs and state, weighted as the backward's inputs say.
    Real loss() const {
        Real sum = 0;
        for (std::size_t k = 0; k < scan.L * scan.N * scan.P; ++k) sum += scan.y[k] * scan.d_y[k];
        for (std::size_t k = 0; k < scan.N * scan.P; ++k) sum += scan.h_n[k] * scan.d_h_n[k];
        for (std::size_t k = 0; k < scan.N * scan.H; ++k) sum += scan.c_n[k] * scan.d_c_n[k];
        return sum;
    }
    std::vector<Real> all() const {
        std::vector<Real> values;
        for (const auto& [data, count] : sizes_) values.insert(values.end(), data, data + count);
        return values;
    }

    Scan<Real> scan{};
    Real* z_ = nullptr;
    std::size_t size_z_ = 0;

private:
    Real* make(std::size_t count, Random* random) {
        memory_.push_back(std::make_unique<Real[]>(count));
        Real* data = memory_.back().get();
        for (std::size_t k = 0; random != nullptr && k < count; ++k) data[k] = static_cast<Real>(random->value());
        sizes_.emplace_back(data, count);
        return data;
    }

    std::vector<std::int64_t> lengths_, cell_;
    std::vector<std::unique_ptr<Real[]>> memory_;
    std::vector<std::pair<Real*, std::size_t>> sizes_;
};

template <class Real>
const carrousel::Trainer<Real>& trainer(const carrousel::Isa& isa) {
    if constexpr (sizeof(Real) == sizeof(float))
        return carrousel::trainers(isa).single;
    else
        return carrousel::trainers(isa).twice;
}

template <class Real>
void threads_agree(const carrousel::Isa& isa) {
    for (unsigned bits = 0; bits < 256; ++bits)
        for (std::size_t H : {1, 5, 17, 130}) {  // at 130 the work is enough for a second thread
            Problem<Real> one(Variant(bits), H), two(Variant(bits), H);
            one.forward(trainer<Real>(isa), 1);
            carrousel::scan_backward(trainer<Real>(isa), one.scan, 1);
            two.forward(trainer<Real>(isa), 2);
            carrousel::scan_backward(trainer<Real>(isa), two.scan, 2);
            CHECK(one.all() == two.all());
        }
}

template <class Real>
void products_agree(const carrousel::Isa& isa) {
    Random random(7);
    for (const auto& [rows, columns, k] : {std::tuple<std::size_t, std::size_t, std::size_t>{1, 1, 1},
                                           {7, 70, 5},
                                           {200, 33, 130},
                                           {13, 3, 1100}}) {
        const auto values = [&](std::size_t count) {
            std::vector<Real> all(count);
            for (Real& one : all) one = static_cast<Real>(random.value());
            return all;
        };
        using carrousel::Form;
        for (Form form : {Form::nt, Form::nn, Form::tn}) {
            const std::vector<Real> a = values(rows * k), b = values(k * columns), bias = values(columns);
            const std::vector<Real> start = values(rows * columns);
            std::vector<Real> once = start, twice = start;
            const Real* added = form == Form::nt ? bias.data() : nullptr;
            carrousel::multiply(trainer<Real>(isa), form, a.data(), b.data(), added, once.data(), rows, columns, k, 1);
            carrousel::multiply(trainer<Real>(isa), form, a.data(), b.data(), added, twice.data(), rows, columns, k, 2);
            CHECK(once == twice);
            for (std::size_t r = 0; r < rows; ++r)
                for (std::size_t c = 0; c < columns; ++c) {
                    double sum = form == Form::nt ? bias[c] : form == Form::tn ? start[r * columns + c] : 0.0;
                    for (std::size_t j = 0; j < k; ++j)
                        sum += static_cast<double>(a[form == Form::tn ? j * rows + r : r * k + j]) *
                               static_cast<double>(b[form == Form::nt ? c * k + j : j * columns + c]);
                    // k products of at most 1, each rounded.
                    const double allowed = static_cast<double>(k) * (sizeof(Real) == sizeof(float) ? 1.2e-7 : 2.3e-16);
                    CHECK(std::fabs(static_cast<double>(once[r * columns + c]) - sum) <= allowed);
                }
        }
    }
}

}  // namespace

TEST(training_gives_the_same_bits_on_one_thread_and_on_two) {
    for (const carrousel::Isa& isa : carrousel::instruction_sets()) {
        if (!isa.supported) continue;
        threads_agree<float>(isa);
        threads_agree<double>(isa);
    }
}

TEST(gradients_by_the_initial_state_are_those_of_finite_differences) {
    const carrousel::Isa& isa = carrousel::choose_isa("");
    const double step = 1e-6;
    for (unsigned bits = 0; bits < 256; ++bits) {
        Problem<double> problem(Variant(bits), 5);
        const auto& own = trainer<double>(isa);
        problem.forward(own, 1);
        carrousel::scan_backward(own, problem.scan, 1);
        for (std::size_t k = 0; k < problem.scan.N * problem.scan.H; ++k) {
            double* c = const_cast<double*>(problem.scan.c_0) + k;
            const double at = *c;
            *c = at + step;
            problem.forward(own, 1);
            const double up = problem.loss();
            *c = at - step;
            problem.forward(own, 1);
            const double down = problem.loss();
            *c = at;
            // The third derivative, with a normalisation's division in it, times the step squared.
            CHECK(std::fabs((up - down) / (2 * step) - problem.scan.d_c_0[k]) < 1e-4);
        }
    }
}

TEST(products_are_those_of_the_definition_and_the_same_bits_on_two_threads) {
    for (const carrousel::Isa& isa : carrousel::instruction_sets()) {
        if (!isa.supported) continue;
        products_agree<float>(isa);
        products_agree<double>(isa);
    }
}

TEST(a_forked_process_trains_without_its_parents_threads) {
    const auto& own = trainer<float>(carrousel::choose_isa(""));
    Problem<float> before(Variant(0), 130);
    before.forward(own, 2);  // the parent's threads are there now
    const pid_t child = fork();
    if (child == 0) {
        alarm(20);  // rather than wait for ever
        Problem<float> problem(Variant(0), 130);
        problem.forward(own, 2);
        _exit(problem.all() == before.all() ? 0 : 1);
    }
    int status = 1;
    waitpid(child, &status, 0);
    CHECK_EQUAL(status, 0);
}
