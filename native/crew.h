// Threads that wait for one caller: all work on a task at once, and the caller with them.
//
// A process that was forked has none of its parent's threads; there the caller does the whole task alone.
#pragma once

#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <thread>
#include <utility>
#include <vector>

namespace carrousel {

class Crew {
public:
    explicit Crew(std::size_t size) {
        try {
            for (std::size_t k = 0; k < size; ++k) threads_.emplace_back([this, k] { serve(k + 1); });
        } catch (...) {
            dismiss();
            throw;
        }
    }
    ~Crew() { dismiss(); }
    Crew(const Crew&) = delete;
    Crew& operator=(const Crew&) = delete;

    std::size_t size() const { return threads_.size(); }

    // task(0) here and task(1 ...) on the others; returns when all are done. The task may not throw.
    template <class Task>
    void run(const Task& task) {
        if (forked()) {
            for (std::size_t worker = 0; worker <= threads_.size(); ++worker) task(worker);
            return;
        }
        context_ = &task;
        call_ = [](const void* context, std::size_t worker) { (*static_cast<const Task*>(context))(worker); };
        left_.store(threads_.size(), std::memory_order_relaxed);
        round_.fetch_add(1, std::memory_order_release);
        round_.notify_all();
        task(0);
        for (std::size_t spins = 0; left_.load(std::memory_order_acquire) != 0; ++spins)
            if (spins > SPINS) std::this_thread::yield();
    }

private:
    static constexpr std::size_t SPINS = 20000;  // tens of microseconds: longer than the pause between two steps

    void serve(std::size_t worker) {
        std::size_t seen = 0;
        for (;;) {
            std::size_t now = round_.load(std::memory_order_acquire);
            for (std::size_t spins = 0; now == seen && spins < SPINS; ++spins)
                now = round_.load(std::memory_order_acquire);
            if (now == seen) {
                round_.wait(seen, std::memory_order_acquire);
                continue;
            }
            seen = now;
            if (stop_.load(std::memory_order_acquire)) return;
            call_(context_, worker);
            left_.fetch_sub(1, std::memory_order_release);
        }
    }

    bool forked() const { return getpid() != process_; }

    void dismiss() {
        if (forked()) {  // nothing to join, and no thread may be forgotten while it can be joined: leave them be
            new std::vector<std::thread>(std::move(threads_));
            return;
        }
        stop_.store(true, std::memory_order_release);
        round_.fetch_add(1, std::memory_order_release);
        round_.notify_all();
        for (std::thread& thread : threads_) thread.join();
    }

    const void* context_ = nullptr;
    void (*call_)(const void*, std::size_t) = nullptr;
    std::atomic<std::size_t> round_{0}, left_{0};
    std::atomic<bool> stop_{false};
    const pid_t process_ = getpid();
    std::vector<std::thread> threads_;
};

}  // namespace carrousel
