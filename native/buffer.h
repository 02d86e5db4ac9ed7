// Memory that vectors are read from and written to: aligned, zeroed if wished, in huge pages where it is large.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

namespace carrousel {

class Buffer {
public:
    Buffer() = default;
    explicit Buffer(std::size_t bytes, bool zeroed = true) : bytes_(bytes) {
        if (bytes == 0) return;
        constexpr std::size_t huge = std::size_t{2} << 20;
        const std::size_t alignment = bytes >= huge ? huge : 64;
        void* memory = nullptr;
        if (posix_memalign(&memory, alignment, bytes) != 0) throw std::bad_alloc();
        data_ = static_cast<unsigned char*>(memory);
#if defined(MADV_HUGEPAGE)
        if (alignment == huge)
            madvise(data_, bytes / huge * huge, MADV_HUGEPAGE);  // only a wish; no page is half empty
#endif
        if (zeroed) std::memset(data_, 0, bytes);
    }
    Buffer(Buffer&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
    Buffer& operator=(Buffer&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(bytes_, other.bytes_);
        return *this;
    }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    ~Buffer() { std::free(data_); }

    std::size_t bytes() const { return bytes_; }
    unsigned char* data() const { return data_; }
    float* floats() const { return reinterpret_cast<float*>(data_); }

private:
    unsigned char* data_ = nullptr;
    std::size_t bytes_ = 0;
};

// Product of sizes; throws std::bad_alloc where it overflows.
inline std::size_t product(std::size_t a, std::size_t b) {
    std::size_t result = 0;
    if (__builtin_mul_overflow(a, b, &result)) throw std::bad_alloc();
    return result;
}
inline std::size_t product(std::size_t a, std::size_t b, std::size_t c) { return product(product(a, b), c); }

inline std::size_t round_up(std::size_t n, std::size_t to) { return (n + to - 1) / to * to; }

}  // namespace carrousel
