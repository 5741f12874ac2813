// __syncthreads and its relatives.
#pragma once

#include "cuda/emulation/engine.h"

namespace offshoot::emulation {

// What the threads of one barrier voted.
struct Votes {
  int yes, no;
};

// Meets all threads of the block that have not returned. Fails when they wait in different places.
Votes meet_block(bool vote, const char* what, Place place);

// What the scheduler tells: a new block begins; a thread has returned, while others wait.
void begin_barrier();
void open_barrier_if_complete();

}  // namespace offshoot::emulation

inline void __syncthreads(
    offshoot::emulation::Place place = offshoot::emulation::Place::current()) {
  offshoot::emulation::meet_block(false, "__syncthreads", place);
}
inline int __syncthreads_or(
    int vote, offshoot::emulation::Place place = offshoot::emulation::Place::current()) {
  return offshoot::emulation::meet_block(vote != 0, "__syncthreads_or", place).yes != 0;
}
inline int __syncthreads_and(
    int vote, offshoot::emulation::Place place = offshoot::emulation::Place::current()) {
  return offshoot::emulation::meet_block(vote != 0, "__syncthreads_and", place).no == 0;
}
inline int __syncthreads_count(
    int vote, offshoot::emulation::Place place = offshoot::emulation::Place::current()) {
  return offshoot::emulation::meet_block(vote != 0, "__syncthreads_count", place).yes;
}
