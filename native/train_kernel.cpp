// Training's arithmetic, compiled for each instruction set as kernel.cpp is.
//
// A file and a table of its own: a program that only infers refers to nothing of it, and the linker leaves training
// out.
#include "train_kernel.h"

#include "simd.h"

namespace carrousel {

#define JOIN(a, b) a##b
#define NAMED(table, isa) JOIN(table, isa)
extern const Trainers NAMED(trainers_, CARROUSEL_ISA);
const Trainers NAMED(trainers_, CARROUSEL_ISA) = {TRAINER<Exact<float>>, TRAINER<Exact<double>>, TRAINER<Half>};

}  // namespace carrousel
