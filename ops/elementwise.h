// Loops over elements with broadcasting, shared by the operations that work element by element.
#pragma once

#include <cstdint>

#include "engine/parallel.h"
#include "engine/tape.h"
#include "ops/broadcast.h"
#include "ops/op.h"

namespace offshoot {

// Calls f(row) for every row of `plan`, in parallel; rows are independent.
template <class F>
void for_rows(const Broadcast& plan, F&& f) {
  parallel_for(plan.rows(), row_grain(plan.inner()), [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) f(row);
  });
}

// Calls f(first, last) on element ranges of one long row, in parallel. Ranges begin at whole
// vectors, so an element falls into a loop's vectorised part or its rest (which may round
// otherwise) whatever the thread count.
template <class F>
void for_elements(int64_t count, F&& f) {
  constexpr int64_t kAligned = 64;
  const int64_t blocks = (count + kAligned - 1) / kAligned;
  parallel_for(blocks, kElementGrain / kAligned, [&](int64_t first, int64_t last) {
    f(first * kAligned, std::min(count, last * kAligned));
  });
}

// grad[i] = or += value(i) for i in [first, last), with the choice made outside of the loop.
template <class T, class F>
void accumulate_range(T* grad, int64_t first, int64_t last, bool overwrite, F&& value) {
  if (overwrite) {
    for (int64_t i = first; i < last; ++i) grad[i] = value(i);
  } else {
    for (int64_t i = first; i < last; ++i) grad[i] += value(i);
  }
}

// The gradient of operand `operand`: row_value(row) gives a function of i, the contribution of
// element i of that row. A full operand's elements are independent; one that was repeated is summed
// in row order.
template <class T, class F>
void accumulate_operand(const Broadcast& plan, size_t operand, const GradSlot& slot,
                        F&& row_value) {
  if (!slot) return;
  T* const grad = slot.grad.data<T>();
  const int64_t inner = plan.inner();
  if (plan.full(operand) && plan.rows() == 1) {
    const auto value = row_value(int64_t{0});
    for_elements(inner, [&](int64_t first, int64_t last) {
      accumulate_range(grad, first, last, slot.overwrite, value);
    });
    return;
  }
  if (plan.full(operand)) {
    for_rows(plan, [&](int64_t row) {
      accumulate_range(grad + row * inner, 0, inner, slot.overwrite, row_value(row));
    });
    return;
  }
  if (slot.overwrite) fill_zero(slot.grad);
  for (int64_t row = 0; row < plan.rows(); ++row) {
    T* const target = grad + plan.offset(operand, row);
    const auto value = row_value(row);
    if (plan.step(operand) == 1) {
      for (int64_t i = 0; i < inner; ++i) target[i] += value(i);
    } else {
      T sum = 0;
      for (int64_t i = 0; i < inner; ++i) sum += value(i);
      *target += sum;
    }
  }
}

}  // namespace offshoot
