#include "team.h"

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "check.h"

using namespace carrousel;

namespace {

// Whether each of so many shares is worked on once.
bool each_once(std::size_t shares) {
    std::vector<std::atomic<int>> times(shares);
    share_out(shares, [&](std::size_t share) { times[share].fetch_add(1); });
    for (const std::atomic<int>& count : times)
        if (count.load() != 1) return false;
    return true;
}

}  // namespace

TEST(a_team_works_on_every_share_once) {
    for (std::size_t shares : {1U, 2U, 5U, 3U, 2U, 1U}) CHECK(each_once(shares));
}

TEST(several_threads_may_share_out_at_once) {
    std::atomic<bool> right{true};
    std::vector<std::thread> callers;
    for (int k = 0; k < 3; ++k)
        callers.emplace_back([&] {
            for (int round = 0; round < 20; ++round)
                if (!each_once(3)) right = false;
        });
    for (std::thread& caller : callers) caller.join();
    CHECK(right.load());
}

TEST(a_forked_process_works_alone) {
    CHECK(each_once(2));
    const pid_t child = fork();
    if (child == 0) _exit(each_once(2) ? 0 : 1);
    int status = -1;
    waitpid(child, &status, 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
