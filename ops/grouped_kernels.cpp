#include "ops/grouped_kernels.h"

#include <algorithm>
#include <vector>

#include "engine/parallel.h"

namespace offshoot {
namespace {

// Multiply-adds of a task in the pool: about 2 us, so that claiming it costs little and the last
// one holds nobody up for long.
constexpr int64_t kTaskProducts = 200'000;
constexpr int64_t kLeastTaskRows = 32;

// From here on, about 0.3 ms for one thread, an expert's product is worth the whole pool, and the
// threads share one packed copy of its weights.
constexpr int64_t kLargeProducts = 32'000'000;

int64_t num_experts(std::span<const int64_t> offsets) {
  return static_cast<int64_t>(offsets.size()) - 1;
}

// Rows [first, last) of one matrix, of `expert`.
struct Block {
  int64_t expert;
  int64_t first;
  int64_t last;
};

// Appends [first, last) cut into blocks of about kTaskProducts, of lengths that differ by at most
// 8, the height of a tile of gemm.
void append_blocks(std::vector<Block>& blocks, int64_t expert, int64_t first, int64_t last,
                   int64_t products_per_row) {
  constexpr int64_t kTile = 8;
  const int64_t rows = last - first;
  const int64_t block_rows =
      std::max(kLeastTaskRows, kTaskProducts / std::max<int64_t>(1, products_per_row));
  const int64_t count = std::max<int64_t>(1, rows / block_rows);
  const int64_t tiles = (rows + kTile - 1) / kTile;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t begin = first + std::min(rows, tiles * i / count * kTile);
    const int64_t end = first + std::min(rows, tiles * (i + 1) / count * kTile);
    blocks.push_back({expert, begin, end});
  }
}

// Calls f(block) for all blocks, in parallel, or one after another when their products are large
// enough to be parallel themselves.
template <class F>
void for_blocks(const std::vector<Block>& blocks, bool large, F f) {
  if (large) {
    for (const Block& block : blocks) f(block);
  } else {
    parallel_tasks(static_cast<int64_t>(blocks.size()),
                   [&](int64_t i) { f(blocks[static_cast<size_t>(i)]); });
  }
}

}  // namespace

template <class T>
void detail::run_grouped_gemm_then(std::span<const int64_t> offsets, int64_t N, int64_t K,
                                   MatrixView<T> a, ExpertMatrices<T> b, T* c, int64_t ldc,
                                   bool overwrite, ExpertRowsDone done) {
  const int64_t E = num_experts(offsets);
  const bool large = offsets.back() * N * K >= E * kLargeProducts;
  std::vector<Block> blocks;
  for (int64_t e = 0; e < E; ++e) {
    const int64_t first = offsets[static_cast<size_t>(e)];
    const int64_t last = offsets[static_cast<size_t>(e) + 1];
    if (first == last) continue;
    if (large) {
      blocks.push_back({e, first, last});
    } else {
      append_blocks(blocks, e, first, last, N * K);
    }
  }
  for_blocks(blocks, large, [&](const Block& block) {
    gemm_then<T>(block.last - block.first, N, K, a.rows_from(block.first), b[block.expert],
                 c + block.first * ldc, ldc, overwrite, [&](int64_t first, int64_t last) {
                   done.call(done.object, block.expert, block.first + first, block.first + last);
                 });
  });
}

template <class T>
void grouped_gemm(std::span<const int64_t> offsets, int64_t N, int64_t K, MatrixView<T> a,
                  ExpertMatrices<T> b, T* c, int64_t ldc, bool overwrite) {
  grouped_gemm_then<T>(offsets, N, K, a, b, c, ldc, overwrite, [](int64_t, int64_t, int64_t) {});
}

template <class T>
void grouped_gemm_weights(std::span<const int64_t> offsets, int64_t M, int64_t N, const T* a,
                          int64_t lda, const T* b, int64_t ldb, T* c, int64_t expert_stride,
                          bool overwrite) {
  const int64_t E = num_experts(offsets);
  const bool large = offsets.back() * M * N >= E * kLargeProducts;
  const auto rows_of = [&](int64_t e) {
    return offsets[static_cast<size_t>(e) + 1] - offsets[static_cast<size_t>(e)];
  };
  std::vector<Block> blocks;  // of rows of c[e]
  for (int64_t e = 0; e < E; ++e) {
    if (large) {
      blocks.push_back({e, 0, M});
    } else {
      append_blocks(blocks, e, 0, M, rows_of(e) * N);
    }
  }
  for_blocks(blocks, large, [&](const Block& block) {
    const int64_t e = block.expert, first = offsets[static_cast<size_t>(e)];
    gemm<T>(block.last - block.first, N, rows_of(e), transposed(a + first * lda + block.first, lda),
            plain(b + first * ldb, ldb), c + e * expert_stride + block.first * N, N, overwrite);
  });
}

#define OFFSHOOT_GROUPED_GEMM(T)                                                                \
  template void detail::run_grouped_gemm_then<T>(std::span<const int64_t>, int64_t, int64_t,    \
                                                 MatrixView<T>, ExpertMatrices<T>, T*, int64_t, \
                                                 bool, ExpertRowsDone);                         \
  template void grouped_gemm<T>(std::span<const int64_t>, int64_t, int64_t, MatrixView<T>,      \
                                ExpertMatrices<T>, T*, int64_t, bool);                          \
  template void grouped_gemm_weights<T>(std::span<const int64_t>, int64_t, int64_t, const T*,   \
                                        int64_t, const T*, int64_t, T*, int64_t, bool);
OFFSHOOT_GROUPED_GEMM(float)
OFFSHOOT_GROUPED_GEMM(double)
#undef OFFSHOOT_GROUPED_GEMM

}  // namespace offshoot
