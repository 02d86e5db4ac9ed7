// As much of a test framework as these tests need.
#pragma once

#include <cstddef>
#include <cstdio>
#include <string>
#include <type_traits>
#include <vector>

#include "architecture.h"

struct Test {
    const char* name;
    void (*body)();
};

std::vector<Test>& tests();
extern std::size_t allocations;  // calls of operator new so far
void failed(const char* file, int line, const std::string& what);

// Declares a test; its name is a sentence.
#define TEST(name)                                                             \
    static void name();                                                        \
    static const bool name##_known = (tests().push_back({#name, name}), true); \
    static void name()

#define CHECK(condition) \
    if (!(condition)) failed(__FILE__, __LINE__, #condition)

template <typename A, typename B>
void check_equal(const char* file, int line, const A& got, const B& wanted) {
    if constexpr (std::is_convertible_v<B, std::string>) {
        const std::string a = got, b = wanted;
        if (a != b) failed(file, line, "expected\n    " + b + "\n  got\n    " + a);
    } else {
        if (got != wanted) failed(file, line, "expected " + std::to_string(wanted) + ", got " + std::to_string(got));
    }
}
#define CHECK_EQUAL(got, wanted) check_equal(__FILE__, __LINE__, got, wanted)

// The message of the Error that a body throws.
template <typename Body>
std::string message_of(Body body) {
    try {
        body();
    } catch (const carrousel::Error& error) {
        return error.what();
    }
    return "no error";
}
#define CHECK_REFUSED(expression, message) \
    check_equal(__FILE__, __LINE__, message_of([&] { (void)(expression); }), std::string(message))
