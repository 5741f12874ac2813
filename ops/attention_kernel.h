// One head of one sequence of attention, forward and backward. Internal to ops/attention.cpp.
//
// Queries are taken kQueries at a time, one in each lane of a vector, and keys kKeys at a time. A
// block of scores is held as [key, query], so that softmax runs down the lanes without a
// horizontal step, and every product has the natural order of its operands.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>

#include "engine/parameter.h"
#include "ops/exponentials.h"
#include "ops/gemm_kernel.h"
#include "ops/reduce_kernels.h"
#include "ops/vector_math.h"

namespace offshoot::attention_kernel {

template <class T>
using Vector = gemm_kernel::Vector<T>;

template <class T>
inline constexpr int64_t kQueries = gemm_kernel::kLanes<T>;
inline constexpr int64_t kKeys = 128;

inline int64_t round_up(int64_t count, int64_t multiple) {
  return (count + multiple - 1) / multiple * multiple;
}

// Row t of a head's columns begins at data + t * stride.
template <class T>
struct Rows {
  T* data;
  int64_t stride;
  T* operator[](int64_t t) const { return data + t * stride; }
};

template <class T>
struct Head {
  Rows<const T> q, k, v;
  int64_t Tq, Tk, Dh;
  T scale;
  bool causal;
  const int32_t* key_mask;  // null: no key is hidden

