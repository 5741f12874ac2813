#include "ops/broadcast.h"

#include <algorithm>
#include <vector>

#include "ops/op.h"

namespace offshoot {
namespace {

// Size of axis `axis` of a result of `rank` axes; 1 where the shape has no such axis.
int64_t size_at(const Shape& shape, int rank, int axis) {
  const int own = axis - (rank - shape.rank());
  return own < 0 ? 1 : shape[own];
}

Shape result_shape(std::string_view op, std::span<const Tensor> operands) {
  int rank = 0;
  for (const Tensor& operand : operands) rank = std::max(rank, operand.rank());
  std::vector<int64_t> sizes;
  for (int axis = 0; axis < rank; ++axis) {
    int64_t size = 1;
    for (const Tensor& operand : operands) {
      const int64_t own = size_at(operand.shape(), rank, axis);
      if (own == 1 || own == size) continue;
      if (size != 1) {
        fail(op, "shape: got {}, expected trailing sizes equal to those of {} or 1",
             to_string(operand.shape()), to_string(operands[0].shape()));
      }
      size = own;
    }
    sizes.push_back(size);
  }
  return Shape(sizes);
}

}  // namespace

Broadcast::Broadcast(std::string_view op, std::span<const Tensor> operands)
    : shape_(result_shape(op, operands)), operand_count_(operands.size()) {
  std::array<int64_t, kMaxOperands> strides{};  // of the axis at hand
  std::array<int64_t, kMaxOperands> next;
  next.fill(1);
  std::vector<Axis> axes;  // innermost first; neighbours that advance alike are merged
  for (int axis = shape_.rank() - 1; axis >= 0; --axis) {
    if (shape_[axis] == 1) continue;
    for (size_t i = 0; i < operands.size(); ++i) {
      const int64_t own = size_at(operands[i].shape(), shape_.rank(), axis);
      strides[i] = own == 1 ? 0 : next[i];
      next[i] *= own;
    }
    bool merges = !axes.empty();
    for (size_t i = 0; merges && i < operands.size(); ++i) {
      merges = strides[i] == axes.back().strides[i] * axes.back().size;
    }
    if (merges) {
      axes.back().size *= shape_[axis];
    } else {
      axes.push_back({shape_[axis], strides});
    }
  }
  for (size_t i = 0; i < operands.size(); ++i) {
    full_[i] = operands[i].size() == shape_.size();
    steps_[i] = axes.empty() ? 1 : axes.front().strides[i];
  }
  if (axes.empty()) return;
  inner_ = axes.front().size;
  for (size_t a = 1; a < axes.size(); ++a) {
    axes_[a - 1] = axes[a];
    rows_ *= axes[a].size;
  }
  axis_count_ = static_cast<int>(axes.size()) - 1;
}

int64_t Broadcast::offset(size_t operand, int64_t row) const {
  int64_t offset = 0;
  for (int a = 0; a < axis_count_; ++a) {
    const Axis& axis = axes_[static_cast<size_t>(a)];
    offset += row % axis.size * axis.strides[operand];
    row /= axis.size;
  }
  return offset;
}

template <class F>
void Broadcast::for_axes(F&& f) const {
  f(inner_, int64_t{1}, steps_);
  int64_t stride = inner_;
  for (int a = 0; a < axis_count_; ++a) {
    const Axis& axis = axes_[static_cast<size_t>(a)];
    f(axis.size, stride, axis.strides);
    stride *= axis.size;
  }
}

cuda::Walk Broadcast::walk() const {
  cuda::Walk walk;
  for_axes([&](int64_t size, int64_t stride, const auto& operands) {
    std::vector<int64_t> strides{stride};
    strides.insert(strides.end(), operands.begin(), operands.begin() + operand_count_);
    walk.add_axis(size, strides);
  });
  return walk;
}

cuda::Walk Broadcast::gradient_walk(size_t operand, std::initializer_list<size_t> read) const {
  cuda::Walk walk;
  for_axes([&](int64_t size, int64_t stride, const auto& operands) {
    std::vector<int64_t> strides{operands[operand]};
    for (const size_t other : read) strides.push_back(operands[other]);
    strides.push_back(stride);
    walk.add_axis(size, strides);
  });
  return walk;
}

}  // namespace offshoot
