// Runs every test, or those whose names contain the first argument.
#include <cstring>
#include <exception>

#include "check.h"

static int failures = 0;

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