  // Rows of Dh numbers padded to whole vectors.
  int64_t padded() const { return round_up(Dh, kQueries<T>); }
  // Keys that one of the queries up to `last` may see.
  int64_t visible(int64_t last) const { return causal ? std::min(Tk, last) : Tk; }
};

// c[M, N] (+)= a[M, K] b[K, N] with N in whole vectors; element (i, k) of a is a[i * row + k *
// column].
template <class T>
[[gnu::always_inline]] inline void product(int64_t M, int64_t N, int64_t K, const T* a, int64_t row,
                                           int64_t column, const T* b, int64_t ldb, T* c,
                                           int64_t ldc, bool overwrite) {
  using gemm_kernel::kLanes, gemm_kernel::kPanel, gemm_kernel::kTileRows, gemm_kernel::tile;
  for (int64_t j = 0; j < N;) {
    const bool panel = N - j >= kPanel<T>;
    int64_t i = 0;
    for (; i + kTileRows <= M; i += kTileRows) {
      const T* const a_i = a + i * row;
      T* const c_ij = c + i * ldc + j;
      panel ? tile<T, kTileRows, 2>(K, a_i, row, column, b + j, ldb, c_ij, ldc, overwrite)
            : tile<T, kTileRows, 1>(K, a_i, row, column, b + j, ldb, c_ij, ldc, overwrite);
    }
    for (; i < M; ++i) {
      const T* const a_i = a + i * row;
      T* const c_ij = c + i * ldc + j;
      panel ? tile<T, 1, 2>(K, a_i, row, column, b + j, ldb, c_ij, ldc, overwrite)
            : tile<T, 1, 1>(K, a_i, row, column, b + j, ldb, c_ij, ldc, overwrite);
    }
    j += panel ? kPanel<T> : kLanes<T>;
  }
}

// Rows [first, first + count) of x as an operand of product(), whose rows are whole vectors: x
// itself where it can be, else a copy in `buffer` [total, padded], with zeros all around.
template <class T>
Rows<const T> whole_vectors(Rows<const T> x, int64_t first, int64_t count, int64_t total,
                            int64_t Dh, int64_t padded, T* buffer) {
  if (count == total && Dh == padded) return {x[first], x.stride};
  std::fill_n(buffer, total * padded, T{0});
  for (int64_t t = 0; t < count; ++t) std::copy_n(x[first + t], Dh, buffer + t * padded);
  return {buffer, padded};
}

// One stage of a transposition: of each pair of rows `distance` apart, the off-diagonal elements of
// every 2 x 2 block of such distance change places.
template <class T, int distance, int... lane>
[[gnu::always_inline]] inline void exchange(Vector<T> (&rows)[sizeof...(lane)],
                                            std::integer_sequence<int, lane...>) {
  constexpr int L = sizeof...(lane);
#pragma GCC unroll 64
  for (int i = 0; i < L; ++i) {
    if ((i & distance) != 0) continue;
    const Vector<T> a = rows[i], b = rows[i + distance];
    rows[i] = __builtin_shufflevector(a, b, ((lane & distance) ? L + lane - distance : lane)...);
    rows[i + distance] =
        __builtin_shufflevector(a, b, ((lane & distance) ? L + lane : lane + distance)...);
  }
}

// rows[i][j] becomes rows[j][i].
template <class T, int distance = 1>
[[gnu::always_inline]] inline void transpose(Vector<T> (&rows)[kQueries<T>]) {
  if constexpr (distance < kQueries<T>) {
    exchange<T, distance>(rows, std::make_integer_sequence<int, kQueries<T>>());
    transpose<T, 2 * distance>(rows);
  }
}

// columns[d, l] = scale * rows[l, d] for kQueries rows of whole vectors.
template <class T>
void load_columns(Rows<const T> rows, int64_t padded, T scale, T* columns) {
  constexpr int64_t L = kQueries<T>;
  for (int64_t d = 0; d < padded; d += L) {
    Vector<T> block[L];
    for (int64_t l = 0; l < L; ++l) block[l] = gemm_kernel::load(rows[l] + d);
    transpose<T>(block);
    for (int64_t i = 0; i < L; ++i) gemm_kernel::store(columns + (d + i) * L, scale * block[i]);
  }
}

// out[l] = sum_d a[l, d] b[l, d] for kQueries rows of whole vectors.
template <class T>
void row_products(Rows<const T> a, Rows<const T> b, int64_t padded, T* out) {
  constexpr int64_t L = kQueries<T>;
  Vector<T> terms[L];
  for (int64_t l = 0; l < L; ++l) {
    terms[l] = Vector<T>{};
    for (int64_t d = 0; d < padded; d += L) {
      terms[l] += gemm_kernel::load(a[l] + d) * gemm_kernel::load(b[l] + d);
    }
  }
  transpose<T>(terms);
  Vector<T> sum = terms[0];
  for (int64_t l = 1; l < L; ++l) sum += terms[l];
  gemm_kernel::store(out, sum);
}

// x[first + t, d] (+)= scale * rows[t, d]
template <class T>
void store_rows(const T* rows, int64_t padded, int64_t first, int64_t count, int64_t Dh, T scale,
                Rows<T> x, bool overwrite) {
  for (int64_t t = 0; t < count; ++t) {
    T* const x_t = x[first + t];
    const T* const row = rows + t * padded;
    int64_t d = 0;
    for (; d + kQueries<T> <= Dh; d += kQueries<T>) {
      const Vector<T> value = scale * gemm_kernel::load(row + d);
      gemm_kernel::store(x_t + d, overwrite ? value : gemm_kernel::load(x_t + d) + value);
    }
    for (; d < Dh; ++d) accumulate(x_t[d], scale * row[d], overwrite);
  }
}

// scores[j, l] of keys [key, key + keys) and queries [query, query + kQueries): q is given as
// columns, scaled. Hidden ones are -infinity.
template <class T>
void score(const Head<T>& head, const T* q_columns, int64_t query, int64_t key, int64_t keys,
           T* scores) {
  constexpr int64_t L = kQueries<T>;
  constexpr T kHidden = -std::numeric_limits<T>::infinity();
  product<T>(keys, L, head.Dh, head.k[key], head.k.stride, 1, q_columns, L, scores, L, true);
  if (head.causal) {
    for (int64_t j = std::max<int64_t>(0, query + 1 - key); j < keys; ++j) {
      const auto first_that_sees = static_cast<int32_t>(key + j - query);
      for (int32_t l = 0; l < L; ++l) {
        scores[j * L + l] = l < first_that_sees ? kHidden : scores[j * L + l];
      }
    }
  }
  if (head.key_mask == nullptr) return;
  for (int64_t j = 0; j < keys; ++j) {
    if (head.key_mask[key + j] == 0) std::fill_n(scores + j * L, L, kHidden);
  }
}

// What softmax knows of the keys so far, one number a query.
template <class T>
struct Running {
  T largest[kQueries<T>];  // -infinity: none seen yet
  T origin[kQueries<T>];   // of the exponentials: the largest, 0 when none is seen
  T sum[kQueries<T>];      // of exponentials
  T shrink[kQueries<T>];   // of what was summed up before the last block
};

// The combination of `start` and all rows of a block, lane by lane, in four chains.
template <class T, class Combine>
[[gnu::always_inline]] inline Vector<T> reduce_keys(int64_t keys, const T* block, Vector<T> start,
                                                    Combine combine) {
  constexpr int64_t L = kQueries<T>;
  Vector<T> chains[4] = {start, start, start, start};
  int64_t j = 0;
  for (; j + 4 <= keys; j += 4) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      chains[i] = combine(chains[i], gemm_kernel::load(block + (j + i) * L));
    }
  }
  for (; j < keys; ++j) chains[0] = combine(chains[0], gemm_kernel::load(block + j * L));
  return combine(combine(chains[0], chains[1]), combine(chains[2], chains[3]));
}

