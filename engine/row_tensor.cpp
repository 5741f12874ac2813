#include "engine/row_tensor.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "cuda/context.h"
#include "cuda/elements.h"
#include "cuda/expert_stats.h"
#include "engine/error.h"
#include "engine/parallel.h"

namespace offshoot {
namespace {

// Sums in float64: a row can be millions of weights long. Eight partial sums, so that they
// vectorise.
template <class T>
double dot(const T* a, const T* b, int64_t count) {
  constexpr int64_t kLanes = 8;
  std::array<double, kLanes> sums{};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      sums[static_cast<size_t>(lane)] += static_cast<double>(a[i + lane]) * b[i + lane];
    }
  }
  double sum = 0;
  for (; i < count; ++i) sum += static_cast<double>(a[i]) * b[i];
  for (const double part : sums) sum += part;
  return sum;
}

// g <- the component of g along w.
template <class T>
void project_onto(const T* w, T* g, int64_t count) {
  const auto share = static_cast<T>(dot(g, w, count) / (dot(w, w, count) + 1e-12));
  for (int64_t i = 0; i < count; ++i) g[i] = share * w[i];
}

template <class T>
void project_vectors(const std::byte* value, std::byte* grad, int64_t size, int64_t vector_size) {
  const T* w = reinterpret_cast<const T*>(value);
  T* g = reinterpret_cast<T*>(grad);
  const int64_t grain = std::max<int64_t>(1, 65536 / vector_size);
  parallel_for(size / vector_size, grain, [&](int64_t first, int64_t last) {
    for (int64_t v = first; v < last; ++v) {
      project_onto(w + v * vector_size, g + v * vector_size, vector_size);
    }
  });
}

// Bytes of one device. On CUDA by kernels, in order with all other work.
void copy_bytes(const std::byte* from, std::byte* to, int64_t bytes, Device device) {
  if constexpr (kHasCuda) {
    if (device.is_cuda()) return cuda::copy(from, to, bytes, cuda::use(device.index));
  }
  std::memcpy(to, from, static_cast<size_t>(bytes));
}

void zero_bytes(std::byte* to, int64_t bytes, Device device) {
  if constexpr (kHasCuda) {
    if (device.is_cuda()) return cuda::fill_zero(to, bytes, cuda::use(device.index));
  }
  std::memset(to, 0, static_cast<size_t>(bytes));
}

int64_t bytes_of_row(const std::string& name, const Shape& shape, DType dtype) {
  if (shape.rank() < 1 || (shape[0] > 0 && shape.size() == 0)) {
    fail(name, "shape: got {}, expected rows of at least one element", to_string(shape));
  }
  return shape.with(0, 1).size() * element_bytes(dtype);
}

}  // namespace

RowTensor::RowTensor(std::string name, const Shape& shape, DType dtype, int64_t reserve_rows,
                     NewRow new_row, Device device)
    : name_(std::move(name)), new_row_(new_row), row_bytes_(bytes_of_row(name_, shape, dtype)) {
  if (reserve_rows < 1) fail(name_, "reserve: got {} rows, expected at least 1", reserve_rows);
  const int64_t reserve = std::max(reserve_rows, shape[0]);
  int64_t reserve_bytes = 0;
  if (__builtin_mul_overflow(reserve, row_bytes_, &reserve_bytes)) {
    fail(name_, "reserve: got {} rows of {} bytes, expected less than 2^63 bytes", reserve,
         row_bytes_);
  }
  buffer_ = std::make_shared<GrowableBuffer>(name_, reserve_bytes, device);
  if constexpr (kHasCuda) {
    if (device.is_cuda()) cuda::load_copy();  // can fail, before commit() needs it
  }
  buffer_->commit(shape[0] * row_bytes_);
  buffer_->expose(shape[0] * row_bytes_);
  tensor_ = Tensor(buffer_, 0, shape, dtype);
}

