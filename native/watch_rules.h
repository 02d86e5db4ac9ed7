// What Python says of a watch, its constants by "module.NAME" and its arrays by "part.name", in the kernels' form.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "watch_kernel.h"

namespace carrousel {

// An array by what Python says of it: 'd' float64, 'f' float32, 'e' float16, 'l' int64, 'i' int32, 'h' int16, 'H'
// uint16, 'b' int8, 'B' uint8 or bool.
struct WatchArray {
    void* data;
    char kind;
    std::size_t size;
};

using WatchNumbers = std::map<std::string, std::vector<double>>;
using WatchArrays = std::map<std::string, WatchArray>;

// Both throw Error where a number or an array is missing or does not fit. Arrays of covariates, and of the rule of what
// is beyond, are there or not: the rules say so.
WatchRules read_rules(const WatchNumbers& numbers, const WatchArrays& arrays, std::size_t streams,
                      std::size_t variables);
WatchState find_state(const WatchArrays& arrays, const WatchRules& rules);

}  // namespace carrousel
