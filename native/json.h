// A strict reader of JSON for config.json and the header of a safetensors file: what Python's artifact.parse_json
// refuses is refused here too, and whatever the bytes are, memory and depth stay bounded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace carrousel {

constexpr std::size_t json_size_limit = 16'000'000;  // bytes, as CONFIG_LIMIT and HEADER_LIMIT of artifact.py
constexpr std::size_t json_value_limit = 2'000'000;  // values, which bounds what a small file can make of the memory
constexpr std::size_t json_depth_limit = 128;

struct Json {
    enum class Type { null, boolean, integer, number, string, array, object };

    Type type = Type::null;
    bool boolean = false;
    std::int64_t integer = 0;       // of an integer: a number without fraction and exponent that int64 holds
    double number = 0.0;            // of an integer or a number
    std::string text;               // of a string
    std::vector<Json> items;        // of an array or an object
    std::vector<std::string> keys;  // of an object: items[k] is called keys[k]

    bool is_number() const { return type == Type::integer || type == Type::number; }

    // The value of a key, or null where there is none.
    const Json* find(std::string_view key) const;
};

// Throws Error for anything but UTF-8 JSON with finite numbers, whole characters and each key once.
Json parse_json(std::string_view data, const std::string& where);

// A value in a few words for "got ...".
std::string describe(const Json& value);

// Text from a file in quotes, short and printable.
std::string quote(std::string_view text);

// The remedy for an unknown name: the known one nearest to it, or all of them.
std::string nearest(std::string_view name, std::vector<std::string> known);

}  // namespace carrousel
