// The products of cuda/grouped_gemm.h as one persistent kernel each, on the copy engine and matrix
// units of compute capability 9.0. Pointers are 16-byte aligned and not null; widths are multiples
// of kWgmmaWidth.
#pragma once

#include "cuda/grouped_gemm.h"

namespace offshoot::cuda {

// Whether the device is of compute capability 9.x and the build has code for it (sm_90a).
bool has_wgmma(int device);

void wgmma_forward(const GroupedLayer& layer, const bfloat16* x, const bfloat16* weight,
                   ConstElements bias, GroupedActivation activation, bfloat16* out, bfloat16* slope,
                   Stream stream);

// slope: that of the layer beneath, or null. With it dx is overwritten.
void wgmma_backward_x(const GroupedLayer& layer, const bfloat16* dpre, const bfloat16* weight,
                      const bfloat16* slope, bfloat16* dx, bool overwrite, Stream stream);

void wgmma_backward_weight(const GroupedLayer& layer, const bfloat16* dpre, const bfloat16* x,
                           float* dweight, bool overwrite, Stream stream);

}  // namespace offshoot::cuda
