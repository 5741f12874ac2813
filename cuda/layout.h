// Launchers that move elements; the contract: ops/layout.h. T is float or bfloat16.
#pragma once

#include <cstdint>

#include "cuda/bfloat16.h"
#include "cuda/stream.h"
#include "cuda/walk.h"

namespace offshoot::cuda {

// to (+)= from over the walk: to, from.
template <class T>
void move_elements(const Walk& walk, const T* from, T* to, bool overwrite, Stream stream);

// to[i, c, r] (+)= from[i, r, c], for matrices [count, rows, columns].
template <class T>
void transpose_matrices(const T* from, int64_t count, int64_t rows, int64_t columns, T* to,
                        bool overwrite, Stream stream);

}  // namespace offshoot::cuda
