// Launchers of row lookup; the contract: ops/embedding.h. weight, dweight [V, D] and out, dout
// [N, D] row-major float; ids [N].
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/stream.h"

namespace offshoot::cuda {

// A row of NaN where the id is not in [0, V).
void embedding_forward(const float* weight, const int32_t* ids, int64_t N, int64_t V, int64_t D,
                       float* out, Stream stream);

// Sorts the ids, stably, then sums each id's rows in the order of n, beginning with what is there:
// the order of additions is the CPU's. Ids not in [0, V) are left out. `scratch`, 256-byte aligned,
// is of embedding_scratch_bytes(N). overwrite: the tape's accumulation rule (engine/tape.h).
size_t embedding_scratch_bytes(int64_t N);
void embedding_backward(const float* dout, const int32_t* ids, int64_t N, int64_t V, int64_t D,
                        void* scratch, float* dweight, bool overwrite, Stream stream);

}  // namespace offshoot::cuda
