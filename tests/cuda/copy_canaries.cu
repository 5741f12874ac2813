// Kernels on the copy engine's boxes and barriers, as cuda/grouped_gemm_hopper.cu uses them.
#include <vector>

#include "cuda/hopper.cuh"
#include "tests/cuda/canaries.h"

namespace offshoot::cuda {
namespace {

constexpr int kColumns = kBoxColumns<float>, kBoxRows = 8, kRounds = 5, kRows = kRounds * kBoxRows;
constexpr int kElements = kBoxRows * kColumns;

// Where a box has its element i.
__device__ float& element(char* box, int i) {
  return *reinterpret_cast<float*>(box + swizzled(i / kColumns, i % kColumns * 4));
}

// A warp fills a box and has it stored, again and again.
template <bool kFillsEarly, bool kStoresEarly>
__global__ void store_kernel(const __grid_constant__ CUtensorMap to) {
  OFFSHOOT_DYNAMIC_SHARED(char, box);
  for (int round = 0; round < kRounds; ++round) {
    if (!kFillsEarly) wait_for_stores<0>();
    __syncwarp();
    for (int i = threadIdx.x; i < kElements; i += 32) element(box, i) = round * kElements + i;
    fence_writes();
    if (!kStoresEarly) __syncwarp();
    if (threadIdx.x == 0) {
      store_box(box, &to, 0, round * kBoxRows, 0);
      commit_stores();
    }
  }
  wait_for_stores<0>();
}

template <bool kFillsEarly, bool kStoresEarly>
bool stores_rows(bool planted) {
  std::vector<float> out(kRows * kColumns, -1), expected;
  for (int i = 0; i < kRows * kColumns; ++i) expected.push_back(i);
  const CUtensorMap map = tensor_map(out.data(), kColumns, kRows, 1, kBoxRows);
  launch(planted ? store_kernel<kFillsEarly, kStoresEarly> : store_kernel<false, false>, 1, 32,
         kElements * sizeof(float), nullptr, map);
  return out == expected;
}

// One warp has boxes copied to one stage, another adds them up.
template <bool kCopiesEarly, bool kReadsEarly>
__global__ void sum_kernel(const __grid_constant__ CUtensorMap from, float* sums) {
  OFFSHOOT_DYNAMIC_SHARED(char, box);
  auto* const full = reinterpret_cast<Mbarrier*>(box + kElements * sizeof(float));
  Mbarrier* const empty = full + 1;
  if (threadIdx.x == 0) {
    init(full, 1);
    init(empty, 32);
    fence_init();
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int round = 0; round < kRounds; ++round) {
      if (!kCopiesEarly) wait(empty, round % 2 ^ 1);
      arrive_expecting(full, kElements * sizeof(float));
      copy_box(box, &from, full, 0, round * kBoxRows, 0);
    }
  } else if (threadIdx.x >= 32) {
    float sum = 0;
    for (int round = 0; round < kRounds; ++round) {
      if (!kReadsEarly) wait(full, round % 2);
      for (int i = threadIdx.x - 32; i < kElements; i += 32) sum += element(box, i);
      arrive(empty);
    }
    sums[threadIdx.x - 32] = sum;
  }
  if (kReadsEarly && threadIdx.x == 32) wait(full, (kRounds - 1) % 2);
}

template <bool kCopiesEarly, bool kReadsEarly>
bool sums_columns(bool planted) {
  std::vector<float> in(kRows * kColumns), sums(32, -1), expected(32, 0);
  for (int i = 0; i < kRows * kColumns; ++i) {
    in[i] = i;
    expected[i % 32] += i;
  }
  const CUtensorMap map = tensor_map(in.data(), kColumns, kRows, 1, kBoxRows);
  launch(planted ? sum_kernel<kCopiesEarly, kReadsEarly> : sum_kernel<false, false>, 1, 64,
         kElements * sizeof(float) + 2 * sizeof(Mbarrier), nullptr, map, sums.data());
  return sums == expected;
}

// Two warps take turns; planted: the turn is given while lanes may still wait for it.
template <bool kGivesEarly>
__global__ void turns_kernel(int* turns_of_lane) {
  OFFSHOOT_DYNAMIC_SHARED(Mbarrier, turns);
  if (threadIdx.x == 0) {
    init(&turns[0], 1);
    init(&turns[1], 1);
  }
  __syncthreads();
  const int self = threadIdx.x / 32;
  for (int round = 0; round < kRounds; ++round) {
    wait(&turns[self], self == 0 ? round % 2 ^ 1 : round % 2);
    ++turns_of_lane[threadIdx.x];
    if (!kGivesEarly) __syncwarp();
    if (threadIdx.x % 32 == 0) arrive(&turns[1 - self]);
  }
}

bool takes_turns(bool planted) {
  std::vector<int> turns(64, 0);
  launch(planted ? turns_kernel<true> : turns_kernel<false>, 1, 64, 2 * sizeof(Mbarrier), nullptr,
         turns.data());
  return turns == std::vector<int>(64, kRounds);
}

}  // namespace

std::vector<Canary> copy_canaries() {
  return {
      {"box_filled_before_it_is_stored", stores_rows<true, false>, kReverse, ""},
      {"box_stored_before_it_is_filled", stores_rows<false, true>, kForward | kRandom, ""},
      {"stage_copied_before_it_is_read", sums_columns<true, false>, kForward, ""},
      {"stage_read_before_it_is_copied", sums_columns<false, true>, kReverse, ""},
      {"turn_given_before_it_is_taken", takes_turns, kRandom, "mbarrier wait"},
  };
}

}  // namespace offshoot::cuda
