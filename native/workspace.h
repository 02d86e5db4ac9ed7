// Memory for the length of one call, which a thread keeps for its next: what is freed goes back to the system, and to
// get it again, page by page, takes longer than a small product.
#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include "buffer.h"

namespace carrousel {

// Holds anything at first.
template <class Real>
class Workspace {
public:
    Workspace() = default;
    explicit Workspace(std::size_t count) : buffer_(take(product(count, sizeof(Real)))) {}
    Workspace(Workspace&&) noexcept = default;
    Workspace& operator=(Workspace&& other) noexcept {
        std::swap(buffer_, other.buffer_);
        return *this;
    }
    ~Workspace() { give_back(std::move(buffer_)); }

    Real* data() const { return reinterpret_cast<Real*>(buffer_.data()); }

private:
    static constexpr std::size_t KEPT = std::size_t{64} << 20;  // bytes of a thread

    static std::vector<Buffer>& kept() {
        thread_local std::vector<Buffer> buffers;
        return buffers;
    }
    static Buffer take(std::size_t bytes) {
        std::vector<Buffer>& all = kept();
        auto best = all.end();  // the smallest that is large enough
        for (auto one = all.begin(); one != all.end(); ++one)
            if (one->bytes() >= bytes && (best == all.end() || one->bytes() < best->bytes())) best = one;
        if (best == all.end()) return Buffer(bytes, false);
        Buffer found = std::move(*best);
        all.erase(best);
        return found;
    }
    static void give_back(Buffer&& buffer) noexcept {
        std::vector<Buffer>& all = kept();
        std::size_t held = buffer.bytes();
        if (held == 0 || held > KEPT) return;
        try {
            all.push_back(std::move(buffer));
        } catch (...) {
            return;
        }
        // The smallest first: a larger one can stand in for it.
        std::sort(all.begin(), all.end(), [](const Buffer& a, const Buffer& b) { return a.bytes() < b.bytes(); });
        held = 0;
        for (const Buffer& one : all) held += one.bytes();
        while (held > KEPT) {
            held -= all.front().bytes();
            all.erase(all.begin());
        }
    }

    Buffer buffer_;
};

}  // namespace carrousel
