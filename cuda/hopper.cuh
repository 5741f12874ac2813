// What compute capability 9.0a adds to CUDA C++, and all PTX of this project: barriers that count
// arrivals and bytes (mbarrier), copies of boxes by the copy engine (TMA), and matrix products of a
// warpgroup, 128 threads (wgmma). Rules and names: PTX ISA. The emulator has stand-ins.
//
// A pipeline stage has two barriers. The producer waits on `empty`, announces the stage's bytes on
// `full`, and starts copies that report to it; consumers wait on `full`, multiply, and arrive on
// `empty` when the product is done.
#pragma once

#include "cuda/launch.cuh"
#include "cuda/tensor_map.cuh"

#ifdef OFFSHOOT_CUDA_EMULATION
#include "cuda/emulation/hopper.cuh"
#else

#include "cuda/wgmma.cuh"

namespace offshoot::cuda {

// In shared memory. A phase is over when all arrivals and all announced bytes have come.
struct Mbarrier {
  uint64_t state;
};

__device__ __forceinline__ uint32_t shared_address(const void* at) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(at));
}

__device__ __forceinline__ void init(Mbarrier* barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)),
               "r"(arrivals)
               : "memory");
}

// Shows initialised barriers to the copy engine; a __syncthreads shows them to other threads.
__device__ __forceinline__ void fence_init() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

__device__ __forceinline__ void arrive(Mbarrier* barrier) {
  asm volatile("mbarrier.arrive.release.cta.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier))
               : "memory");
}

// Arrives, and announces bytes that copies will bring in this phase.
__device__ __forceinline__ void arrive_expecting(Mbarrier* barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.release.cta.shared::cta.b64 _, [%0], %1;" ::"r"(
                   shared_address(barrier)),
               "r"(bytes)
               : "memory");
}

// Until the phase of that parity is over; the one before the first is odd, and over.
__device__ __forceinline__ void wait(Mbarrier* barrier, int parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again_%=:\n"
      "mbarrier.try_wait.parity.acquire.cta.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra again_%=;\n"
      "}" ::"r"(shared_address(barrier)),
      "r"(parity)
      : "memory");
}

__device__ __forceinline__ void prefetch(const CUtensorMap* map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

// Starts to copy the box at (column, row) of a matrix to shared memory, 1024-byte aligned.
__device__ __forceinline__ void copy_box(void* to, const CUtensorMap* map, Mbarrier* barrier,
                                         int column, int row, int matrix) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%3, %4, %5}], [%2];" ::"r"(shared_address(to)),
      "l"(map), "r"(shared_address(barrier)), "r"(column), "r"(row), "r"(matrix)
      : "memory");
}

// Shows the caller's writes to shared memory to the copy engine.
__device__ __forceinline__ void fence_writes() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
// Starts to copy a box from shared memory, 1024-byte aligned; what lies outside the matrix stays.
__device__ __forceinline__ void store_box(const void* from, const CUtensorMap* map, int column,
                                          int row, int matrix) {
  asm volatile(
      "cp.async.bulk.tensor.3d.global.shared::cta.tile.bulk_group [%0, {%2, %3, %4}], [%1];" ::"l"(
          map),
      "r"(shared_address(from)), "r"(column), "r"(row), "r"(matrix)
      : "memory");
}
// Closes the group of the caller's stores since the last one.
__device__ __forceinline__ void commit_stores() {
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}
// Until at most kGroups of the caller's groups still read shared memory.
template <int kGroups>
__device__ __forceinline__ void wait_for_stores() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(kGroups) : "memory");
}

// Registers of each thread of the calling warpgroup: fewer, so that another may have more.
template <int kRegisters>
__device__ __forceinline__ void shrink_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ __forceinline__ void grow_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

// Before the first wgmma, and whenever others than wgmma have touched its registers.
__device__ __forceinline__ void wgmma_fence() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
// Closes the group of the wgmmas since the last one.
__device__ __forceinline__ void wgmma_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
// Until at most kGroups of the groups are not done.
template <int kGroups>
__device__ __forceinline__ void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kGroups) : "memory");
}

}  // namespace offshoot::cuda

#endif

namespace offshoot::cuda {

// A wgmma's operand, 16 of the sum's dimension k deep, in a box that copy_box brought. All boxes
// have rows of 128 bytes and swizzle groups of 8 rows.
inline constexpr uint32_t kBoxRowBytes = 128;
inline constexpr uint32_t kBoxGroupBytes = 8 * kBoxRowBytes;

__device__ __forceinline__ uint64_t box_descriptor(const void* at, uint32_t leading_bytes) {
  constexpr uint64_t kSwizzle128 = uint64_t{1} << 62;
  return uint64_t{(shared_address(at) & 0x3ffff) >> 4} | uint64_t{leading_bytes >> 4} << 16 |
         uint64_t{kBoxGroupBytes >> 4} << 32 | kSwizzle128;
}

// Rows of the box are rows of the operand, k runs along them.
__device__ __forceinline__ uint64_t k_major(const char* box, int first_row, int first_k) {
  return box_descriptor(box + first_row * kBoxRowBytes + first_k * 2, 16);
}

// Rows of the box are k; the operand's rows run along them, 64 a box, boxes of `depth` rows one
// behind the other.
__device__ __forceinline__ uint64_t mn_major(const char* boxes, int first_row, int first_k,
                                             int depth) {
  const uint32_t box_bytes = depth * kBoxRowBytes;
  return box_descriptor(boxes + first_row / 64 * box_bytes + first_k * kBoxRowBytes, box_bytes);
}

// Where a box has the byte of a row that swizzling, by 16 bytes, moves.
__device__ __forceinline__ uint32_t swizzled(int row, int byte) {
  return row * kBoxRowBytes + (byte ^ (row % 8) << 4);
}

}  // namespace offshoot::cuda
