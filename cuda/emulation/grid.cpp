#include "cuda/emulation/grid.cuh"

#include <algorithm>
#include <atomic>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "cuda/emulation/executable.h"
#include "cuda/emulation/language.cuh"
#include "cuda/emulation/shared_memory.h"
#include "cuda/error.h"

namespace offshoot::emulation {
namespace {

// The limits of compute capability 9.0.
constexpr unsigned kMaxGridX = 2147483647, kMaxGridYZ = 65535, kMaxBlockZ = 64;
constexpr size_t kMaxSharedBytes = 227 * 1024;

std::atomic<bool> busy{false};
const void* kernel_address;
uint64_t num_blocks_begun;

std::string to_string(dim3 shape) {
  // g++ 12 warns of "(" + std::to_string(...) at -O3.
  std::string text = "(";
  text += std::to_string(shape.x);
  text += ", " + std::to_string(shape.y);
  text += ", " + std::to_string(shape.z);
  return text + ")";
}

[[noreturn]] void refuse(const void* kernel, const std::string& what) {
  throw Error("[cuda] launch of " + function_name(kernel) + ": " + what);
}

// A random permutation of 0 ... count - 1.
std::vector<uint64_t> shuffled(uint64_t count) {
  std::vector<uint64_t> numbers(count);
  std::iota(numbers.begin(), numbers.end(), uint64_t{0});
  for (uint64_t left = count; left > 1; left--) {
    std::swap(numbers[left - 1], numbers[random_number() % left]);
  }
  return numbers;
}

OFFSHOOT_UNSANITIZED void set_position(uint64_t block_number) {
  const dim3 grid = position.grid_shape;
  position.block = {static_cast<unsigned>(block_number % grid.x),
                    static_cast<unsigned>(block_number / grid.x % grid.y),
                    static_cast<unsigned>(block_number / grid.x / grid.y)};
}

OFFSHOOT_UNSANITIZED void set_shapes(dim3 grid, dim3 block) {
  position.grid_shape = grid;
  position.block_shape = block;
}

}  // namespace

void check_launch(const void* kernel, dim3 grid, dim3 block, size_t shared_bytes) {
  if (grid.x < 1 || grid.x > kMaxGridX || grid.y < 1 || grid.y > kMaxGridYZ || grid.z < 1 ||
      grid.z > kMaxGridYZ) {
    refuse(kernel, "grid: got " + to_string(grid) + ", expected (1, 1, 1) to " +
                       to_string({kMaxGridX, kMaxGridYZ, kMaxGridYZ}));
  }
  const uint64_t num_threads = uint64_t{block.x} * block.y * block.z;
  if (num_threads < 1 || num_threads > kMaxThreads || block.z > kMaxBlockZ) {
    refuse(kernel, "block: got " + to_string(block) + ", expected 1 to " +
                       std::to_string(kMaxThreads) + " threads and z at most " +
                       std::to_string(kMaxBlockZ));
  }
  if (shared_bytes > kMaxSharedBytes) {
    refuse(kernel, "dynamic shared memory: got " + std::to_string(shared_bytes) +
                       " bytes, expected at most " + std::to_string(kMaxSharedBytes));
  }
}

void run_grid(const void* kernel, const Body& body, dim3 grid, dim3 block, size_t shared_bytes) {
  if (busy.exchange(true)) fail("a launch inside a kernel, or from a second host thread");
  // Whatever is thrown, the next launch finds the engine free.
  struct Guard {
    ~Guard() {
      kernel_address = nullptr;
      busy.store(false);
    }
  } guard;
  set_order_once();
  prepare_dynamic_shared(shared_bytes);
  set_shapes(grid, block);
  begin_grid();
  kernel_address = kernel;
  const uint64_t num_blocks = uint64_t{grid.x} * grid.y * grid.z;
  std::vector<uint64_t> random_blocks;
  if (order() == Order::random) random_blocks = shuffled(num_blocks);
  for (uint64_t turn = 0; turn < num_blocks; turn++) {
    set_position(order() == Order::forward   ? turn
                 : order() == Order::reverse ? num_blocks - 1 - turn
                                             : random_blocks[turn]);
    num_blocks_begun++;
    fill_shared();
    run_block(body);
  }
  end_grid();
}

const void* running_kernel() { return kernel_address; }

uint64_t block_serial() { return num_blocks_begun; }

}  // namespace offshoot::emulation
