// Tensor: a shared handle on contiguous, row-major numbers. No mathematics here.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>

#include "engine/device.h"
#include "engine/dtype.h"
#include "engine/shape.h"
#include "engine/storage.h"

namespace offshoot {

// Copies of a handle share the elements and the identity that a tape knows them by (key()). A view
// shares the elements only. A handle on growable memory keeps the shape it was made with; its
// elements throw Error once they lie beyond the rows that are left.
class Tensor {
 public:
  Tensor() = default;  // undefined: stands for "no tensor"

  // Pooled memory of the device, contents undefined.
  Tensor(const Shape& shape, DType dtype, Device device = {});
  // Part of `storage`, from a byte offset on; a growable buffer's rows, a view.
  Tensor(std::shared_ptr<Storage> storage, int64_t offset_bytes, const Shape& shape, DType dtype);

  static Tensor zeros(const Shape& shape, DType dtype, Device device = {});
  static Tensor full(const Shape& shape, DType dtype, double value, Device device = {});
  static Tensor scalar(double value, DType dtype) { return full({}, dtype, value); }
  // On the CPU. Throws Error when the number of values is not the shape's.
  template <class T>
  static Tensor from(const Shape& shape, std::span<const T> values);
  template <class T>
  static Tensor from(const Shape& shape, std::initializer_list<T> values) {
    return from(shape, std::span<const T>(values.begin(), values.size()));
  }

  bool defined() const { return body_ != nullptr; }
  const Shape& shape() const { return body().shape; }
  int rank() const { return shape().rank(); }
  int64_t dim(int64_t axis) const { return shape()[shape().axis(axis, "tensor")]; }
  int64_t last_dim() const { return dim(-1); }
  int64_t size() const { return shape().size(); }
  DType dtype() const { return body().dtype; }
  int64_t bytes() const { return size() * element_bytes(dtype()); }
  Device device() const { return body().storage->device(); }

  // The elements, on the CPU. Throws Error when T is not the dtype, and when they are on another
  // device: copy them with to(). Not on a temporary, whose elements may die with it.
  template <class T>
  T* data() const&;
  template <class T>
  T* data() const&& = delete;
  template <class T>
  std::span<T> elements() const& {
    return {data<T>(), static_cast<size_t>(size())};
  }
  template <class T>
  std::span<T> elements() const&& = delete;
  std::byte* raw() const;

  // Where kernels find the elements. Throws Error when T is not the dtype, or on the CPU.
  template <class T>
  T* device_data() const;
  // The same on any device, untyped.
  std::byte* address() const;

  // The value of a tensor of one element, of any dtype. Throws Error for other sizes. On CUDA it
  // waits for the device.
  double item() const;

  // These elements on `device`: this handle itself where they are there already, else a copy, which
  // no tape knows: no gradient finds its way back through it. To
  // the CPU it waits for the device.
  Tensor to(Device device) const;

  // A copy on the CPU that is made once for this handle and its copies: for a few numbers that are
  // written once and read in several places. begin_host_copy() begins it without waiting;
  // host_copy() waits, if need be, for what was begun. On the CPU: this handle itself.
  void begin_host_copy() const;
  Tensor host_copy() const;

  // The same elements under another shape of the same size; rows [first, first + count) of axis 0.
  // Throws Error when they do not fit. A tape does not know the result: differentiable versions are
  // operations (ops/layout.h).
  Tensor view(const Shape& shape) const;
  Tensor rows(int64_t first, int64_t count) const;

  // A copy with elements of its own.
  Tensor clone() const;

  // What a tape knows this tensor by.
  const void* key() const { return body_.get(); }

 private:
  struct HostMirror;
  struct Body {
    std::shared_ptr<Storage> storage;
    int64_t offset_bytes;
    Shape shape;
    DType dtype;
    mutable std::shared_ptr<HostMirror> mirror = {};
  };
  void check_dtype(DType wanted) const {
    if (wanted != dtype()) [[unlikely]]
      fail("tensor", "elements: got {}, expected {}", to_string(wanted), to_string(dtype()));
  }
  const Body& body() const {
    if (!defined()) [[unlikely]]
      fail("tensor", "got an undefined tensor, expected one with elements");
    return *body_;
  }

  std::shared_ptr<const Body> body_;
};

// Copies all elements, from and to any device. Throws Error when shapes or dtypes differ.
void copy_elements(const Tensor& from, const Tensor& to);

// All elements become 0.
void fill_zero(const Tensor& tensor);

template <class T>
T* Tensor::data() const& {
  check_dtype(dtype_of<T>);
  return reinterpret_cast<T*>(raw());
}

template <class T>
T* Tensor::device_data() const {
  check_dtype(dtype_of<T>);
  if (!device().is_cuda()) fail("tensor", "elements: got them on the CPU, expected a CUDA device");
  return reinterpret_cast<T*>(address());
}

template <class T>
Tensor Tensor::from(const Shape& shape, std::span<const T> values) {
  if (static_cast<int64_t>(values.size()) != shape.size()) {
    fail("tensor", "got {} values, expected {} for shape {}", values.size(), shape.size(),
         to_string(shape));
  }
  Tensor tensor(shape, dtype_of<T>);
  std::ranges::copy(values, tensor.data<T>());
  return tensor;
}

}  // namespace offshoot
