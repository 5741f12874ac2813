// Row tensors: the two kinds of member that an expert's tensors need.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "engine/growable_buffer.h"
#include "engine/growth.h"
#include "engine/tensor.h"

namespace offshoot {

// What a duplicated row starts with. (An appended one starts as its RowInit says.)
enum class NewRow {
  copy,  // the source's values: parameters, inherited moments
  zero,  // zeros: fresh moments, counters
};

// A tensor [rows, ...] that grows and shrinks at its end, in place.
class RowTensor : public RowMember {
 public:
  // Rows start as zeros. Throws Error when the shape has no axis or an empty row, the rows do not
  // fit in memory, or reserve_rows is below 1 (it is raised to the rows given).
  RowTensor(std::string name, const Shape& shape, DType dtype, int64_t reserve_rows, NewRow new_row,
            Device device = {});

  std::string_view name() const override { return name_; }
  int64_t rows() const override { return tensor_.shape()[0]; }
  // All rows. Take it anew after a change; the shape of an older handle is out of date.
  const Tensor& tensor() const { return tensor_; }
  Tensor row(int64_t index) const { return tensor_.rows(index, 1); }
  int64_t row_bytes() const { return row_bytes_; }
  int64_t committed_bytes() const { return buffer_->committed_bytes(); }
  int64_t reserve_rows() const { return buffer_->reserved_bytes() / row_bytes_; }
  void set_new_row(NewRow new_row) { new_row_ = new_row; }
  // Changes with every change of rows; a pointer into the rows is good while it stays. Rows move in
  // memory only when the reserve is exceeded.
  uint64_t generation() const { return generation_; }

  void prepare(const RowChange& change) override;
  void commit(const RowChange& change) noexcept override;
  void rollback(const RowChange& change) noexcept override;

 private:
  void write_new_rows(const RowChange& change, std::byte* data, const Tensor& all) const;

  std::string name_;
  NewRow new_row_;
  int64_t row_bytes_;
  std::shared_ptr<GrowableBuffer> buffer_;
  Tensor tensor_;
  uint64_t generation_ = 0;
  // Between prepare and commit. The buffer is another one when the reserve is exceeded.
  std::shared_ptr<GrowableBuffer> next_buffer_;
  Tensor next_tensor_;
};

// How a duplication divides the source's gradient G between source and newborn (MASS,
// arXiv 2512.19765, gradient decomposition).
enum class GradientSplit {
  project_rows,   // newborn: G; source: each vector g of G becomes ((g.w) / (w.w + 1e-12)) w
  project_whole,  // the same with all of the row's G as one vector
  keep_copy,      // both: G
  keep_zero,      // source: G; newborn: 0
};

// The gradient of `value`. While empty() its contents mean nothing and nothing is split.
class GradientRows final : public RowTensor {
 public:
  // `value` [rows, ...] outlives this object; project_rows works on vectors along its last axis.
  explicit GradientRows(const RowTensor& value, GradientSplit split = GradientSplit::keep_copy);

  bool empty() const { return empty_; }
  void set_empty(bool empty) { empty_ = empty; }
  GradientSplit split() const { return split_; }
  void set_split(GradientSplit split);

  void commit(const RowChange& change) noexcept override;

 private:
  const RowTensor& value_;
  GradientSplit split_;
  bool empty_ = true;
};

}  // namespace offshoot
