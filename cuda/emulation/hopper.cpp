#include "cuda/emulation/hopper.cuh"

#include <cstring>
#include <iterator>
#include <string>

#include "cuda/emulation/warp.h"
#include "cuda/error.h"

namespace offshoot::emulation {
namespace {

constexpr unsigned kAllLanes = ~0u;
constexpr int kChunkBytes = 16;  // what swizzling moves as a whole
constexpr int kChunksInRow = 8;  // of a box

// What a tensor map says.
struct Boxes {
  char* base;
  int64_t columns, rows, matrices;
  int element_bytes, box_rows;
};
static_assert(sizeof(Boxes) <= sizeof(CUtensorMap));

// In the place of an mbarrier. Shared memory that nobody initialised is no barrier.
struct Phase {
  int32_t missing_bytes;
  uint32_t missing : 10, expected : 10, parity : 1, mark : 11;
};
constexpr uint32_t kMark = 0x2c5;
static_assert(sizeof(Phase) == sizeof(uint64_t));

struct Copy {
  Boxes boxes;
  char* to;
  uint64_t* barrier;
  int column, row, matrix;
};

struct Store {
  Boxes boxes;
  const char* from;
  int column, row, matrix;
};

// What is under way, in plain arrays: TSan would take a container's copies for accesses of the
// engine to a thread's stack.
template <class T, int kCapacity>
struct Queue {
  T items[kCapacity];
  int size = 0;

  OFFSHOOT_UNSANITIZED void push(const T& item) {
    if (size == kCapacity) fail("more than %d copies or products under way", kCapacity);
    __builtin_memcpy(&items[size++], &item, sizeof(T));
  }
  OFFSHOOT_UNSANITIZED void erase(int first, int count) {
    size -= count;
    for (int i = first; i < size; ++i) __builtin_memcpy(&items[i], &items[i + count], sizeof(T));
  }
};

// What one thread started and is not done; a group ends where the next one begins.
template <class T, int kCapacity>
struct Groups {
  Queue<T, kCapacity> running;
  Queue<int, 16> ends;

  OFFSHOOT_UNSANITIZED void close() { ends.push(running.size); }

