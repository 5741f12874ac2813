#include "cuda/grouped_gemm.h"

#include <atomic>
#include <limits>
#include <string>
#include <type_traits>

#include "cuda/context.h"
#include "cuda/elements.h"
#include "cuda/error.h"
#include "cuda/gemm.h"
#include "cuda/grouped_epilogue.h"
#include "cuda/grouped_gemm_hopper.h"

namespace offshoot::cuda {
namespace {

[[noreturn]] void fail(const std::string& what) { throw Error("[grouped_gemm] " + what); }

bool wgmma_accepts(ElementType type, int64_t H, int64_t D) {
  return type == ElementType::bf16 && H > 0 && D > 0 && H % kWgmmaWidth == 0 &&
         D % kWgmmaWidth == 0;
}

void check_aligned(const char* what, const void* at) {
  if (reinterpret_cast<uintptr_t>(at) % 16 != 0) {
    fail(std::string(what) + ": got an address that is not 16-byte aligned, expected one that is");
  }
}

template <class T>
void check_wgmma(const GroupedLayer& layer) {
  if (!wgmma_accepts(kElementType<T>, layer.H, layer.D)) {
    fail(std::string("wgmma: got ") + element_name(kElementType<T>) + ", H " +
         std::to_string(layer.H) + " and D " + std::to_string(layer.D) +
         ", expected bfloat16 and multiples of " + std::to_string(kWgmmaWidth));
  }
  if (layer.rows.capacity > std::numeric_limits<int32_t>::max()) {
    fail("capacity: got " + std::to_string(layer.rows.capacity) + " rows, expected less than 2^31");
  }
}

std::atomic<int64_t> loop_calls{0}, wgmma_calls{0};

// Which kernel this call is for; counts it.
bool runs_loop(const GroupedLayer& layer) {
  const bool loop = layer.kernel == GroupedKernel::loop;
  ++(loop ? loop_calls : wgmma_calls);
  return loop;
}

// Calls product(expert, its first row, the number of its rows).
template <class F>
void each_expert(const ExpertRows& rows, F product) {
  if (rows.num_experts > 0 && rows.host_offsets == nullptr) {
    fail("host_offsets: got null, expected the offsets for products expert by expert");
  }
  for (int64_t e = 0; e < rows.num_experts; ++e) {
    const int64_t first = rows.host_offsets[e], last = rows.host_offsets[e + 1];
    if (first < 0 || last < first || last > rows.capacity) {
      fail("host_offsets: got rows " + std::to_string(first) + " to " + std::to_string(last) +
           " for expert " + std::to_string(e) + ", expected a range within " +
           std::to_string(rows.capacity));
    }
    product(e, first, last - first);
  }
}

// The bias comes with the product where nothing but it follows, and its type is that of out.
template <class T>
void loop_forward(const GroupedLayer& layer, const T* x, const T* weight, ConstElements bias,
                  GroupedActivation activation, T* out, T* slope, Stream stream) {
  const int64_t H = layer.H, D = layer.D;
  const bool gelu = activation == GroupedActivation::gelu;
  const bool fused = bias && !gelu && bias.type == kElementType<T>;
  each_expert(layer.rows, [&](int64_t e, int64_t first, int64_t count) {
    gemm({.M = count,
          .N = H,
          .K = D,
          .a = x + first * D,
          .b = weight + e * H * D,
          .transpose_b = true,
          .c = out + first * H,
          .epilogue = fused ? GemmEpilogue::bias : GemmEpilogue::none,
          .bias = fused ? bias + e * H : ConstElements()},
         layer.device, stream);
  });
  if (gelu) {
    grouped_bias_gelu(layer.rows, H, bias, out, slope, stream);
  } else if (bias && !fused) {
    grouped_add_bias(layer.rows, H, bias, out, stream);
  }
}

template <class T>
void loop_backward_x(const GroupedLayer& layer, const T* dpre, const T* weight, T* dx,
                     bool overwrite, Stream stream) {
  const int64_t H = layer.H, D = layer.D;
  each_expert(layer.rows, [&](int64_t e, int64_t first, int64_t count) {
    gemm({.M = count,
          .N = D,
          .K = H,
          .a = dpre + first * H,
          .b = weight + e * H * D,
          .c = dx + first * D,
          .overwrite = overwrite},
         layer.device, stream);
  });
}

template <class T>
void loop_backward_weight(const GroupedLayer& layer, const T* dpre, const T* x, float* dweight,
                          bool overwrite, Stream stream) {
  const int64_t H = layer.H, D = layer.D;
  each_expert(layer.rows, [&](int64_t e, int64_t first, int64_t count) {
    gemm({.M = H,
          .N = D,
          .K = count,
          .a = dpre + first * H,
          .b = x + first * D,
          .transpose_a = true,
          .c = dweight + e * H * D,
          .overwrite = overwrite},
         layer.device, stream);
  });
}

}  // namespace

GroupedKernel choose_grouped_kernel(int device, ElementType type, int64_t H, int64_t D) {
  return wgmma_accepts(type, H, D) && has_wgmma(device) ? GroupedKernel::wgmma
                                                        : GroupedKernel::loop;
}

GroupedStats grouped_stats() { return {loop_calls, wgmma_calls}; }

template <class T>
void grouped_forward(const GroupedLayer& layer, const T* x, const T* weight, ConstElements bias,
                     GroupedActivation activation, T* out, T* slope, Stream stream) {
  if (runs_loop(layer)) {
    return loop_forward(layer, x, weight, bias, activation, out, slope, stream);
  }
  check_wgmma<T>(layer);
  if constexpr (std::is_same_v<T, bfloat16>) {
    check_aligned("bias", bias.data);
    check_aligned("out", out);
    check_aligned("slope", slope);
    wgmma_forward(layer, x, weight, bias, activation, out, slope, stream);
  }
}

template <class T>
void grouped_backward_gelu(const GroupedLayer& layer, const T* dout, const T* slope, T* dpre,
                           Stream stream) {
  grouped_multiply(layer.rows, layer.H, dout, slope, dpre, stream);
}

template <class T>
void grouped_backward_x(const GroupedLayer& layer, const T* dpre, const T* weight, T* dx,
                        bool overwrite, Stream stream) {
  if (runs_loop(layer)) {
    return loop_backward_x(layer, dpre, weight, dx, overwrite, stream);
  }
  check_wgmma<T>(layer);
  if constexpr (std::is_same_v<T, bfloat16>) {
    check_aligned("dx", dx);
    wgmma_backward_x(layer, dpre, weight, nullptr, dx, overwrite, stream);
  }
}

template <class T>
void grouped_backward_x_gelu(const GroupedLayer& layer, const T* dpre, const T* weight,
                             const T* slope, T* dx, Stream stream) {
  if (runs_loop(layer)) {
    loop_backward_x(layer, dpre, weight, dx, true, stream);
    return grouped_multiply(layer.rows, layer.D, dx, slope, dx, stream);
  }
  check_wgmma<T>(layer);
  if constexpr (std::is_same_v<T, bfloat16>) {
    check_aligned("slope", slope);
    check_aligned("dx", dx);
    wgmma_backward_x(layer, dpre, weight, slope, dx, true, stream);
  }
}

template <class T>
void grouped_backward_weight(const GroupedLayer& layer, const T* dpre, const T* x, float* dweight,
                             bool overwrite, Stream stream) {
  if (runs_loop(layer)) {
    return loop_backward_weight(layer, dpre, x, dweight, overwrite, stream);
  }
  check_wgmma<T>(layer);
  if constexpr (std::is_same_v<T, bfloat16>) {
    if (layer.rows.capacity > 0) {
      check_aligned("dweight", dweight);
      wgmma_backward_weight(layer, dpre, x, dweight, overwrite, stream);
    } else if (overwrite) {
      const int64_t elements = layer.rows.num_experts * layer.H * layer.D;
      fill_zero(dweight, elements * int64_t{sizeof(float)}, stream);
    }
  }
}

template <class T>
void grouped_backward_bias(const GroupedLayer& layer, const T* dpre, float* dbias, bool overwrite,
                           Stream stream) {
  grouped_column_sums(layer.rows, layer.H, dpre, dbias, overwrite, stream);
}

#define OFFSHOOT_INSTANTIATE(T)                                                                \
  template void grouped_forward(const GroupedLayer&, const T*, const T*, ConstElements,        \
                                GroupedActivation, T*, T*, Stream);                            \
  template void grouped_backward_gelu(const GroupedLayer&, const T*, const T*, T*, Stream);    \
  template void grouped_backward_x(const GroupedLayer&, const T*, const T*, T*, bool, Stream); \
  template void grouped_backward_x_gelu(const GroupedLayer&, const T*, const T*, const T*, T*, \
                                        Stream);                                               \
  template void grouped_backward_weight(const GroupedLayer&, const T*, const T*, float*, bool, \
                                        Stream);                                               \
  template void grouped_backward_bias(const GroupedLayer&, const T*, float*, bool, Stream);

OFFSHOOT_INSTANTIATE(float)
OFFSHOOT_INSTANTIATE(bfloat16)

#undef OFFSHOOT_INSTANTIATE

}  // namespace offshoot::cuda
