// Launchers of what a detector wants to know of each expert; the contract: ops/expert_stats.h. An
// expert is one row of an array [E, size], float or bfloat16. Sums in double: over blocks of
// elements first, then over blocks, in an order that the sizes fix; no atomics.
#pragma once

#include <cstdint>
#include <span>

#include "cuda/bfloat16.h"
#include "cuda/element_type.h"
#include "cuda/stream.h"

namespace offshoot::cuda {

struct ExpertArray {
  ConstElements elements;
  int64_t size;  // of one expert
};

// squares[e] = the sum of squares of expert e over all arrays. `blocks` is scratch of
// expert_squares_scratch(arrays, E) doubles.
int64_t expert_squares_scratch(std::span<const ExpertArray> arrays, int64_t E);
void expert_squares(std::span<const ExpertArray> arrays, int64_t E, double* blocks, double* squares,
                    Stream stream);

// products[e] = (a . a, b . b, a . b) of expert e. `blocks` is scratch of
// expert_products_scratch(E, size) doubles.
int64_t expert_products_scratch(int64_t E, int64_t size);
template <class T>
void expert_products(const T* a, const T* b, int64_t E, int64_t size, double* blocks,
                     double* products, Stream stream);

// For each of `vectors` vectors of `size` elements: out = ((g . w) / (w . w + 1e-12)) w. `out` may
// be g.
template <class T>
void project_rows(const T* g, const T* w, int64_t vectors, int64_t size, T* out, Stream stream);

// Brings its code for float to the current device now: its launches then need no memory.
void load_project_rows();

}  // namespace offshoot::cuda
