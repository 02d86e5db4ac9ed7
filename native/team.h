// Threads that a whole process shares: torch's own where it runs on OpenMP.
//
// Its threads turn in place for some milliseconds after each of its operations. Threads of another pool beside them
// would get half a core each, and training calls alternate with torch's operations.
#pragma once

#include <cstddef>

namespace carrousel {

// work(context, share) for share 0 ... shares - 1, in as many threads where they can be had; returns when all are done.
// Calls of several threads take turns. The work may not throw.
// Throws std::bad_alloc or std::system_error where threads of our own cannot be made.
void share_out(std::size_t shares, void (*work)(const void* context, std::size_t share), const void* context);

template <class Work>
void share_out(std::size_t shares, const Work& work) {
    share_out(
        shares, [](const void* context, std::size_t share) { (*static_cast<const Work*>(context))(share); }, &work);
}

}  // namespace carrousel
