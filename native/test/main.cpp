// Runs every test, or those whose names contain the first argument.
#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>

#include "check.h"

static int failures = 0;
std::size_t allocations = 0;

#if !defined(__SANITIZE_ADDRESS__)  // which has its own, and counts nothing
void* operator new(std::size_t size) {
    ++allocations;
    if (void* memory = std::malloc(size ? size : 1)) return memory;
    throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
#endif

std::vector<Test>& tests() {
    static std::vector<Test> all;
    return all;
}

void failed(const char* file, int line, const std::string& what) {
    if (++failures <= 50) std::fprintf(stderr, "%s:%d: %s\n", file, line, what.c_str());
}

int main(int count, char** arguments) {
    int passed = 0, broken = 0;
    for (const Test& test : tests()) {
        if (count > 1 && !std::strstr(test.name, arguments[1])) continue;
        failures = 0;
        try {
            test.body();
        } catch (const std::exception& error) {
            failed(test.name, 0, error.what());
        }
        if (failures) std::fprintf(stderr, "%s: %d failures\n", test.name, failures);
        ++(failures ? broken : passed);
    }
    std::printf("%d passed, %d failed\n", passed, broken);
    return broken || !passed ? 1 : 0;
}
