#include <algorithm>
#include <type_traits>

#include "cuda/attention_simt.h"
#include "cuda/attention_tile.cuh"

namespace offshoot::cuda {
namespace {

constexpr int kDeltaThreads = 256;

// What a block works on: one head of one sequence, and a tile's first row in it.
struct Place {
  int64_t task, batch, column, first;

  __device__ Place(int64_t tiles, int64_t heads, int64_t Dh, int rows)
      : task(blockIdx.x / tiles),
        batch(task / heads),
        column(task % heads * Dh),
        first(blockIdx.x % tiles * rows) {}

  template <class T>
  __device__ T* of(const AttentionRows<T>& rows) const {
    return rows.data + batch * rows.batch_stride + column;
  }
};

template <class T>
__device__ __forceinline__ bool visible(const Attention<T>& a, int64_t batch, int64_t query,
                                        int64_t key) {
  if (query >= a.Tq || key >= a.Tk || (a.causal && key > query)) return false;
  return a.key_mask == nullptr || a.key_mask[batch * a.Tk + key] != 0;
}

// rows[first + row(i), column(c)] (+)= factors[i] * sums[i][c]
template <int kD, class T>
__device__ __forceinline__ void add_to_rows(T* rows, int64_t stride, int64_t first, int64_t count,
                                            int64_t Dh,
                                            const float (&factors)[AttentionTile<kD>::kRowsEach],
                                            const typename AttentionTile<kD>::Sums& sums,
                                            bool overwrite) {
  using Tile = AttentionTile<kD>;
#pragma unroll
  for (int i = 0; i < Tile::kRowsEach; ++i) {
    const int64_t row = first + Tile::row(i);
#pragma unroll
    for (int c = 0; c < Tile::kColumnsEach; ++c) {
      if (row < count && Tile::column(c) < Dh) {
        accumulate(rows + row * stride + Tile::column(c), factors[i] * sums[i][c], overwrite);
      }
    }
  }
}

template <class T, int kD>
__global__ void __launch_bounds__(kTileThreads, kTileBlocks)
    attention_forward_kernel(Attention<T> a, AttentionRows<T> out, int64_t tiles, float* log_sums) {
  using Tile = AttentionTile<kD>;
  OFFSHOOT_DYNAMIC_SHARED(float, q);
  float *const k = q + Tile::kFloats, *const v = k + Tile::kFloats, *const p = v + Tile::kFloats;
  const Place at(tiles, a.heads, a.Dh, Tile::kRows);
  const int Dh = static_cast<int>(a.Dh);
  Tile::fill(q, at.of(a.q), a.q.row_stride, at.first, a.Tq, Dh, a.scale);
  typename Tile::Sums sums{};
  float largest[Tile::kRowsEach], total[Tile::kRowsEach];
#pragma unroll
  for (int i = 0; i < Tile::kRowsEach; ++i) largest[i] = -INFINITY, total[i] = 0.0f;

  const int64_t seen = at.first + Tile::kRows;
  const int64_t end = a.causal && seen < a.Tk ? seen : a.Tk;
  for (int64_t key = 0; key < end; key += Tile::kRows) {
    __syncthreads();  // k and v may still be read
    Tile::fill(k, at.of(a.k), a.k.row_stride, key, a.Tk, Dh);
    Tile::fill(v, at.of(a.v), a.v.row_stride, key, a.Tk, Dh);
    __syncthreads();
    typename Tile::Scores scores;
    Tile::dot(q, k, Dh, scores);
#pragma unroll
    for (int i = 0; i < Tile::kRowsEach; ++i) {
      float most = largest[i];
#pragma unroll
      for (int j = 0; j < Tile::kScoresEach; ++j) {
        const bool sees = visible(a, at.batch, at.first + Tile::row(i), key + Tile::column(j));
        if (!sees) scores[i][j] = -INFINITY;
        most = fmaxf(most, scores[i][j]);
      }
      most = across_tile(most, Max());
      const float origin = most == -INFINITY ? 0.0f : most;
      const float shrink = expf(largest[i] - origin);  // of what was summed up before
      float sum = 0.0f;
#pragma unroll
      for (int j = 0; j < Tile::kScoresEach; ++j) {
        const float e = expf(scores[i][j] - origin);
        Tile::write(p, i, j, e);
        sum += e;
      }
      total[i] = total[i] * shrink + across_tile(sum, Sum());
      largest[i] = most;
#pragma unroll
      for (int c = 0; c < Tile::kColumnsEach; ++c) sums[i][c] *= shrink;
    }
    __syncwarp();
    Tile::add_product(p, v, sums);
  }

  float factors[Tile::kRowsEach];
#pragma unroll
  for (int i = 0; i < Tile::kRowsEach; ++i) {
    const bool blind = total[i] == 0.0f;
    factors[i] = blind ? 0.0f : 1.0f / total[i];
    const int64_t row = at.first + Tile::row(i);
    if (tile_x() == 0 && row < a.Tq) {
      log_sums[at.task * a.Tq + row] = blind ? 0.0f : largest[i] + logf(total[i]);
    }
  }
  add_to_rows<kD>(at.of(out), out.row_stride, at.first, a.Tq, a.Dh, factors, sums, true);
}

// deltas[b, h, t] = dout . out, a warp a row of a head.
template <class T>
__global__ void __launch_bounds__(kDeltaThreads)
    attention_delta_kernel(AttentionRows<const T> out, AttentionRows<const T> dout, int64_t B,
                           int64_t Tq, int64_t heads, int64_t Dh, float* deltas) {
  const int64_t n = (int64_t{blockIdx.x} * kDeltaThreads + threadIdx.x) / 32;
  if (n >= B * heads * Tq) return;
  const int64_t t = n % Tq, h = n / Tq % heads, b = n / Tq / heads;
  const T* const out_row = out.data + b * out.batch_stride + t * out.row_stride + h * Dh;
  const T* const dout_row = dout.data + b * dout.batch_stride + t * dout.row_stride + h * Dh;
  float sum = 0.0f;
  for (int64_t d = threadIdx.x % 32; d < Dh; d += 32) sum += load(out_row + d) * load(dout_row + d);
  sum = warp_sum(sum);
  if (threadIdx.x % 32 == 0) deltas[n] = sum;
}

// dq = scale ds k, ds = p (dout . v - delta)
template <class T, int kD>
__global__ void __launch_bounds__(kTileThreads, kTileBlocks)
    attention_backward_query_kernel(Attention<T> a, AttentionBackward<T> back, int64_t tiles,
                                    const float* deltas) {
  using Tile = AttentionTile<kD>;
  OFFSHOOT_DYNAMIC_SHARED(float, q);
  float *const dout = q + Tile::kFloats, *const k = dout + Tile::kFloats,
               *const v = k + Tile::kFloats, *const ds = v + Tile::kFloats;
  const Place at(tiles, a.heads, a.Dh, Tile::kRows);
  const int Dh = static_cast<int>(a.Dh);
  Tile::fill(q, at.of(a.q), a.q.row_stride, at.first, a.Tq, Dh, a.scale);
  Tile::fill(dout, at.of(back.dout), back.dout.row_stride, at.first, a.Tq, Dh);
  float log_sum[Tile::kRowsEach], delta[Tile::kRowsEach], factors[Tile::kRowsEach];
#pragma unroll
  for (int i = 0; i < Tile::kRowsEach; ++i) {
    const int64_t row = at.first + Tile::row(i);
    log_sum[i] = row < a.Tq ? back.log_sums[at.task * a.Tq + row] : 0.0f;
    delta[i] = row < a.Tq ? deltas[at.task * a.Tq + row] : 0.0f;
    factors[i] = a.scale;
  }
  typename Tile::Sums sums{};

  const int64_t seen = at.first + Tile::kRows;
  const int64_t end = a.causal && seen < a.Tk ? seen : a.Tk;
  for (int64_t key = 0; key < end; key += Tile::kRows) {
    __syncthreads();  // k and v may still be read
    Tile::fill(k, at.of(a.k), a.k.row_stride, key, a.Tk, Dh);
    Tile::fill(v, at.of(a.v), a.v.row_stride, key, a.Tk, Dh);
    __syncthreads();
    typename Tile::Scores scores, dp;
    Tile::dot(q, k, Dh, scores);
    Tile::dot(dout, v, Dh, dp);
#pragma unroll
    for (int i = 0; i < Tile::kRowsEach; ++i) {
#pragma unroll
      for (int j = 0; j < Tile::kScoresEach; ++j) {
        const bool sees = visible(a, at.batch, at.first + Tile::row(i), key + Tile::column(j));
        const float p = sees ? expf(scores[i][j] - log_sum[i]) : 0.0f;
        Tile::write(ds, i, j, p * (dp[i][j] - delta[i]));
      }
    }
    __syncwarp();
    Tile::add_product(ds, k, sums);
  }
  add_to_rows<kD>(at.of(back.dq.rows), back.dq.rows.row_stride, at.first, a.Tq, a.Dh, factors, sums,
                  back.dq.overwrite);
}

// dk = scale ds^T q, dv = p^T dout: the same with rows of keys and columns of queries.
template <class T, int kD>
__global__ void __launch_bounds__(kTileThreads, kTileBlocks)
    attention_backward_key_kernel(Attention<T> a, AttentionBackward<T> back, int64_t tiles,
                                  const float* deltas) {
  using Tile = AttentionTile<kD>;
  OFFSHOOT_DYNAMIC_SHARED(float, q);
  float *const dout = q + Tile::kFloats, *const k = dout + Tile::kFloats,
               *const v = k + Tile::kFloats, *const p = v + Tile::kFloats,
               *const ds = p + Tile::kScoreFloats;
  const Place at(tiles, a.heads, a.Dh, Tile::kRows);
  const int Dh = static_cast<int>(a.Dh);
  Tile::fill(k, at.of(a.k), a.k.row_stride, at.first, a.Tk, Dh);
  Tile::fill(v, at.of(a.v), a.v.row_stride, at.first, a.Tk, Dh);
  typename Tile::Sums dk{}, dv{};

  // Under causal, the first query that sees one of these keys stands where the first key does.
  for (int64_t query = a.causal ? at.first : 0; query < a.Tq; query += Tile::kRows) {
    __syncthreads();  // q and dout may still be read
    Tile::fill(q, at.of(a.q), a.q.row_stride, query, a.Tq, Dh, a.scale);
    Tile::fill(dout, at.of(back.dout), back.dout.row_stride, query, a.Tq, Dh);
    __syncthreads();
    typename Tile::Scores scores, dp;
    Tile::dot(k, q, Dh, scores);
    Tile::dot(v, dout, Dh, dp);
#pragma unroll
    for (int j = 0; j < Tile::kScoresEach; ++j) {
      const int64_t column = query + Tile::column(j);
      const float log_sum = column < a.Tq ? back.log_sums[at.task * a.Tq + column] : 0.0f;
      const float delta = column < a.Tq ? deltas[at.task * a.Tq + column] : 0.0f;
#pragma unroll
      for (int i = 0; i < Tile::kRowsEach; ++i) {
        const bool sees = visible(a, at.batch, column, at.first + Tile::row(i));
        const float e = sees ? expf(scores[i][j] - log_sum) : 0.0f;
        Tile::write(p, i, j, e);
        Tile::write(ds, i, j, e * (dp[i][j] - delta));
      }
    }
    __syncwarp();
    Tile::add_product(p, dout, dv);
    Tile::add_product(ds, q, dk);
  }
  float ones[Tile::kRowsEach];  // q is scaled already
#pragma unroll
  for (int i = 0; i < Tile::kRowsEach; ++i) ones[i] = 1.0f;
  if (back.dk.rows.data != nullptr) {
    add_to_rows<kD>(at.of(back.dk.rows), back.dk.rows.row_stride, at.first, a.Tk, a.Dh, ones, dk,
                    back.dk.overwrite);
  }
  if (back.dv.rows.data != nullptr) {
    add_to_rows<kD>(at.of(back.dv.rows), back.dv.rows.row_stride, at.first, a.Tk, a.Dh, ones, dv,
                    back.dv.overwrite);
  }
}

// Calls f(std::integral_constant<int, kD>()) with the narrowest tile for Dh columns.
template <class F>
void with_tile(int64_t Dh, F&& f) {
  if (Dh <= 16) return f(std::integral_constant<int, 16>());
  if (Dh <= 32) return f(std::integral_constant<int, 32>());
  if (Dh <= 64) return f(std::integral_constant<int, 64>());
  if (Dh <= 128) return f(std::integral_constant<int, 128>());
  f(std::integral_constant<int, 256>());
}

template <int kD>
constexpr size_t shared_bytes(int tiles, int score_tiles) {
  using Tile = AttentionTile<kD>;
  return sizeof(float) *
         static_cast<size_t>(tiles * Tile::kFloats + score_tiles * Tile::kScoreFloats);
}

}  // namespace

template <class T>
void simt_attention_forward(const Attention<T>& a, const AttentionRows<T>& out, float* log_sums,
                            Stream stream) {
  if (a.B == 0 || a.Tq == 0) return;
  with_tile(a.Dh, [&]<int kD>(std::integral_constant<int, kD>) {
    const int64_t tiles = blocks_for(a.Tq, AttentionTile<kD>::kRows);
    launch(attention_forward_kernel<T, kD>, static_cast<unsigned>(tiles * a.B * a.heads),
           kTileThreads, shared_bytes<kD>(3, 1), stream, a, out, tiles, log_sums);
  });
}

template <class T>
void simt_attention_backward(const Attention<T>& a, const AttentionBackward<T>& back, float* deltas,
                             Stream stream) {
  if (a.B == 0) return;
  if (a.Tq > 0) {
    launch(attention_delta_kernel<T>, blocks_for(a.B * a.heads * a.Tq * 32, kDeltaThreads),
           kDeltaThreads, 0, stream, back.out, back.dout, a.B, a.Tq, a.heads, a.Dh, deltas);
  }
  with_tile(a.Dh, [&]<int kD>(std::integral_constant<int, kD>) {
    const auto blocks = [&](int64_t tiles) { return static_cast<unsigned>(tiles * a.B * a.heads); };
    if (a.Tq > 0 && back.dq.rows.data != nullptr) {
      const int64_t tiles = blocks_for(a.Tq, AttentionTile<kD>::kRows);
      launch(attention_backward_query_kernel<T, kD>, blocks(tiles), kTileThreads,
             shared_bytes<kD>(4, 1), stream, a, back, tiles, deltas);
    }
    if (a.Tk > 0 && (back.dk.rows.data != nullptr || back.dv.rows.data != nullptr)) {
      const int64_t tiles = blocks_for(a.Tk, AttentionTile<kD>::kRows);
      launch(attention_backward_key_kernel<T, kD>, blocks(tiles), kTileThreads,
             shared_bytes<kD>(4, 2), stream, a, back, tiles, deltas);
    }
  });
}

#define OFFSHOOT_ATTENTION(T)                                                                     \
  template void simt_attention_forward(const Attention<T>&, const AttentionRows<T>&, float*,      \
                                       Stream);                                                   \
  template void simt_attention_backward(const Attention<T>&, const AttentionBackward<T>&, float*, \
                                        Stream);
OFFSHOOT_ATTENTION(float)
OFFSHOOT_ATTENTION(bfloat16)
#undef OFFSHOOT_ATTENTION

}  // namespace offshoot::cuda
