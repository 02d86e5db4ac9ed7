// What training computes, in every variant: reads and writes nothing beyond its arrays (sanitizers watch), gives the
// same bits on any number of threads, and its gradient is that of finite differences. Values are held by the Python
// tests.
#include "train.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <map>
#include <memory>

#include "check.h"
#include "isa.h"
#include "random.h"

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
        scan.E = H / 2 + 2;
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
                    if (static_cast<std::int64_t>(t) < lengths[n]) {
                        cell_.push_back(static_cast<std::int64_t>(M++));
                        place_.push_back(static_cast<std::int64_t>(t * N + n));
                    } else {
                        cell_.push_back(-1);
                    }
            scan.lengths = lengths_.data();
            scan.cell = cell_.data();
            scan.place = place_.data();
        }
        const auto in = [&](const Real*& member, std::size_t count, bool there = true) {
            if (there) member = make(count, &random);
        };
        const auto out = [&](Real*& member, std::size_t count, bool there = true) {
            if (there) member = make(count, nullptr);
        };
        scan.M = M;
        in(scan.x, L * N * scan.E), in(scan.w_ih, wide * scan.E), in(scan.b_ih, wide), in(scan.b_hh, wide);
        in(scan.h_0, N * P), in(scan.c_0, N * H), in(scan.w_hh, wide * P), in(scan.w_hr, P * H, v.projection);
        in(scan.peephole, wide - H, v.peephole), in(scan.gain_ih, wide, v.norm), in(scan.gain_hh, wide, v.norm);
        in(scan.gain_c, H, v.norm), in(scan.bias_c, H, v.norm), in(scan.mask_h, N * P, v.drops);
        in(scan.mask_g, L * N * H, v.drops), in(scan.draw_h, L * N * P, v.zones), in(scan.draw_c, L * N * H, v.zones);
        in(scan.d_y, L * N * P), in(scan.d_h_n, N * P), in(scan.d_c_n, N * H);
        out(scan.z, M * wide), out(scan.y, L * N * P), out(scan.c, M * H), out(scan.h_n, N * P), out(scan.c_n, N * H);
        out(scan.a_hat, M * wide, v.norm), out(scan.a_scale, M, v.norm);
        out(scan.r_hat, M * wide, v.norm), out(scan.r_scale, M, v.norm), out(scan.u_hat, M * H, v.norm);
        out(scan.u_scale, M, v.norm), out(scan.m, M * H, v.projection);
        out(scan.d_h_0, N * P), out(scan.d_c_0, N * H), out(scan.d_x, L * N * scan.E);
        out(scan.d_w_ih, wide * scan.E), out(scan.d_w_hh, wide * P), out(scan.d_w_hr, P * H, v.projection);
        out(scan.d_b_ih, wide), out(scan.d_b_hh, wide), out(scan.d_peephole, wide - H, v.peephole);
        out(scan.d_gain_ih, wide, v.norm), out(scan.d_gain_hh, wide, v.norm), out(scan.d_gain_c, H, v.norm);
        out(scan.d_bias_c, H, v.norm), out(scan.d_z, M * wide), out(scan.d_a, M * wide, v.norm);
        out(scan.d_r, M * wide, v.norm), out(scan.d_p, M * P, v.projection);
        out(scan.sums, N * carrousel::sums_width(scan), carrousel::sums_width(scan) > 0);
    }

    void forward(const carrousel::Trainer<Real>& trainer, std::size_t threads) {
        carrousel::scan_forward(trainer, scan, threads);
    }
    void both_passes(const carrousel::Trainer<Real>& trainer, std::size_t threads) {
        forward(trainer, threads);
        carrousel::scan_backward(trainer, scan, threads);
    }
    // The kernels' own memory in place of the test's.
    void keep_nothing() { scan.d_z = scan.d_a = scan.d_r = scan.d_p = scan.sums = nullptr; }
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

private:
    Real* make(std::size_t count, Random* random) {
        memory_.push_back(std::make_unique<Real[]>(count));
        Real* data = memory_.back().get();
        for (std::size_t k = 0; random != nullptr && k < count; ++k) data[k] = static_cast<Real>(random->value());
        sizes_.emplace_back(data, count);
        return data;
    }

    std::vector<std::int64_t> lengths_, cell_, place_;
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
void threads_agree(const carrousel::Trainer<Real>& own) {
    for (unsigned bits = 0; bits < 256; ++bits)
        for (std::size_t H : {1, 5, 17, 130}) {  // at 130 the work is enough for a second thread
            Problem<Real> one(Variant(bits), H), two(Variant(bits), H);
            one.both_passes(own, 1);
            two.both_passes(own, 2);
            CHECK(one.all() == two.all());
        }
}

// The nearest of what bfloat16 holds, even where two are as near.
double half(double value) {
    const float single = static_cast<float>(value);
    std::uint32_t bits = 0;
    std::memcpy(&bits, &single, sizeof bits);
    bits = (bits + 0x7fffu + ((bits >> 16) & 1u)) & 0xffff0000u;
    float nearest = 0;
    std::memcpy(&nearest, &bits, sizeof nearest);
    return static_cast<double>(nearest);
}
double same(double value) { return value; }

