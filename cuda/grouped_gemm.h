// The linear layers of all experts over ragged groups of rows, and their gradients.
//   pre[r, :] = x[r, :] weight[e]^T + bias[e, :]   for offsets[e] <= r < offsets[e + 1]
//   out = pre, or gelu(pre) in its erf form (wgmma: within 3e-4 of it)
// Shapes   x [capacity, D], pre, out, slope [capacity, H], rows in expert order; weight [E, H, D];
//          bias [E, H]; offsets [E + 1] i64, exclusive, rising from 0, offsets[E] <= capacity.
//          Rows from offsets[E] on are neither read nor written.
// Types    T is float or bfloat16; gradients of parameters are float, a bias is of either type.
//          Sums are float32.
// Experts  one without rows is legal: its dweight and dbias become zero when overwriting.
// Repeat   bitwise repeatable on one device: no atomics, fixed order of sums.
//
// Two kernels do the products. `loop` calls cuBLASLt (cuda/gemm.h) expert by expert and needs the
// offsets on the host, too. `wgmma` is one persistent kernel for compute capability 9.x that reads
// all sizes on the device, so that one recorded into a graph follows the routing and the growth of
// the pool. It wants
//   bfloat16, H and D multiples of kWgmmaWidth, 16-byte aligned matrices, and
//   offsets that are multiples of kWgmmaRows: the rows that pad an expert's group are finite in x
//   and zero in dout; outputs hold bias or gelu(bias) there.
#pragma once

#include <cstdint>

#include "cuda/element_type.h"
#include "cuda/stream.h"

namespace offshoot::cuda {

inline constexpr int64_t kWgmmaWidth = 8;
inline constexpr int64_t kWgmmaRows = 128;

enum class GroupedKernel : uint8_t { loop, wgmma };

// wgmma where the device, the build, the type and the widths allow it, else loop. A layer's routing
// pads its groups by the answer, and every product of it names the same kernel.
GroupedKernel choose_grouped_kernel(int device, ElementType type, int64_t H, int64_t D);

// The multiple of rows to which a group's rows are padded.
constexpr int64_t group_rows(GroupedKernel kernel) {
  return kernel == GroupedKernel::wgmma ? kWgmmaRows : 1;
}

// Which rows belong to which expert.
struct ExpertRows {
  // offsets on the device, and for loop their copy on the host.
  const int64_t* offsets = nullptr;
  const int64_t* host_offsets = nullptr;
  // E; where device_num_experts points to E on the device (wgmma and dbias), its bound.
  int64_t num_experts = 0;
  const int64_t* device_num_experts = nullptr;
  int64_t capacity = 0;  // rows that the buffers have
};

struct GroupedLayer {
  ExpertRows rows;
  int64_t H = 0, D = 0;
  GroupedKernel kernel = GroupedKernel::loop;
  int device = 0;
};

enum class GroupedActivation : uint8_t { none, gelu };

// bias may be null. With gelu, slope becomes gelu'(pre) for the backward unless null.
template <class T>
void grouped_forward(const GroupedLayer& layer, const T* x, const T* weight, ConstElements bias,
                     GroupedActivation activation, T* out, T* slope, Stream stream);

// dpre = dout slope, row by row; dpre may be dout.
template <class T>
void grouped_backward_gelu(const GroupedLayer& layer, const T* dout, const T* slope, T* dpre,
                           Stream stream);

// dx[r, :] (+)= dpre[r, :] weight[e]
template <class T>
void grouped_backward_x(const GroupedLayer& layer, const T* dpre, const T* weight, T* dx,
                        bool overwrite, Stream stream);

// The same times the slope [capacity, D] of the layer beneath, whose out was x: that layer's dpre.
template <class T>
void grouped_backward_x_gelu(const GroupedLayer& layer, const T* dpre, const T* weight,
                             const T* slope, T* dx, Stream stream);

// dweight[e] (+)= dpre[rows of e, :]^T x[rows of e, :]
template <class T>
void grouped_backward_weight(const GroupedLayer& layer, const T* dpre, const T* x, float* dweight,
                             bool overwrite, Stream stream);

// dbias[e, :] (+)= the sum of dpre's rows of e. The same kernel everywhere; needs no host_offsets.
template <class T>
void grouped_backward_bias(const GroupedLayer& layer, const T* dpre, float* dbias, bool overwrite,
                           Stream stream);

// Products so far by what they ran on, forward and backward.
struct GroupedStats {
  int64_t loop;
  int64_t wgmma;
};
GroupedStats grouped_stats();

}  // namespace offshoot::cuda