// scores := exp(scores - origin); brings `running` up to date.
template <class T>
void exponentiate(int64_t keys, T* scores, Running<T>& running) {
  constexpr int64_t L = kQueries<T>;
  constexpr T kNone = -std::numeric_limits<T>::infinity();
  T before[L], origin[L];
  std::copy_n(running.largest, L, before);
  const Vector<T> largest =
      reduce_keys(keys, scores, gemm_kernel::load(before),
                  [](Vector<T> a, Vector<T> b) -> Vector<T> { return a < b ? b : a; });
  gemm_kernel::store(running.largest, largest);
  for (int64_t l = 0; l < L; ++l) {
    origin[l] = running.largest[l] == kNone ? T{0} : running.largest[l];
    running.origin[l] = origin[l];
    running.shrink[l] = vexp_nonpositive(before[l] - origin[l]);
  }
  for (int64_t j = 0; j < keys; ++j) {
    for (int64_t l = 0; l < L; ++l) {
      scores[j * L + l] = vexp_nonpositive(scores[j * L + l] - origin[l]);
    }
  }
  const Vector<T> sum =
      reduce_keys(keys, scores, Vector<T>{}, [](Vector<T> a, Vector<T> b) { return a + b; });
  const Vector<T> sum_before = gemm_kernel::load(running.sum),
                  shrink = gemm_kernel::load(running.shrink);
  gemm_kernel::store(running.sum, sum_before * shrink + sum);
}

// Of each query the logarithm of the sum of exponentials, and what makes them probabilities; both 0
// where it sees no key.
template <class T>
void finish(const Running<T>& running, T* log_sum, T* scale) {
  for (int64_t l = 0; l < kQueries<T>; ++l) {
    const T seen = running.sum[l] > 0 ? T{1} : T{0};
    const T sum = running.sum[l] + (1 - seen);
    log_sum[l] = running.origin[l] + vlog(sum);
    scale[l] = seen / sum;
  }
}

template <class T>
struct ForwardBuffers {
  T* q_rows;     // [kQueries, padded]
  T* q_columns;  // [padded, kQueries]
  T* scores;     // [kKeys, kQueries]
  T* v_rows;     // [Tk, padded]
  T* out_rows;   // [kQueries, padded]
};

// out and, for every query, log_sum = log of the sum of exponentials of its scores (0 where it
// sees no key).
template <class T>
void forward(const Head<T>& head, Rows<T> out, T* log_sum, const ForwardBuffers<T>& to) {
  constexpr int64_t L = kQueries<T>;
  const int64_t padded = head.padded();
  const Rows<const T> v = whole_vectors(head.v, 0, head.Tk, head.Tk, head.Dh, padded, to.v_rows);
  for (int64_t query = 0; query < head.Tq; query += L) {
    const int64_t queries = std::min(L, head.Tq - query);
    const Rows<const T> q = whole_vectors(head.q, query, queries, L, head.Dh, padded, to.q_rows);
    load_columns(q, padded, head.scale, to.q_columns);
    Running<T> running{};
    std::fill_n(running.largest, L, -std::numeric_limits<T>::infinity());
    std::fill_n(running.sum, L, T{0});
    std::fill_n(to.out_rows, L * padded, T{0});
    const int64_t visible = head.visible(query + queries);
    for (int64_t key = 0; key < visible; key += kKeys) {
      const int64_t keys = std::min(kKeys, visible - key);
      score(head, to.q_columns, query, key, keys, to.scores);
      exponentiate(keys, to.scores, running);
      if (key > 0) {
        for (int64_t l = 0; l < L; ++l) {
          for (int64_t d = 0; d < padded; ++d) to.out_rows[l * padded + d] *= running.shrink[l];
        }
      }
      product<T>(L, padded, keys, to.scores, 1, L, v[key], v.stride, to.out_rows, padded, false);
    }
    T logs[L], scales[L];
    finish(running, logs, scales);
    std::copy_n(logs, queries, log_sum + query);
    for (int64_t l = 0; l < queries; ++l) {
      store_rows(to.out_rows + l * padded, padded, query + l, 1, head.Dh, scales[l], out, true);
    }
  }
}