  // Calls run(item) for the items of all groups but the last few.
  template <class F>
  OFFSHOOT_UNSANITIZED void finish(int most_running, F run) {
    while (ends.size > most_running) {
      const int count = ends.items[0];
      for (int i = 0; i < count; ++i) run(running.items[i]);
      running.erase(0, count);
      ends.erase(0, 1);
      for (int i = 0; i < ends.size; ++i) ends.items[i] -= count;
    }
  }
};

constexpr int kDepth = 16;  // of k in a product
constexpr int kMostRows = 256;

// An operand of a product as floats. Good while the copy engine writes nothing to shared memory,
// so that a warpgroup's threads read it once.
struct Operand {
  uint64_t descriptor;
  bool mn_major;
  int rows;
  uint64_t landings;
  float values[kMostRows][kDepth];
};
// The last few: more than warpgroups use in a pipeline stage.
struct Operands {
  Operand known[8];
  unsigned next = 0;
};

// Of the block that runs.
struct Units {
  uint64_t block = 0;
  Queue<Copy, 256> copies;
  Groups<WarpgroupProduct, 64> products[kMaxThreads];
  Groups<Store, 8> stores[kMaxThreads];
  uint64_t landings = 0;
  Operands a, b;
};
Units& all_units = *new Units;  // never destroyed

OFFSHOOT_UNSANITIZED Units& units() {
  Units& u = all_units;
  if (u.block == block_serial()) return u;
  u.block = block_serial();
  if (u.copies.size != 0) fail("a block before has left copies that nobody waits for");
  u.landings++;
  for (int thread = 0; thread < kMaxThreads; ++thread) {
    if (u.products[thread].running.size != 0 || u.stores[thread].running.size != 0) {
      fail("a block before has left products or stores that nobody waits for");
    }
  }
  return u;
}

OFFSHOOT_UNSANITIZED Phase load(const uint64_t* barrier) {
  Phase phase;
  std::memcpy(&phase, barrier, sizeof(phase));
  if (phase.mark != kMark) fail("mbarrier: used before init");
  return phase;
}

// Ends the phase if nothing is missing.
OFFSHOOT_UNSANITIZED void store(uint64_t* barrier, Phase phase) {
  if (phase.missing == 0 && phase.missing_bytes == 0) {
    phase.parity ^= 1;
    phase.missing = phase.expected;
    note_progress();
  }
  std::memcpy(barrier, &phase, sizeof(phase));
}

OFFSHOOT_UNSANITIZED void arrive_as_engine(uint64_t* barrier, uint32_t bytes) {
  Phase phase = load(barrier);
  if (phase.missing == 0) fail("mbarrier: more arrivals than init announced");
  phase.missing -= 1;
  phase.missing_bytes += static_cast<int32_t>(bytes);
  store(barrier, phase);
}

// Chunks trade places within each 1024 bytes: 128-byte swizzling.
OFFSHOOT_UNSANITIZED uint32_t swizzled(uint32_t address) {
  return address ^ (address >> 7 & 7) << 4;
}

// Calls f(the chunk's offset in the box, its address in the device's memory or null) for each
// chunk.
template <class F>
OFFSHOOT_UNSANITIZED void each_chunk(const Boxes& boxes, int first_column, int first_row,
                                     int matrix, F f) {
  const int chunk_columns = kChunkBytes / boxes.element_bytes;
  uint32_t at = 0;
  for (int64_t row = first_row; row < first_row + boxes.box_rows; ++row) {
    for (int chunk = 0; chunk < kChunksInRow; ++chunk, at += kChunkBytes) {
      const int64_t column = first_column + chunk * chunk_columns;
      const int64_t element = (matrix * boxes.rows + row) * boxes.columns + column;
      const bool inside = row < boxes.rows && column < boxes.columns && matrix < boxes.matrices;
      f(swizzled(at), inside ? boxes.base + boxes.element_bytes * element : nullptr);
    }
  }
}

OFFSHOOT_UNSANITIZED void land(const Copy& copy) {
  const auto land_chunk = [&](uint32_t at, const char* from) OFFSHOOT_UNSANITIZED {
    char chunk[kChunkBytes] = {};
    if (from != nullptr) __builtin_memcpy(chunk, from, kChunkBytes);
    __builtin_memcpy(copy.to + at, chunk, kChunkBytes);
  };
  each_chunk(copy.boxes, copy.column, copy.row, copy.matrix, land_chunk);
  units().landings++;
  Phase phase = load(copy.barrier);
  phase.missing_bytes -= copy.boxes.box_rows * kChunksInRow * kChunkBytes;
  store(copy.barrier, phase);
}

OFFSHOOT_UNSANITIZED void land(const Store& its) {
  each_chunk(its.boxes, its.column, its.row, its.matrix,
             [&](uint32_t at, char* to) OFFSHOOT_UNSANITIZED {
               if (to != nullptr) __builtin_memcpy(to, its.from + at, kChunkBytes);
             });
}

OFFSHOOT_UNSANITIZED void land_all(const uint64_t* barrier) {
  auto& copies = units().copies;
  for (int i = 0; i < copies.size;) {
    if (copies.items[i].barrier != barrier) {
      ++i;
      continue;
    }
    land(copies.items[i]);
    copies.erase(i, 1);
  }
}

// An element of an operand by its descriptor: start, leading and stride bytes in units of 16, and
// the swizzle.
OFFSHOOT_UNSANITIZED float element(uint64_t descriptor, bool mn_major, int mn, int k) {
  const auto field = [descriptor](int bit) {
    return static_cast<uint32_t>(descriptor >> bit & 0x3fff) << 4;
  };
  if (descriptor >> 62 != 1) fail("wgmma: swizzles other than 128 bytes are not emulated");
  const uint32_t start = field(0), leading = field(16), stride = field(32);
  const auto row = static_cast<uint32_t>(mn_major ? k : mn);
  const auto column = static_cast<uint32_t>(mn_major ? mn : k);
  const uint32_t at =
      start + column / 64 * leading + column % 64 * 2 + row / 8 * stride + row % 8 * 128;
  bfloat16 value;
  std::memcpy(&value, dynamic_shared() + swizzled(at), sizeof(value));
  return to_float(value);
}

OFFSHOOT_UNSANITIZED const Operand& read(Operands& operands, uint64_t descriptor, bool mn_major,
                                         int rows) {
  const uint64_t landings = units().landings;
  for (const Operand& known : operands.known) {
    if (known.descriptor == descriptor && known.mn_major == mn_major && known.rows == rows &&
        known.landings == landings) {
      return known;
    }
  }
  Operand& oldest = operands.known[operands.next++ % std::size(operands.known)];
  oldest.descriptor = descriptor;
  oldest.mn_major = mn_major;
  oldest.rows = rows;
  oldest.landings = landings;
  for (int row = 0; row < rows; ++row) {
    for (int k = 0; k < kDepth; ++k) oldest.values[row][k] = element(descriptor, mn_major, row, k);
  }
  return oldest;
}

OFFSHOOT_UNSANITIZED void run(const WarpgroupProduct& product, int thread) {
  const Operand& a = read(units().a, product.a, product.mn_major_a, 64);
  const Operand& b = read(units().b, product.b, product.mn_major_b, product.columns);
  const int first_row = thread % 128 / 32 * 16 + thread % 32 / 4;
  for (int group = 0; group < product.columns / 8; ++group) {
    for (int half = 0; half < 2; ++half) {
      for (int i = 0; i < 2; ++i) {
        const float* const row = a.values[first_row + 8 * half];
        const float* const column = b.values[group * 8 + thread % 4 * 2 + i];
        float sum = 0.0f;
        for (int k = 0; k < kDepth; ++k) sum += row[k] * column[k];
        product.d[group * 4 + half * 2 + i] += sum;
      }
    }
  }
}

OFFSHOOT_UNSANITIZED auto& own_products() { return units().products[current_thread()]; }
OFFSHOOT_UNSANITIZED auto& own_stores() { return units().stores[current_thread()]; }

OFFSHOOT_UNSANITIZED bool happens_at_once() {
  return order() == Order::forward || (order() == Order::random && (random_number() & 1) != 0);
}

// What the copy engine takes.
OFFSHOOT_UNSANITIZED Boxes boxes_at(const CUtensorMap& map, const void* at) {
  if (shared_offset(at) % 1024 != 0) fail("a box in shared memory is not 1024-byte aligned");
  Boxes boxes;
  __builtin_memcpy(&boxes, &map, sizeof(boxes));
  return boxes;
}

}  // namespace

void converge(const char* what, Place place) { meet_warp(kAllLanes, 0, what, place); }

OFFSHOOT_UNSANITIZED void start_product(const WarpgroupProduct& product) {
  as_engine();
  own_products().running.push(product);
  as_thread();
}

OFFSHOOT_UNSANITIZED void close_group() {
  as_engine();
  own_products().close();
  as_thread();
}

OFFSHOOT_UNSANITIZED void wait_for_groups(int most_running, Place place) {
  as_engine();
  own_products().finish(most_running,
                        [](const WarpgroupProduct& product) { run(product, current_thread()); });
  as_thread();
  converge("wgmma_wait", place);
}

OFFSHOOT_UNSANITIZED void init_barrier(uint64_t* barrier, int arrivals) {
  Phase phase{};
  phase.missing = phase.expected = static_cast<uint32_t>(arrivals) & 0x3ff;
  phase.mark = kMark;
  std::memcpy(barrier, &phase, sizeof(phase));
}

OFFSHOOT_UNSANITIZED void arrive_at(uint64_t* barrier, uint32_t bytes) {
  release(barrier);
  as_engine();
  arrive_as_engine(barrier, bytes);
  as_thread();
}

OFFSHOOT_UNSANITIZED void wait_at(uint64_t* barrier, int parity, Place place) {
  for (;;) {
    as_engine();
    if (order() != Order::forward) land_all(barrier);
    const bool over = load(barrier).parity != static_cast<uint32_t>(parity);
    as_thread();
    if (over) break;
    yield("mbarrier wait", place);
  }
  acquire(barrier);
}

OFFSHOOT_UNSANITIZED void start_copy(void* to, const CUtensorMap& map, uint64_t* barrier,
                                     int column, int row, int matrix) {
  as_engine();
  const Copy copy{boxes_at(map, to), static_cast<char*>(to), barrier, column, row, matrix};
  happens_at_once() ? land(copy) : units().copies.push(copy);
  as_thread();
}

OFFSHOOT_UNSANITIZED void start_store(const void* from, const CUtensorMap& map, int column, int row,
                                      int matrix) {
  as_engine();
  const Store its{boxes_at(map, from), static_cast<const char*>(from), column, row, matrix};
  happens_at_once() ? land(its) : own_stores().running.push(its);
  as_thread();
}

OFFSHOOT_UNSANITIZED void close_stores() {
  as_engine();
  own_stores().close();
  as_thread();
}

OFFSHOOT_UNSANITIZED void wait_for_stores(int most_running) {
  as_engine();
  own_stores().finish(most_running, [](const Store& its) { land(its); });
  as_thread();
}

OFFSHOOT_UNSANITIZED uint32_t shared_offset(const void* at) {
  return static_cast<uint32_t>(static_cast<const char*>(at) - dynamic_shared());
}

}  // namespace offshoot::emulation

namespace offshoot::cuda {

template <class T>
CUtensorMap tensor_map(const T* base, int64_t columns, int64_t rows, int64_t matrices,
                       int box_rows) {
  if (reinterpret_cast<uintptr_t>(base) % 16 != 0 || base == nullptr ||
      columns * int64_t{sizeof(T)} % 16 != 0 || columns < 1 || rows < 1 || matrices < 1 ||
      box_rows < 1 || box_rows > 256) {
    throw Error("[cuda emulation] cuTensorMapEncodeTiled: got " + std::to_string(matrices) +
                " matrices of " + std::to_string(rows) + " x " + std::to_string(columns) +
                ", expected what cuda/tensor_map.cuh says");
  }
  const emulation::Boxes boxes{
      reinterpret_cast<char*>(const_cast<T*>(base)), columns, rows, matrices, sizeof(T), box_rows};
  CUtensorMap map{};
  std::memcpy(&map, &boxes, sizeof(boxes));
  return map;
}

template CUtensorMap tensor_map(const float*, int64_t, int64_t, int64_t, int);
template CUtensorMap tensor_map(const bfloat16*, int64_t, int64_t, int64_t, int);

}  // namespace offshoot::cuda
