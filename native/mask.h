// Masks of dropout from a counter: an element depends on its place and a key, on nothing drawn before it.
//
// Philox4x32-10 of Salmon, Moraes, Dror & Shaw 2011, Parallel Random Numbers: As Easy as 1, 2, 3, section 3.3. Counter
// (b, b >> 32, 0, 0) gives the four words of block b. Element i is word (i / 16) % 4 of block 16 · (i / 64) +
// i % 16: vectors of any width then write what they hold.
#pragma once

#include <cstddef>
#include <cstdint>

namespace carrousel {

struct Isa;  // isa.h

constexpr std::size_t MASK_GROUP = 64;  // elements that 16 neighbouring blocks give

struct Mask {
    std::uint64_t key;
    std::uint32_t bound;  // words below it leave the value, others 0
    std::uint64_t value;  // its bits, as wide as an element
};

// Elements of the groups first ... last - 1 into out, which has `count` elements in all and may end within a group.
struct MaskKernel {
    void (*two)(const Mask&, std::size_t first, std::size_t last, std::size_t count, std::uint16_t* out);
    void (*four)(const Mask&, std::size_t first, std::size_t last, std::size_t count, std::uint32_t* out);
    void (*eight)(const Mask&, std::size_t first, std::size_t last, std::size_t count, std::uint64_t* out);
};

// Fill `count` elements of 2, 4 or 8 bytes; the same bits on any number of threads and with any instruction set.
// Throws Error for another width.
void fill_mask(const Isa& isa, const Mask& mask, std::size_t width, std::size_t count, void* out, std::size_t threads);

}  // namespace carrousel