void RowTensor::prepare(const RowChange& change) {
  const Shape shape = tensor_.shape().with(0, change.rows_after);
  const int64_t bytes = change.rows_after * row_bytes_;
  const Device device = buffer_->device();
  if constexpr (kHasCuda) {
    if (device.is_cuda()) cuda::detail::refuse_capture("growth");
  }
  try {
    if (bytes > buffer_->reserved_bytes()) {
      next_buffer_ = std::make_shared<GrowableBuffer>(
          name_, std::max(bytes, 2 * buffer_->reserved_bytes()), device);
      next_buffer_->commit(bytes);
      copy_bytes(buffer_->data(), next_buffer_->data(), tensor_.bytes(), device);
    } else {
      next_buffer_ = buffer_;
      buffer_->commit(bytes);
    }
    next_buffer_->expose(std::max(bytes, next_buffer_->bytes()));
    next_tensor_ = Tensor(next_buffer_, 0, shape, tensor_.dtype());
    write_new_rows(change, next_buffer_->data(), next_tensor_);
  } catch (...) {
    rollback(change);
    throw;
  }
}

// Beyond the rows there are: nobody sees them before commit. Pages left by an earlier removal hold
// old values.
void RowTensor::write_new_rows(const RowChange& change, std::byte* data, const Tensor& all) const {
  const int64_t added = change.rows_after - change.rows_before;
  if (added <= 0) return;
  std::byte* newborn = data + change.rows_before * row_bytes_;
  if (change.kind == RowChange::Kind::duplicate && new_row_ == NewRow::copy) {
    return copy_bytes(data + change.row * row_bytes_, newborn, row_bytes_, buffer_->device());
  }
  zero_bytes(newborn, added * row_bytes_, buffer_->device());
  if (change.kind == RowChange::Kind::append && *change.init) {
    (*change.init)(name_, all.rows(change.rows_before, added));
  }
}

void RowTensor::commit(const RowChange& change) noexcept {
  if (change.kind == RowChange::Kind::remove && change.row != change.rows_after) {
    copy_bytes(buffer_->data() + change.rows_after * row_bytes_,
               buffer_->data() + change.row * row_bytes_, row_bytes_, buffer_->device());
  }
  buffer_ = std::move(next_buffer_);
  tensor_ = std::exchange(next_tensor_, {});
  buffer_->expose(change.rows_after * row_bytes_);
  buffer_->release_beyond(change.rows_after * row_bytes_);
  ++generation_;
}

void RowTensor::rollback(const RowChange&) noexcept {
  next_tensor_ = {};
  next_buffer_.reset();
  buffer_->expose(tensor_.size() * element_bytes(tensor_.dtype()));
  buffer_->release_beyond(buffer_->bytes());
}

GradientRows::GradientRows(const RowTensor& value, GradientSplit split)
    : RowTensor(std::string(value.name()) + ".grad", value.tensor().shape(), value.tensor().dtype(),
                value.reserve_rows(), NewRow::copy, value.tensor().device()),
      value_(value) {
  set_split(split);
  // What can fail, before commit() needs it.
  num_threads();  // starts the threads
  if constexpr (kHasCuda) {
    if (tensor().device().is_cuda()) cuda::load_project_rows();
  }
}

void GradientRows::set_split(GradientSplit split) {
  split_ = split;
  set_new_row(split == GradientSplit::keep_zero ? NewRow::zero : NewRow::copy);
}

void GradientRows::commit(const RowChange& change) noexcept {
  RowTensor::commit(change);
  const bool projects =
      split_ == GradientSplit::project_rows || split_ == GradientSplit::project_whole;
  if (empty_ || change.kind != RowChange::Kind::duplicate || !projects) return;
  const Shape& shape = tensor().shape();
  const int64_t size = shape.size() / shape[0];
  const bool whole = split_ == GradientSplit::project_whole || shape.rank() == 1;
  const std::byte* w = value_.tensor().address() + change.row * row_bytes();
  std::byte* g = tensor().address() + change.row * row_bytes();
  const int64_t vector_size = whole ? size : shape.last();
  if constexpr (kHasCuda) {
    if (const Device device = tensor().device(); device.is_cuda()) {
      auto* const grad = reinterpret_cast<float*>(g);
      cuda::project_rows(grad, reinterpret_cast<const float*>(w), size / vector_size, vector_size,
                         grad, cuda::use(device.index));
      return;
    }
  }
  if (tensor().dtype() == DType::f32) {
    project_vectors<float>(w, g, size, vector_size);
  } else {
    project_vectors<double>(w, g, size, vector_size);
  }
}

}  // namespace offshoot
