// Masks of dropout, compiled once per instruction set; see mask.h for what is drawn.
#include "mask.h"
#include "simd.h"

namespace carrousel {
namespace {

constexpr int LANES = V / 2;  // words beside each other, each in the lower half of 64 bits
using vq = std::uint64_t __attribute__((vector_size(8 * LANES)));

// As many elements of one width as there are lanes; GCC wants the sizes of vectors spelt out.
#define ROW(name, bits, bytes)                                                                     \
    struct name {                                                                                  \
        using Bits = bits;                                                                         \
        using Row = bits __attribute__((vector_size(bytes * LANES)));                              \
        using Loose = bits __attribute__((vector_size(bytes * LANES), aligned(bytes), may_alias)); \
    }
ROW(Two, std::uint16_t, 2);
ROW(Four, std::uint32_t, 4);
ROW(Eight, std::uint64_t, 8);

// All 64 bits of the product; a's upper halves are 0.
INLINE vq times(vq a, std::uint32_t m) {
#if defined(CARROUSEL_PLAIN)
    return a * m;
#elif defined(__AVX512F__)
    return reinterpret_cast<vq>(_mm512_mul_epu32(reinterpret_cast<__m512i>(a), _mm512_set1_epi64(m)));
#elif defined(__AVX2__)
    return reinterpret_cast<vq>(_mm256_mul_epu32(reinterpret_cast<__m256i>(a), _mm256_set1_epi64x(m)));
#elif defined(__SSE2__)
    return reinterpret_cast<vq>(_mm_mul_epu32(reinterpret_cast<__m128i>(a), _mm_set1_epi64x(m)));
#elif defined(__ARM_NEON)
    return reinterpret_cast<vq>(vmull_n_u32(vmovn_u64(reinterpret_cast<uint64x2_t>(a)), m));
#else
    return a * m;
#endif
}

struct Words {
    vq at[4];
};

INLINE Words philox(Words w, std::uint64_t key) {
    constexpr std::uint64_t LOW = 0xFFFFFFFF;
    std::uint32_t k0 = static_cast<std::uint32_t>(key), k1 = static_cast<std::uint32_t>(key >> 32);
    for (int round = 0; round < 10; ++round) {
        const vq p = times(w.at[0], 0xD2511F53), q = times(w.at[2], 0xCD9E8D57);
        w = {{(q >> 32) ^ w.at[1] ^ k0, q & LOW, (p >> 32) ^ w.at[3] ^ k1, p & LOW}};
        k0 += 0x9E3779B9;
        k1 += 0xBB67AE85;
    }
    return w;
}

template <class Width>
INLINE void fill_group(const Mask& mask, std::size_t group, typename Width::Bits* out) {
    using Row = typename Width::Row;
    constexpr std::size_t BLOCKS = MASK_GROUP / 4;
    const vq bound = mask.bound - vq{};
    const Row value = static_cast<typename Width::Bits>(mask.value) - Row{};
    for (std::size_t lane = 0; lane < BLOCKS; lane += LANES) {
        vq block{};
        for (int k = 0; k < LANES; ++k) block[k] = group * BLOCKS + lane + static_cast<std::size_t>(k);
        const Words words = philox({{block & 0xFFFFFFFF, block >> 32, vq{}, vq{}}}, mask.key);
        for (std::size_t j = 0; j < 4; ++j) {
            // Both are below 2³²: the difference is negative where the word is the smaller one.
            const Row marked = __builtin_convertvector((words.at[j] - bound) >> 63, Row);
            *reinterpret_cast<typename Width::Loose*>(out + BLOCKS * j + lane) = value & -marked;
        }
    }
}

template <class Width>
void fill(const Mask& mask, std::size_t first, std::size_t last, std::size_t count, typename Width::Bits* out) {
    for (std::size_t group = first; group < last; ++group) {
        const std::size_t at = group * MASK_GROUP;
        if (count - at >= MASK_GROUP) {
            fill_group<Width>(mask, group, out + at);
            continue;
        }
        typename Width::Bits part[MASK_GROUP];
        fill_group<Width>(mask, group, part);
        for (std::size_t k = 0; k < count - at; ++k) out[at + k] = part[k];
    }
}

}  // namespace

#define JOIN(a, b) a##b
#define NAMED(table, isa) JOIN(table, isa)
extern const MaskKernel NAMED(masks_, CARROUSEL_ISA);
const MaskKernel NAMED(masks_, CARROUSEL_ISA) = {fill<Two>, fill<Four>, fill<Eight>};

}  // namespace carrousel
