// Launchers of cross entropy; the contract: ops/cross_entropy.h. logits, dlogits [N, C] row-major,
// C >= 1, T float or bfloat16; targets [N]; all else float, unless said otherwise.
#pragma once

#include <cstdint>

#include "cuda/bfloat16.h"
#include "cuda/stream.h"

namespace offshoot::cuda {

// losses[n] is 0 where the target is ignore_index, NaN where it is not in [0, C) else. Of a row
// that is not ignored: its largest element, and the logarithm of its sum of exp(x - largest); null
// where no gradient is wanted.
template <class T>
void cross_entropy_rows(const T* logits, const int32_t* targets, int64_t ignore_index, int64_t N,
                        int64_t C, float* largest, float* log_sums, float* losses, Stream stream);

// *counted = the rows that are not ignored, *loss = the mean of theirs, 0 if there are none. Summed
// in double, in an order that N fixes.
void cross_entropy_mean(const float* losses, const int32_t* targets, int64_t ignore_index,
                        int64_t N, int64_t* counted, float* loss, Stream stream);

// overwrite: the tape's accumulation rule (engine/tape.h).
template <class T>
void cross_entropy_backward(const T* logits, const int32_t* targets, int64_t ignore_index,
                            const float* largest, const float* log_sums, const int64_t* counted,
                            const float* dloss, int64_t N, int64_t C, T* dlogits, bool overwrite,
                            Stream stream);

}  // namespace offshoot::cuda
