// Parameter: a named leaf that a model learns.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "engine/growth.h"
#include "engine/row_tensor.h"
#include "engine/tensor.h"

namespace offshoot {

// Where a backward function puts one input's gradient. The one rule of engine/tape.h: overwrite
// when the slot was empty, else add.
struct GradSlot {
  Tensor grad;             // the input's shape and dtype; undefined when no gradient is wanted
  bool overwrite = false;  // true: contents are garbage, write. false: add.

  explicit operator bool() const { return grad.defined(); }
};

// A parameter stays where it was made: optimizers, tapes and growth groups point to it. Its name is
// the full dotted one ("block.moe.fc1.weight"). A tied weight is one Parameter that two modules
// share.
class Parameter {
 public:
  // A tensor of fixed shape; takes over `initial`'s elements. f32, or f64 on the CPU: what computes
  // in bf16 keeps its parameters in f32.
  Parameter(std::string name, const Tensor& initial);

  // One row (index of axis 0) a group member: joins `group`, which outlives it, with its value and
  // its gradient, on the device of `initial`. Address space is taken for `reserve_rows` rows, by
  // default four times the first ones. Throws Error when the group has another number of rows.
  Parameter(std::string name, const Tensor& initial, GrowthGroup& group, int64_t reserve_rows = 0);

  Parameter(const Parameter&) = delete;
  Parameter& operator=(const Parameter&) = delete;

  const std::string& name() const { return name_; }
  // The elements. After a growth take it anew: it has another shape.
  const Tensor& value() const { return value_rows_ ? value_rows_->tensor() : value_; }
  DType dtype() const { return value().dtype(); }

  bool growable() const { return group_ != nullptr; }
  GrowthGroup* group() const { return group_; }
  int64_t reserve_rows() const { return value_rows_ ? value_rows_->reserve_rows() : 0; }
  // Changes with every growth of this parameter.
  uint64_t generation() const { return value_rows_ ? value_rows_->generation() : 0; }
  // How a duplication divides the gradient. Throws Error when the parameter is not growable.
  void set_gradient_split(GradientSplit split);

  // Not trainable: no gradient, no memory for one, and no optimizer takes it.
  bool trainable() const { return trainable_; }
  void set_trainable(bool trainable);
  // Whether an optimizer holds it.
  bool claimed() const { return claimed_; }

  // False after zero_grad() until a backward contributes.
  bool has_grad() const;
  // The gradient; zeros while there is none. Throws Error when not trainable.
  Tensor grad() const;
  // For backward functions and for code that edits a gradient in place: counts as filled now.
  GradSlot gradient_slot();
  // Marks the gradient empty; touches no memory.
  void zero_grad();

  // An optimizer holds this as long as it steps the parameter. Throws Error when another one does.
  class Claim {
   public:
    explicit Claim(Parameter& parameter);
    Claim(Claim&& other) noexcept;
    Claim& operator=(Claim&&) = delete;
    ~Claim();

   private:
    Parameter* parameter_;
  };

 private:
  std::string name_;
  bool trainable_ = true;
  bool claimed_ = false;

  Tensor value_;  // of fixed shape
  Tensor grad_;
  bool grad_empty_ = true;

  GrowthGroup* group_ = nullptr;  // growable
  GradientSplit split_ = GradientSplit::keep_copy;
  std::unique_ptr<RowTensor> value_rows_;
  std::unique_ptr<GradientRows> grad_rows_;
  GrowthGroup::Membership value_membership_;
  GrowthGroup::Membership grad_membership_;
};

}  // namespace offshoot
