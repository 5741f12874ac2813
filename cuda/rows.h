// Launchers that pick and sum rows by index; the contract: ops/rows.h. T is float or bfloat16. Rows
// have `size` elements; there are fewer than 2^31 indices and rows.
#pragma once

#include <cstdint>

#include "cuda/bfloat16.h"
#include "cuda/stream.h"

namespace offshoot::cuda {

// to[m] (+)= from[index[m]], for m < count and from [rows, size]; elements `missing` where the
// index is out of range.
template <class T>
void gather_rows(const T* from, const int64_t* index, int64_t count, int64_t rows, int64_t size,
                 float missing, T* to, bool overwrite, Stream stream);

// to[r] (+)= the sum of from[m] with index[m] = r, for to [rows, size], in the order of m: the
// indices are sorted. One out of range is left out. `scratch` is of scatter_rows_bytes(count).
int64_t scatter_rows_bytes(int64_t count);
template <class T>
void scatter_rows(const T* from, const int64_t* index, int64_t count, int64_t rows, int64_t size,
                  void* scratch, T* to, bool overwrite, Stream stream);

}  // namespace offshoot::cuda