// The products over all cells, by their definitions, of factors that `seen` rounds. epsilon: of the sums.
template <class Real>
void products_agree(const carrousel::Trainer<Real>& own, double (*seen)(double), double epsilon) {
    for (unsigned bits = 0; bits < 256; bits += bits & 1 ? 3 : 1)
        for (std::size_t H : {1, 13, 40, 150}) {
            Problem<Real> problem(Variant(bits), H);
            problem.both_passes(own, 2);
            const Scan<Real>& s = problem.scan;
            const std::size_t wide = s.G * H, E = s.E, P = s.P;
            const auto at = [&](std::size_t cell) {
                return s.place == nullptr ? cell : static_cast<std::size_t>(s.place[cell]);
            };
            const auto h = [&](std::size_t cell, std::size_t j) {
                const std::size_t t = at(cell) / s.N, row = at(cell) % s.N;
                const std::size_t length = s.lengths == nullptr ? s.L : static_cast<std::size_t>(s.lengths[row]);
                const bool first = s.reverse ? t + 1 == length : t == 0;
                const Real* before = first ? s.h_0 + row * P : s.y + ((s.reverse ? t + 1 : t - 1) * s.N + row) * P;
                return s.mask_h == nullptr ? before[j] : before[j] * s.mask_h[row * P + j];
            };
            const Real *d_a = s.d_a == nullptr ? s.d_z : s.d_a, *d_r = s.d_a == nullptr ? s.d_z : s.d_r;
            const auto sum = [&](std::size_t count, const auto& a, const auto& b, Real got, Real start) {
                double total = static_cast<double>(start), size = std::fabs(total);
                for (std::size_t k = 0; k < count; ++k) {
                    const double one = seen(static_cast<double>(a(k))) * seen(static_cast<double>(b(k)));
                    total += one, size += std::fabs(one);
                }
                CHECK(std::fabs(static_cast<double>(got) - total) <=
                      epsilon * size * (4.0 + static_cast<double>(count)));
            };
            for (std::size_t cell = 0; cell < s.M; ++cell)
                for (std::size_t j = 0; j < E; ++j)
                    sum(
                        wide, [&](std::size_t k) { return d_a[cell * wide + k]; },
                        [&](std::size_t k) { return s.w_ih[k * E + j]; }, s.d_x[at(cell) * E + j], Real(0));
            for (std::size_t r = 0; r < wide; ++r) {
                for (std::size_t j = 0; j < E; ++j)
                    sum(
                        s.M, [&](std::size_t k) { return d_a[k * wide + r]; },
                        [&](std::size_t k) { return s.x[at(k) * E + j]; }, s.d_w_ih[r * E + j], Real(0));
                for (std::size_t j = 0; j < P; ++j)
                    sum(
                        s.M, [&](std::size_t k) { return d_r[k * wide + r]; }, [&](std::size_t k) { return h(k, j); },
                        s.d_w_hh[r * P + j], Real(0));
                double bias = 0, size = 0;
                for (std::size_t k = 0; k < s.M; ++k) {
                    bias += static_cast<double>(s.d_z[k * wide + r]);
                    size += std::fabs(static_cast<double>(s.d_z[k * wide + r]));
                }
                CHECK(std::fabs(static_cast<double>(s.d_b_ih[r]) - bias) <= 16 * epsilon * size);
                CHECK(s.d_b_ih[r] == s.d_b_hh[r]);
            }
            for (std::size_t r = 0; r < P && s.d_w_hr != nullptr; ++r)
                for (std::size_t j = 0; j < H; ++j)
                    sum(
                        s.M, [&](std::size_t k) { return s.d_p[k * P + r]; },
                        [&](std::size_t k) { return s.m[k * H + j]; }, s.d_w_hr[r * H + j], Real(0));
        }
}

// y = init + W x, of more rows than a tile has.
template <class Real>
void row_products_agree(const carrousel::Trainer<Real>& own, double (*seen)(double), double epsilon) {
    Random random(4);
    for (const std::size_t outputs : {1, 20, 150})
        for (const std::size_t k : {1, 7, 90}) {
            constexpr std::size_t rows = 11;
            std::vector<Real> w(outputs * k), x(rows * k), init(outputs), y(rows * outputs);
            for (std::vector<Real>* values : {&w, &x, &init})
                for (Real& one : *values) one = static_cast<Real>(random.value());
            std::vector<Real> packed(own.packed_size(outputs, k)), scratch(own.products_scratch(rows, k));
            own.pack(w.data(), outputs, k, false, packed.data());
            std::vector<const Real*> from, start(rows, init.data());
            std::vector<Real*> to;
            for (std::size_t r = 0; r < rows; ++r) from.push_back(&x[r * k]), to.push_back(&y[r * outputs]);
            own.products(packed.data(), outputs, k, rows, from.data(), start.data(), to.data(), scratch.data());
            for (std::size_t r = 0; r < rows; ++r)
                for (std::size_t j = 0; j < outputs; ++j) {
                    double total = static_cast<double>(init[j]);
                    for (std::size_t i = 0; i < k; ++i)
                        total += seen(static_cast<double>(w[j * k + i])) * seen(static_cast<double>(x[r * k + i]));
                    CHECK(std::fabs(static_cast<double>(y[r * outputs + j]) - total) <=
                          epsilon * (4.0 + static_cast<double>(k)));
                }
        }
}

