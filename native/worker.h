// The memory in which one thread takes a block of steps through a stack, and how much of it a call needs.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "buffer.h"
#include "kernel.h"

namespace carrousel {

// The sizes of one worker's memory for a call through a stack.
struct Plan {
    std::size_t rows = 0;   // of a group
    std::size_t steps = 0;  // of a block
    std::size_t cells = 0;  // rows · steps
    std::size_t width = 0;  // floats of the widest layer's output, padded
    std::size_t in = 0;     // floats of an input, padded; 0: not copied
    std::size_t drive = 0;  // floats of drive a cell, 0: none needed
    std::size_t scratch = 0;

    bool fits_in(const Plan& other) const {
        return rows <= other.rows && cells <= other.cells && steps <= other.steps && width <= other.width &&
               in * cells <= other.in * other.cells && drive * cells <= other.drive * other.cells &&
               scratch <= other.scratch;
    }
};

using Pointers = std::vector<float*>;
using Inputs = std::vector<const float*>;

// What one thread works with.
struct Worker {
    Plan plan;
    Buffer values[2], inputs, drive, scratch;
    Inputs in, h, step_x;
    Pointers out, c, drives, step_y;
    Inputs step_drive;
    std::vector<std::size_t> start;  // index of the first cell of each step of a block
    std::vector<TraceRow> trace;

    void prepare(const Plan& wanted) {
        if (wanted.fits_in(plan)) return;
        Plan next = plan;
        next.rows = std::max(next.rows, wanted.rows);
        next.steps = std::max(next.steps, wanted.steps);
        next.cells = std::max(next.cells, wanted.cells);
        next.width = std::max(next.width, wanted.width);
        next.in = std::max(next.in, wanted.in);
        next.drive = std::max(next.drive, wanted.drive);
        next.scratch = std::max(next.scratch, wanted.scratch);
        for (Buffer& buffer : values) buffer = Buffer(product(next.cells, next.width, sizeof(float)));
        inputs = Buffer(product(next.cells, next.in, sizeof(float)));
        drive = Buffer(product(next.cells, next.drive, sizeof(float)));
        scratch = Buffer(product(next.scratch, sizeof(float)));
        in.resize(next.cells);
        out.resize(next.cells);
        drives.resize(next.drive ? next.cells : 0);
        start.resize(next.steps + 1);
        for (Inputs* list : {&h, &step_x, &step_drive}) list->resize(next.rows);
        for (Pointers* list : {&c, &step_y}) list->resize(next.rows);
        trace.resize(next.rows);
        plan = next;
    }
};

}  // namespace carrousel
