// Routing on CUDA: tensors for the kernels of cuda/route.h. Internal to ops/route.cpp
// and ops/route_any.cpp.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cuda/route.h"
#include "ops/op.h"
#include "ops/route.h"

namespace offshoot::route_cuda {

inline cuda::RouteWeights rule_of(CombineWeights weights) {
  switch (weights) {
    case CombineWeights::raw:
      return cuda::RouteWeights::raw;
    case CombineWeights::renormalised:
      return cuda::RouteWeights::renormalised;
    case CombineWeights::renormalised_if_shared:
      return cuda::RouteWeights::renormalised_if_shared;
  }
  fail("route", "weights: got {}, expected a rule", static_cast<int>(weights));
}

inline cuda::RoutePlan plan_of(const Routing& routing) {
  return {routing.weights.device_data<float>(),
          routing.token_offsets.device_data<int64_t>(),
          routing.expert_of_pair.device_data<int32_t>(),
          routing.tokens_per_expert.device_data<int64_t>(),
          routing.expert_offsets.device_data<int64_t>(),
          routing.token_of_row.device_data<int32_t>(),
          routing.row_of_pair.device_data<int32_t>(),
          routing.pair_of_row.device_data<int32_t>()};
}

// Rows at most: only experts with a token have rows that pad.
inline int64_t most_rows(int64_t pairs, int64_t E, int64_t row_alignment) {
  const int64_t rows = pairs + std::min(E, pairs) * (row_alignment - 1);
  return rows / row_alignment * row_alignment;
}

// A routing on the device of its scores, and what its kernels need meanwhile.
struct Room {
  Routing routing;
  Tensor masks, starts, order, kept;

  // `most` pairs a token and R rows at most.
  Room(const Tensor& scores, int64_t most, int64_t R, int64_t row_alignment) {
    const Device device = scores.device();
    const int64_t N = scores.dim(0), E = scores.dim(1), P = N * most;
    routing.weights = Tensor({P}, scores.dtype(), device);
    routing.token_offsets = Tensor({N + 1}, DType::i64, device);
    routing.expert_of_pair = Tensor({P}, DType::i32, device);
    routing.tokens_per_expert = Tensor({E}, DType::i64, device);
    routing.expert_offsets = Tensor({E + 1}, DType::i64, device);
    routing.token_of_row = Tensor({R}, DType::i32, device);
    routing.row_of_pair = Tensor({P}, DType::i32, device);
    routing.pair_of_row = Tensor({R}, DType::i32, device);
    routing.row_alignment = row_alignment;
    const int64_t words = cuda::route_words(N);
    masks = Tensor({E + 1, words}, DType::i32, device);
    starts = Tensor({E + 1, words}, DType::i32, device);
    order = Tensor({N, most}, DType::i32, device);
    kept = Tensor({N}, DType::i32, device);
  }

  cuda::RouteScratch scratch() const {
    return {reinterpret_cast<uint32_t*>(masks.device_data<int32_t>()),
            starts.device_data<int32_t>(), order.device_data<int32_t>(),
            kept.device_data<int32_t>()};
  }

  // Once the kernels are launched.
  Routing filled() const {
    // Unaligned rows are for the kernel that the host drives expert by expert.
    if (routing.row_alignment == 1) routing.expert_offsets.begin_host_copy();
    return routing;
  }
};

// A token keeps `most` experts, or fewer where that depends on the mass. R rows at most. `sums`
// [N]: the mass of each token's kept experts, for the backward.
template <class T>
Routing forward(const Tensor& probs, const RouteOptions& options, int64_t most, bool until_mass,
                int64_t R, const Tensor& sums) {
  const Room room(probs, most, R, options.row_alignment);
  cuda::route_forward(probs.device_data<T>(), probs.dim(0), probs.dim(1),
                      {most, until_mass, static_cast<float>(options.p)}, rule_of(options.weights),
                      options.row_alignment, room.scratch(), sums.device_data<T>(),
                      plan_of(room.routing), stream_of(probs));
  return room.filled();
}

template <class T>
void backward(const Tensor& probs, const Routing& routing, CombineWeights weights,
              const Tensor& sums, const Tensor& dout, const GradSlot& dprobs) {
  cuda::route_backward(plan_of(routing), sums.device_data<T>(), rule_of(weights),
                       dout.device_data<T>(), probs.dim(0), probs.dim(1),
                       dprobs.grad.device_data<T>(), dprobs.overwrite, stream_of(probs));
}

}  // namespace offshoot::route_cuda
