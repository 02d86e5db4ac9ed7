#include "team.h"

#include <dlfcn.h>
#include <unistd.h>

#include <memory>
#include <mutex>

#include "crew.h"
#include "denormal.h"

namespace carrousel {
namespace {

// What GCC compiles `omp parallel` to: GNU's OpenMP has these, and LLVM's and Intel's beside their own.
struct OpenMP {
    void (*parallel)(void (*)(void*), void*, unsigned threads, unsigned flags) = nullptr;
    int (*thread)() = nullptr;
    int (*threads)() = nullptr;

    // The one that torch's operations run on, if torch is loaded; a process may hold several.
    static OpenMP of_torch() {
        OpenMP found;
        void* torch = dlopen("libtorch_cpu.so", RTLD_LAZY | RTLD_NOLOAD);
        if (torch == nullptr) return found;
        found.thread = reinterpret_cast<int (*)()>(dlsym(torch, "omp_get_thread_num"));
        found.threads = reinterpret_cast<int (*)()>(dlsym(torch, "omp_get_num_threads"));
        if (found.thread != nullptr && found.threads != nullptr)
            found.parallel =
                reinterpret_cast<void (*)(void (*)(void*), void*, unsigned, unsigned)>(dlsym(torch, "GOMP_parallel"));
        dlclose(torch);  // one reference less; it stays loaded
        return found;
    }
};

const pid_t process = getpid();  // a forked one has none of its parent's threads

std::mutex lock;
std::unique_ptr<Crew> crew;

}  // namespace

void share_out(std::size_t shares, void (*work)(const void* context, std::size_t share), const void* context) {
    struct Task {
        void (*work)(const void*, std::size_t);
        const void* context;
        std::size_t shares;
        const OpenMP* openmp;

        // Those of one thread of so many: there may be fewer than shares, as in a thread that is one of several
        // already.
        void some(std::size_t thread, std::size_t threads) const {
            const FlushDenormals flush;
            for (std::size_t share = thread; share < shares; share += threads) work(context, share);
        }
    } task{work, context, shares, nullptr};
    if (shares == 1 || getpid() != process) return task.some(0, 1);
    static const OpenMP openmp = OpenMP::of_torch();  // who trains has loaded torch before
    if (openmp.parallel != nullptr) {
        task.openmp = &openmp;
        const auto part = [](void* data) {
            const Task& all = *static_cast<const Task*>(data);
            all.some(static_cast<std::size_t>(all.openmp->thread()), static_cast<std::size_t>(all.openmp->threads()));
        };
        return openmp.parallel(part, &task, static_cast<unsigned>(shares), 0);
    }
    const std::lock_guard<std::mutex> alone(lock);
    if (crew == nullptr || crew->size() + 1 < shares) crew = std::make_unique<Crew>(shares - 1);
    crew->run([&](std::size_t thread) { task.some(thread, crew->size() + 1); });
}

}  // namespace carrousel
