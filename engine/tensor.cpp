#include "engine/tensor.h"

#include <cstring>
#include <utility>

namespace offshoot {

Tensor::Tensor(const Shape& shape, DType dtype)
    : Tensor(pooled_storage(shape.size() * element_bytes(dtype)), 0, shape, dtype) {}

Tensor::Tensor(std::shared_ptr<Storage> storage, int64_t offset_bytes, const Shape& shape,
               DType dtype)
    : body_(std::make_shared<const Body>(Body{std::move(storage), offset_bytes, shape, dtype})) {}

Tensor Tensor::zeros(const Shape& shape, DType dtype) {
  Tensor tensor(shape, dtype);
  fill_zero(tensor);
  return tensor;
}

Tensor Tensor::full(const Shape& shape, DType dtype, double value) {
  Tensor tensor(shape, dtype);
  const auto fill = [&]<class T>(T) {
    std::ranges::fill(tensor.elements<T>(), static_cast<T>(value));
  };
  if (dtype == DType::i32) {
    fill(int32_t{});
  } else if (dtype == DType::i64) {
    fill(int64_t{});
  } else {
    dispatch_float("tensor", dtype, fill);
  }
  return tensor;
}

std::byte* Tensor::raw() const {
  const Body& b = body();
  if (b.offset_bytes + bytes() > b.storage->bytes()) {
    fail("tensor", "shape {}: got a handle on rows that were removed, expected at most {} bytes",
         to_string(b.shape), b.storage->bytes() - b.offset_bytes);
  }
  return b.storage->data() + b.offset_bytes;
}

double Tensor::item() const {
  if (size() != 1) fail("tensor", "item: got shape {}, expected one element", to_string(shape()));
  if (dtype() == DType::i32) return *data<int32_t>();
  if (dtype() == DType::i64) return static_cast<double>(*data<int64_t>());
  return dispatch_float("tensor", dtype(), [&]<class T>(T) -> double { return *data<T>(); });
}

Tensor Tensor::view(const Shape& shape) const {
  if (shape.size() != size()) {
    fail("tensor", "view: got shape {}, expected the size of {}", to_string(shape),
         to_string(this->shape()));
  }
  return Tensor(body().storage, body().offset_bytes, shape, dtype());
}

Tensor Tensor::rows(int64_t first, int64_t count) const {
  if (rank() < 1 || first < 0 || count < 0 || count > shape()[0] - first) {
    fail("tensor", "rows: got {} from {} on, expected a part of {}", count, first,
         to_string(shape()));
  }
  const Shape part = shape().with(0, count);
  const int64_t row_bytes = shape()[0] == 0 ? 0 : bytes() / shape()[0];
  return Tensor(body().storage, body().offset_bytes + first * row_bytes, part, dtype());
}

Tensor Tensor::clone() const {
  Tensor copy(shape(), dtype());
  copy_elements(*this, copy);
  return copy;
}

void copy_elements(const Tensor& from, const Tensor& to) {
  if (from.shape() != to.shape() || from.dtype() != to.dtype()) {
    fail("tensor", "copy: got {} {}, expected {} {}", to_string(from.dtype()),
         to_string(from.shape()), to_string(to.dtype()), to_string(to.shape()));
  }
  std::memmove(to.raw(), from.raw(), static_cast<size_t>(from.bytes()));
}

void fill_zero(const Tensor& tensor) {
  std::memset(tensor.raw(), 0, static_cast<size_t>(tensor.bytes()));
}

}  // namespace offshoot
