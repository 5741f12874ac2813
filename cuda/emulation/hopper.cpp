#include "cuda/emulation/hopper.cuh"

#include <cstring>
#include <iterator>
#include <string>

#include "cuda/emulation/warp.h"
#include "cuda/error.h"

namespace offshoot::emulation {
namespace {

constexpr unsigned kAllLanes = ~0u;
constexpr int64_t kChunkBytes = 16;  // what swizzling moves as a whole

// What a tensor map says.
struct Boxes {
  const char* base;
  int64_t columns, rows, matrices;
  int box_columns, box_rows;
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

// Products of one thread that are not done; a group ends where the next one begins.
struct Products {
  Queue<WarpgroupProduct, 64> running;
  Queue<int, 16> group_ends;
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
  Products products[kMaxThreads];
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
  for (const Products& products : u.products) {
    if (products.running.size != 0) fail("a block before has left products that nobody waits for");
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

OFFSHOOT_UNSANITIZED void land(const Copy& copy) {
  const Boxes& boxes = copy.boxes;
  const int64_t box_bytes = int64_t{boxes.box_rows} * boxes.box_columns * 2;
  uint32_t at = 0;
  for (int64_t row = copy.row; row < copy.row + boxes.box_rows; ++row) {
    for (int64_t column = copy.column; column < copy.column + boxes.box_columns;
         column += kChunkBytes / 2, at += kChunkBytes) {
      char chunk[kChunkBytes] = {};
      if (row < boxes.rows && column < boxes.columns && copy.matrix < boxes.matrices) {
        const int64_t element = (copy.matrix * boxes.rows + row) * boxes.columns + column;
        std::memcpy(chunk, boxes.base + 2 * element, sizeof(chunk));
      }
      std::memcpy(copy.to + swizzled(at), chunk, sizeof(chunk));
    }
  }
  units().landings++;
  Phase phase = load(copy.barrier);
  phase.missing_bytes -= static_cast<int32_t>(box_bytes);
  store(copy.barrier, phase);
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

OFFSHOOT_UNSANITIZED Products& own_products() { return units().products[current_thread()]; }

}  // namespace

OFFSHOOT_UNSANITIZED void start_product(const WarpgroupProduct& product) {
  as_engine();
  own_products().running.push(product);
  as_thread();
}

OFFSHOOT_UNSANITIZED void close_group() {
  as_engine();
  Products& products = own_products();
  products.group_ends.push(products.running.size);
  as_thread();
}

OFFSHOOT_UNSANITIZED void wait_for_groups(int most_running, Place place) {
  as_engine();
  Products& products = own_products();
  while (products.group_ends.size > most_running) {
    const int count = products.group_ends.items[0];
    for (int i = 0; i < count; ++i) run(products.running.items[i], current_thread());
    products.running.erase(0, count);
    products.group_ends.erase(0, 1);
    for (int i = 0; i < products.group_ends.size; ++i) products.group_ends.items[i] -= count;
  }
  as_thread();
  meet_warp(kAllLanes, 0, "wgmma_wait", place);  // the warp leaves together
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
  Copy copy{{}, static_cast<char*>(to), barrier, column, row, matrix};
  std::memcpy(&copy.boxes, &map, sizeof(copy.boxes));
  if (shared_offset(to) % 1024 != 0) fail("copy_box: the destination is not 1024-byte aligned");
  const bool at_once =
      order() == Order::forward || (order() == Order::random && (random_number() & 1) != 0);
  if (at_once) {
    land(copy);
  } else {
    units().copies.push(copy);
  }
  as_thread();
}

OFFSHOOT_UNSANITIZED uint32_t shared_offset(const void* at) {
  return static_cast<uint32_t>(static_cast<const char*>(at) - dynamic_shared());
}

}  // namespace offshoot::emulation

namespace offshoot::cuda {

CUtensorMap tensor_map(const bfloat16* base, int64_t columns, int64_t rows, int64_t matrices,
                       int box_columns, int box_rows) {
  if (reinterpret_cast<uintptr_t>(base) % 16 != 0 || base == nullptr || columns % 8 != 0 ||
      columns < 1 || rows < 1 || matrices < 1 || box_columns < 1 || box_columns > 64 ||
      box_rows < 1 || box_rows > 256) {
    throw Error("[cuda emulation] cuTensorMapEncodeTiled: got " + std::to_string(matrices) +
                " matrices of " + std::to_string(rows) + " x " + std::to_string(columns) +
                ", expected what cuda/tensor_map.h says");
  }
  const emulation::Boxes boxes{
      reinterpret_cast<const char*>(base), columns, rows, matrices, box_columns, box_rows};
  CUtensorMap map{};
  std::memcpy(&map, &boxes, sizeof(boxes));
  return map;
}

}  // namespace offshoot::cuda
