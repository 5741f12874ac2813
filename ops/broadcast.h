// Broadcasting: operands whose trailing sizes are equal or 1 count as if repeated to one shape.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "cuda/walk.h"
#include "engine/tensor.h"

namespace offshoot {

// Walks over the result of up to three operands as rows of `inner` elements, along which each
// operand either advances with the result or stays.
class Broadcast {
 public:
  static constexpr size_t kMaxOperands = 3;

  // Throws Error naming both shapes when sizes are neither equal nor 1.
  Broadcast(std::string_view op, std::span<const Tensor> operands);
  Broadcast(std::string_view op, std::initializer_list<Tensor> operands)
      : Broadcast(op, std::span(operands.begin(), operands.size())) {}

  const Shape& shape() const { return shape_; }
  int64_t rows() const { return rows_; }
  int64_t inner() const { return inner_; }
  // Whether the operand has the result's shape but for leading ones: element i belongs to result i.
  bool full(size_t operand) const { return full_[operand]; }
  // 1 or 0: how the operand advances along a row.
  int64_t step(size_t operand) const { return steps_[operand]; }
  // The operand's first element of a row.
  int64_t offset(size_t operand, int64_t row) const;

  // For kernels: the result and the operands; or the gradient of `operand`, the operands `read` and
  // the result's gradient.
  cuda::Walk walk() const;
  cuda::Walk gradient_walk(size_t operand, std::initializer_list<size_t> read) const;

 private:
  struct Axis {
    int64_t size;
    std::array<int64_t, kMaxOperands> strides;
  };

  // Calls f(size, result's stride, operands' strides) for every axis, the innermost first.
  template <class F>
  void for_axes(F&& f) const;

  Shape shape_;
  size_t operand_count_;
  int64_t rows_ = 1;
  int64_t inner_ = 1;
  std::array<int64_t, kMaxOperands> steps_{};
  std::array<bool, kMaxOperands> full_{};
  std::array<Axis, Shape::kMaxRank> axes_{};  // the outer ones, after merging
  int axis_count_ = 0;
};

}  // namespace offshoot
