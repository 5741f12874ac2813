#include "engine/tensor.h"

#include <cstring>
#include <utility>

#include "cuda/context.h"
#include "cuda/elements.h"
#include "cuda/memory.h"

namespace offshoot {

struct Tensor::HostMirror {
  explicit HostMirror(const Tensor& from)
      : copy(from.address(), from.bytes(), from.device().index), shape(from.shape()) {}

  cuda::HostCopy copy;
  Shape shape;
  Tensor tensor;  // undefined until it was waited for
};

Tensor::Tensor(const Shape& shape, DType dtype, Device device)
    : Tensor(pooled_storage(shape.size() * element_bytes(dtype), device), 0, shape, dtype) {}

Tensor::Tensor(std::shared_ptr<Storage> storage, int64_t offset_bytes, const Shape& shape,
               DType dtype)
    : body_(std::make_shared<const Body>(Body{std::move(storage), offset_bytes, shape, dtype})) {}

Tensor Tensor::zeros(const Shape& shape, DType dtype, Device device) {
  Tensor tensor(shape, dtype, device);
  fill_zero(tensor);
  return tensor;
}

Tensor Tensor::full(const Shape& shape, DType dtype, double value, Device device) {
  Tensor tensor(shape, dtype);
  const auto fill = [&]<class T>(T) {
    std::ranges::fill(tensor.elements<T>(), static_cast<T>(value));
  };
  if (dtype == DType::i32) {
    fill(int32_t{});
  } else if (dtype == DType::i64) {
    fill(int64_t{});
  } else if (dtype == DType::bf16) {
    std::ranges::fill(tensor.elements<bfloat16>(), to_bfloat16(static_cast<float>(value)));
  } else {
    dispatch_float("tensor", dtype, fill);
  }
  return tensor.to(device);
}

std::byte* Tensor::address() const {
  const Body& b = body();
  if (b.offset_bytes + bytes() > b.storage->bytes()) {
    fail("tensor", "shape {}: got a handle on rows that were removed, expected at most {} bytes",
         to_string(b.shape), b.storage->bytes() - b.offset_bytes);
  }
  return b.storage->data() + b.offset_bytes;
}

std::byte* Tensor::raw() const {
  if (device().is_cuda()) {
    fail("tensor", "elements: got them on {}, expected cpu: copy them with to()",
         to_string(device()));
  }
  return address();
}

double Tensor::item() const {
  if (size() != 1) fail("tensor", "item: got shape {}, expected one element", to_string(shape()));
  if (device().is_cuda()) return to(Device{}).item();
  if (dtype() == DType::i32) return *data<int32_t>();
  if (dtype() == DType::i64) return static_cast<double>(*data<int64_t>());
  if (dtype() == DType::bf16) return to_float(*data<bfloat16>());
  return dispatch_float("tensor", dtype(), [&]<class T>(T) -> double { return *data<T>(); });
}

Tensor Tensor::to(Device device) const {
  if (this->device() == device) return *this;
  Tensor copy(shape(), dtype(), device);
  copy_elements(*this, copy);
  return copy;
}

void Tensor::begin_host_copy() const {
  if constexpr (kHasCuda) {
    if (device().is_cuda() && !body().mirror) body().mirror = std::make_shared<HostMirror>(*this);
  }
}

Tensor Tensor::host_copy() const {
  if (!device().is_cuda()) return *this;
  begin_host_copy();
  HostMirror& mirror = *body().mirror;
  if constexpr (kHasCuda) {
    if (!mirror.tensor.defined()) {
      mirror.tensor = Tensor(shape(), dtype());
      std::memcpy(mirror.tensor.raw(), mirror.copy.wait(), static_cast<size_t>(bytes()));
    }
  }
  return mirror.tensor;
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
  Tensor copy(shape(), dtype(), device());
  copy_elements(*this, copy);
  return copy;
}

namespace {

// A template, so that a build without CUDA compiles no call of it.
template <bool kCuda = kHasCuda>
void copy_by_cuda(const Tensor& from, const Tensor& to) {
  const Device source = from.device(), target = to.device();
  if (!source.is_cuda()) {
    return cuda::copy_to_device(to.address(), from.raw(), from.bytes(), target.index);
  }
  if (!target.is_cuda()) {
    return cuda::copy_to_host(to.raw(), from.address(), from.bytes(), source.index);
  }
  if (source != target) return copy_by_cuda(from.to(Device{}), to);
  cuda::copy(from.address(), to.address(), from.bytes(), cuda::use(source.index));
}

}  // namespace

void copy_elements(const Tensor& from, const Tensor& to) {
  if (from.shape() != to.shape() || from.dtype() != to.dtype()) {
    fail("tensor", "copy: got {} {}, expected {} {}", to_string(from.dtype()),
         to_string(from.shape()), to_string(to.dtype()), to_string(to.shape()));
  }
  if constexpr (kHasCuda) {
    if (from.device().is_cuda() || to.device().is_cuda()) return copy_by_cuda(from, to);
  }
  std::memmove(to.raw(), from.raw(), static_cast<size_t>(from.bytes()));
}

void fill_zero(const Tensor& tensor) {
  if constexpr (kHasCuda) {
    const Device device = tensor.device();
    if (device.is_cuda()) {
      return cuda::fill_zero(tensor.address(), tensor.bytes(), cuda::use(device.index));
    }
  }
  std::memset(tensor.raw(), 0, static_cast<size_t>(tensor.bytes()));
}

}  // namespace offshoot
