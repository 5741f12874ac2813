// CUDA kernels on the CPU, for builds and machines without a GPU: what cuda/launch.cuh includes
// instead of nvcc's language. Kernels are compiled by g++ and run one block after another, each
// CUDA thread on a fiber of its own once it waits.
//
// OFFSHOOT_EMULATION_ORDER=forward|reverse|random and OFFSHOOT_EMULATION_SEED=<n> set in which
// order runnable threads, and blocks, take turns; a kernel that lacks a barrier goes wrong in one
// of them. With OFFSHOOT_EMULATION_LATE=1 nothing runs before the host waits for it, so that a host
// that forgets to wait reads old values. Under ASan and TSan kernels are checked as host code is:
// TSan sees one thread for each CUDA thread, and order where barriers make it.
#pragma once

#include "cuda/emulation/atomics.cuh"
#include "cuda/emulation/barrier.h"
#include "cuda/emulation/grid.cuh"
#include "cuda/emulation/intrinsics.cuh"
#include "cuda/emulation/language.cuh"
#include "cuda/emulation/shuffle.h"
