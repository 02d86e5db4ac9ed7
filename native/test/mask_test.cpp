// Masks of dropout: the published numbers of Philox, the same bits however the work is shared, nothing written beyond.
#include "mask.h"

#include <vector>

#include "check.h"
#include "isa.h"

namespace {

template <class Bits>
std::vector<Bits> filled(const carrousel::Isa& isa, const carrousel::Mask& mask, std::size_t count,
                         std::size_t threads) {
    std::vector<Bits> out(count, 7);
    carrousel::fill_mask(isa, mask, sizeof(Bits), count, out.data(), threads);
    return out;
}

// The word of an element: its bits one after the other, by asking which bound it is below.
std::uint32_t word(const carrousel::Isa& isa, std::uint64_t key, std::size_t element) {
    std::uint32_t found = 0;
    for (std::uint32_t bit = std::uint32_t{1} << 31; bit != 0; bit >>= 1)
        if (filled<std::uint32_t>(isa, {key, found | bit, 1}, 64, 1)[element] == 0) found |= bit;
    return found;
}

}  // namespace

TEST(words_are_those_that_philox_publishes) {  // kat_vectors of Random123: counter 0, key 0
    const std::uint32_t published[] = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};
    for (const carrousel::Isa& isa : carrousel::instruction_sets())
        if (isa.supported)
            for (std::size_t j = 0; j < 4; ++j) CHECK_EQUAL(word(isa, 0, 16 * j), published[j]);
}

TEST(a_mask_is_the_same_with_every_instruction_set_on_any_threads_and_of_any_length) {
    const carrousel::Mask mask{0x0123456789abcdefULL, 0xb3333333, 0x3fb6db6e};
    const std::size_t whole = 64 * 1600 + 9;
    const auto& sets = carrousel::instruction_sets();
    const std::vector<std::uint32_t> wanted = filled<std::uint32_t>(sets.front(), mask, whole, 1);
    for (const carrousel::Isa& isa : sets) {
        if (!isa.supported) continue;
        for (std::size_t threads : {1U, 2U, 3U}) CHECK(filled<std::uint32_t>(isa, mask, whole, threads) == wanted);
        for (std::size_t count : {0U, 1U, 63U, 64U, 65U, 1000U}) {
            const auto part = filled<std::uint32_t>(isa, mask, count, 2);
            CHECK(std::equal(part.begin(), part.end(), wanted.begin()));
            const auto narrow = filled<std::uint16_t>(isa, mask, count, 1);
            const auto wide = filled<std::uint64_t>(isa, mask, count, 1);
            for (std::size_t k = 0; k < count; ++k) {
                CHECK_EQUAL(narrow[k], wanted[k] == 0 ? 0 : 0xdb6e);
                CHECK_EQUAL(wide[k], wanted[k] == 0 ? 0 : mask.value);
            }
        }
    }
}

TEST(a_mask_of_elements_of_another_width_is_refused) {
    bool refused = false;
    try {
        carrousel::fill_mask(carrousel::instruction_sets().front(), {}, 3, 1, nullptr, 1);
    } catch (const carrousel::Error&) {
        refused = true;
    }
    CHECK(refused);
}
