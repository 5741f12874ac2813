// Launchers on elements without shape: what tensors and tapes are made of. T, From, To are float
// or bfloat16. Kernels only, no memory nodes, so that they may be part of a captured graph.
#pragma once

#include <cstdint>

#include "cuda/bfloat16.h"
#include "cuda/stream.h"

namespace offshoot::cuda {

void fill_zero(void* to, int64_t bytes, Stream stream);

// Ranges that do not overlap.
void copy(const void* from, void* to, int64_t bytes, Stream stream);

// Brings the code of copy() to the current device now: its launches then need no memory.
void load_copy();

// to[i] (+)= from[i], rounded to To.
template <class From, class To>
void accumulate_elements(const From* from, To* to, int64_t count, bool overwrite, Stream stream);

// to[i] = factor * from[i]
template <class T>
void scale_elements(const T* from, T* to, int64_t count, float factor, Stream stream);

}  // namespace offshoot::cuda