template <class T>
struct BackwardBuffers {
  T *q_columns, *dout_columns;       // [padded, kQueries]
  T *q_rows, *out_rows, *dout_rows;  // [kQueries, padded]
  T* dq_rows;                        // [kQueries, padded]
  T *scores, *dscores;               // [kKeys, kQueries]
  T* k_rows;                         // [Tk, padded]
  T *dk_rows, *dv_rows;              // [Tk, padded]
};

// Where a gradient goes; data null: not wanted.
template <class T>
struct GradRows {
  Rows<T> rows;
  bool overwrite;
};

// scores := p; dscores := p (dp - delta), with dp given in dscores.
template <class T>
void differentiate(int64_t keys, const T* log_sum, const T* delta, T* scores, T* dscores) {
  constexpr int64_t L = kQueries<T>;
  for (int64_t j = 0; j < keys; ++j) {
    for (int64_t l = 0; l < L; ++l) {
      const T p = vexp_nonpositive(scores[j * L + l] - log_sum[l]);
      scores[j * L + l] = p;
      dscores[j * L + l] = p * (dscores[j * L + l] - delta[l]);
    }
  }
}

template <class T>
void backward(const Head<T>& head, Rows<const T> out, const T* log_sum, Rows<const T> dout,
              const GradRows<T>& dq, const GradRows<T>& dk, const GradRows<T>& dv,
              const BackwardBuffers<T>& to) {
  constexpr int64_t L = kQueries<T>;
  const int64_t Dh = head.Dh, padded = head.padded();
  const Rows<const T> k = whole_vectors(head.k, 0, head.Tk, head.Tk, Dh, padded, to.k_rows);
  std::fill_n(to.dk_rows, head.Tk * padded, T{0});
  std::fill_n(to.dv_rows, head.Tk * padded, T{0});
  for (int64_t query = 0; query < head.Tq; query += L) {
    const int64_t queries = std::min(L, head.Tq - query);
    const Rows<const T> q_rows = whole_vectors(head.q, query, queries, L, Dh, padded, to.q_rows);
    const Rows<const T> dout_rows =
        whole_vectors(dout, query, queries, L, Dh, padded, to.dout_rows);
    std::fill_n(to.dq_rows, L * padded, T{0});
    const Rows<const T> out_rows = whole_vectors(out, query, queries, L, Dh, padded, to.out_rows);
    load_columns(q_rows, padded, head.scale, to.q_columns);
    load_columns(dout_rows, padded, T{1}, to.dout_columns);
    T delta[L], sums[L] = {};
    row_products(dout_rows, out_rows, padded, delta);
    std::copy_n(log_sum + query, queries, sums);
    const int64_t visible = head.visible(query + queries);
    for (int64_t key = 0; key < visible; key += kKeys) {
      const int64_t keys = std::min(kKeys, visible - key);
      score(head, to.q_columns, query, key, keys, to.scores);
      product<T>(keys, L, Dh, head.v[key], head.v.stride, 1, to.dout_columns, L, to.dscores, L,
                 true);
      differentiate(keys, sums, delta, to.scores, to.dscores);
      product<T>(keys, padded, L, to.scores, L, 1, dout_rows.data, dout_rows.stride,
                 to.dv_rows + key * padded, padded, false);
      product<T>(keys, padded, L, to.dscores, L, 1, q_rows.data, q_rows.stride,
                 to.dk_rows + key * padded, padded, false);
      product<T>(L, padded, keys, to.dscores, 1, L, k[key], k.stride, to.dq_rows, padded, false);
    }
    if (dq.rows.data != nullptr) {
      store_rows(to.dq_rows, padded, query, queries, Dh, head.scale, dq.rows, dq.overwrite);
    }
  }
  if (dk.rows.data != nullptr) {
    store_rows(to.dk_rows, padded, 0, head.Tk, Dh, head.scale, dk.rows, dk.overwrite);
  }
  if (dv.rows.data != nullptr) {
    store_rows(to.dv_rows, padded, 0, head.Tk, Dh, T{1}, dv.rows, dv.overwrite);
  }
}

}  // namespace offshoot::attention_kernel
