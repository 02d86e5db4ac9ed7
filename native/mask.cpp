#include "mask.h"

#include <algorithm>
#include <string>

#include "architecture.h"
#include "isa.h"
#include "team.h"

namespace carrousel {

#if defined(__x86_64__)
extern const MaskKernel masks_avx2, masks_avx512, masks_avx512vnni;
#elif defined(__aarch64__)
extern const MaskKernel masks_neon;
#endif
extern const MaskKernel masks_portable;

namespace {

const MaskKernel& mask_kernel(const Isa& isa) {
    const std::string name = isa.name;
#if defined(__x86_64__)
    if (name == "avx2") return masks_avx2;
    if (name == "avx512") return masks_avx512;
    if (name.starts_with("avx512")) return masks_avx512vnni;
#elif defined(__aarch64__)
    if (name == "neon") return masks_neon;
#endif
    return masks_portable;
}

constexpr std::size_t WORTHWHILE = 512;  // groups from which on a second thread is worth its waking

template <class Bits>
void fill(void (*kernel)(const Mask&, std::size_t, std::size_t, std::size_t, Bits*), const Mask& mask,
          std::size_t count, void* out, std::size_t threads) {
    const std::size_t groups = (count + MASK_GROUP - 1) / MASK_GROUP;
    const std::size_t shares = std::clamp<std::size_t>(groups / WORTHWHILE, 1, std::max<std::size_t>(threads, 1));
    const auto work = [&](std::size_t share) {
        kernel(mask, groups * share / shares, groups * (share + 1) / shares, count, static_cast<Bits*>(out));
    };
    if (shares == 1)
        work(0);
    else
        share_out(shares, work);
}

}  // namespace

void fill_mask(const Isa& isa, const Mask& mask, std::size_t width, std::size_t count, void* out, std::size_t threads) {
    const MaskKernel& kernel = mask_kernel(isa);
    if (width == 2)
        fill(kernel.two, mask, count, out, threads);
    else if (width == 4)
        fill(kernel.four, mask, count, out, threads);
    else if (width == 8)
        fill(kernel.eight, mask, count, out, threads);
    else
        throw Error("mask: expected elements of 2, 4 or 8 bytes, got " + std::to_string(width));
}

}  // namespace carrousel
