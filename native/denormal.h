// Denormal numbers are flushed to zero inside the kernels, since they cost a hundred times more, and nowhere else.
#pragma once

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace carrousel {

class FlushDenormals {
public:
    FlushDenormals() {
#if defined(__SSE2__)
        before_ = _mm_getcsr();
        if ((before_ & FLUSH) != FLUSH) _mm_setcsr(before_ | FLUSH);
#elif defined(__aarch64__)
        asm volatile("mrs %0, fpcr" : "=r"(before_));
        asm volatile("msr fpcr, %0" ::"r"(before_ | (1ull << 24)));
#endif
    }
    ~FlushDenormals() {
#if defined(__SSE2__)
        if ((before_ & FLUSH) != FLUSH) _mm_setcsr(before_);
#elif defined(__aarch64__)
        asm volatile("msr fpcr, %0" ::"r"(before_));
#endif
    }
    FlushDenormals(const FlushDenormals&) = delete;
    FlushDenormals& operator=(const FlushDenormals&) = delete;

private:
#if defined(__SSE2__)
    static constexpr unsigned FLUSH = 0x8040;  // flush results, take inputs as zero
    unsigned before_;
#elif defined(__aarch64__)
    unsigned long long before_;
#endif
};

}  // namespace carrousel
