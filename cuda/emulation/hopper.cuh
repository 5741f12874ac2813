// Stand-ins for the PTX of cuda/hopper.cuh, true to the PTX ISA and to the matrix descriptors of
// wgmma.
//
// What may happen at any time happens early or late by the order of threads: a copy lands at once
// (forward), when somebody waits for its barrier (reverse), or either (random), so that a stage
// filled too early and one read too early both show. So does a copy to the device, which is late
// when somebody waits for it. A product runs when it is waited for.
#pragma once

#include <cstdint>

#include "cuda/emulation/engine.h"
#include "cuda/tensor_map.cuh"

namespace offshoot::emulation {

// One thread's share of d += a b, d [64, columns].
struct WarpgroupProduct {
  float* d;
  int columns;
  uint64_t a, b;
  bool mn_major_a, mn_major_b;
};

// What the ISA calls .sync.aligned: the warp goes on when all its lanes are there.
void converge(const char* what, Place place);

void start_product(const WarpgroupProduct& product);
void close_group();
void wait_for_groups(int most_running, Place place);

// Of a barrier in shared memory.
void init_barrier(uint64_t* barrier, int arrivals);
void arrive_at(uint64_t* barrier, uint32_t bytes);
void wait_at(uint64_t* barrier, int parity, Place place);

void start_copy(void* to, const CUtensorMap& map, uint64_t* barrier, int column, int row,
                int matrix);

void start_store(const void* from, const CUtensorMap& map, int column, int row, int matrix);
void close_stores();
void wait_for_stores(int most_running);

// Counted from the start of the block's dynamic shared memory.
uint32_t shared_offset(const void* at);

}  // namespace offshoot::emulation

namespace offshoot::cuda {

struct Mbarrier {
  uint64_t state;
};

inline uint32_t shared_address(const void* at) { return emulation::shared_offset(at); }

inline void init(Mbarrier* barrier, int arrivals) {
  emulation::init_barrier(&barrier->state, arrivals);
}
inline void fence_init() {}
inline void arrive(Mbarrier* barrier) { emulation::arrive_at(&barrier->state, 0); }
inline void arrive_expecting(Mbarrier* barrier, uint32_t bytes) {
  emulation::arrive_at(&barrier->state, bytes);
}
inline void wait(Mbarrier* barrier, int parity,
                 emulation::Place place = emulation::Place::current()) {
  emulation::wait_at(&barrier->state, parity, place);
}

inline void prefetch(const CUtensorMap*) {}
inline void copy_box(void* to, const CUtensorMap* map, Mbarrier* barrier, int column, int row,
                     int matrix) {
  emulation::start_copy(to, *map, &barrier->state, column, row, matrix);
}

inline void fence_writes() {}
inline void store_box(const void* from, const CUtensorMap* map, int column, int row, int matrix) {
  emulation::start_store(from, *map, column, row, matrix);
}
inline void commit_stores() { emulation::close_stores(); }
template <int kGroups>
void wait_for_stores() {
  emulation::wait_for_stores(kGroups);
}

template <int kRegisters>
void shrink_registers() {}
template <int kRegisters>
void grow_registers() {}

inline void wgmma_fence(emulation::Place place = emulation::Place::current()) {
  emulation::converge("wgmma_fence", place);
}
template <bool kMnMajorA, bool kMnMajorB, int kRegisters>
void wgmma(float (&d)[kRegisters], uint64_t a, uint64_t b) {
  emulation::start_product({d, 2 * kRegisters, a, b, kMnMajorA, kMnMajorB});
}
inline void wgmma_commit() { emulation::close_group(); }
template <int kGroups>
void wgmma_wait(emulation::Place place = emulation::Place::current()) {
  emulation::wait_for_groups(kGroups, place);
}

}  // namespace offshoot::cuda