// A sum over more cells than are summed at once.
template <class Real>
void long_sums_agree(const carrousel::Trainer<Real>& own, double (*seen)(double), double epsilon) {
    constexpr std::size_t k = 2500, rows = 100, columns = 70;
    Random random(3);
    std::vector<Real> a(k * rows), b(k * columns), c(rows * columns, Real(1)), sum(rows, Real(1));
    for (std::vector<Real>* values : {&a, &b})
        for (Real& one : *values) one = static_cast<Real>(random.value());
    std::vector<const Real*> of_a, of_b;
    for (std::size_t j = 0; j < k; ++j) of_a.push_back(&a[j * rows]), of_b.push_back(&b[j * columns]);
    const carrousel::OuterTerm<Real> term{of_b.data(), nullptr, columns, c.data()};
    std::vector<Real> scratch(own.outer_scratch(columns, 1));
    own.outer({of_a.data(), k, rows, 0, rows, sum.data(), &term, 1}, scratch.data());
    for (std::size_t r = 0; r < rows; ++r) {
        double total = 1;
        for (std::size_t j = 0; j < k; ++j) total += static_cast<double>(a[j * rows + r]);
        CHECK(std::fabs(static_cast<double>(sum[r]) - total) <= k * epsilon);
        for (std::size_t column = 0; column < columns; ++column) {
            total = 1;
            for (std::size_t j = 0; j < k; ++j)
                total +=
                    seen(static_cast<double>(a[j * rows + r])) * seen(static_cast<double>(b[j * columns + column]));
            CHECK(std::fabs(static_cast<double>(c[r * columns + column]) - total) <= k * epsilon);
        }
    }
}

}  // namespace

TEST(training_gives_the_same_bits_on_one_thread_and_on_two) {
    for (const carrousel::Isa& isa : carrousel::instruction_sets()) {
        if (!isa.supported) continue;
        threads_agree(carrousel::trainers(isa).single);
        threads_agree(carrousel::trainers(isa).half);
        threads_agree(carrousel::trainers(isa).twice);
    }
}

TEST(gradients_are_those_of_finite_differences) {
    const double step = 1e-6;
    for (unsigned bits = 0; bits < 256; ++bits) {
        Problem<double> problem{Variant(bits), 5};
        const auto& own = trainer<double>(carrousel::choose_isa(""));
        if (bits % 2) problem.keep_nothing();
        problem.both_passes(own, 1);
        const Scan<double>& s = problem.scan;
        const std::size_t wide = s.G * s.H;
        const auto holds = [&](const double* by, const double* gradient, std::size_t count) {
            for (std::size_t k = 0; by != nullptr && k < count; k += 1 + count / 20) {
                double* value = const_cast<double*>(by) + k;
                const double at = *value;
                *value = at + step;
                problem.forward(own, 1);
                const double up = problem.loss();
                *value = at - step;
                problem.forward(own, 1);
                const double down = problem.loss();
                *value = at;
                // The third derivative, with a normalisation's division in it, times the step squared.
                CHECK(std::fabs((up - down) / (2 * step) - gradient[k]) < 1e-4);
            }
        };
        holds(s.c_0, s.d_c_0, s.N * s.H);
        holds(s.h_0, s.d_h_0, s.N * s.P);
        holds(s.w_ih, s.d_w_ih, wide * s.E);
        holds(s.w_hh, s.d_w_hh, wide * s.P);
        holds(s.w_hr, s.d_w_hr, s.P * s.H);
        holds(s.b_ih, s.d_b_ih, wide);
        holds(s.peephole, s.d_peephole, wide - s.H);
        holds(s.gain_ih, s.d_gain_ih, wide);
        holds(s.gain_hh, s.d_gain_hh, wide);
        holds(s.gain_c, s.d_gain_c, s.H);
        holds(s.bias_c, s.d_bias_c, s.H);
        if (s.lengths == nullptr) holds(s.x, s.d_x, s.L * s.N * s.E);
    }
}

TEST(products_are_those_of_the_definition_and_those_of_bfloat16_of_rounded_factors) {
    constexpr double single = 6e-8, twice = 1.2e-16;
    for (const carrousel::Isa& isa : carrousel::instruction_sets()) {
        if (!isa.supported) continue;
        const carrousel::Trainers& own = carrousel::trainers(isa);
        products_agree(own.single, same, single);
        products_agree(own.half, half, single);
        products_agree(own.twice, same, twice);
        row_products_agree(own.single, same, single);
        row_products_agree(own.half, half, single);
        row_products_agree(own.twice, same, twice);
        long_sums_agree(own.single, same, single);
        long_sums_agree(own.half, half, single);
        long_sums_agree(own.twice, same, twice);
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
