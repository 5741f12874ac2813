#include "engine/parameter.h"

#include <utility>

#include "engine/error.h"

namespace offshoot {
namespace {

constexpr int64_t kDefaultReserve = 4;  // times the first rows

void check_dtype(const std::string& name, const Tensor& initial) {
  const std::string_view got = to_string(initial.dtype());
  if (initial.device().is_cuda()) {
    if (initial.dtype() == DType::f32) return;
    fail(name, "dtype: got {} on {}, expected f32", got, to_string(initial.device()));
  }
  if (!is_float(initial.dtype())) fail(name, "dtype: got {}, expected f32 or f64", got);
}

}  // namespace

Parameter::Parameter(std::string name, const Tensor& initial)
    : name_(std::move(name)), value_(initial) {
  check_dtype(name_, initial);
}

Parameter::Parameter(std::string name, const Tensor& initial, GrowthGroup& group,
                     int64_t reserve_rows)
    : name_(std::move(name)), group_(&group) {
  check_dtype(name_, initial);
  if (reserve_rows <= 0) reserve_rows = kDefaultReserve * group.rows();
  value_rows_ = std::make_unique<RowTensor>(name_, initial.shape(), initial.dtype(), reserve_rows,
                                            NewRow::copy, initial.device());
  copy_elements(initial, value_rows_->tensor());
  value_membership_ = group.join(*value_rows_);
  grad_rows_ = std::make_unique<GradientRows>(*value_rows_, split_);
  grad_membership_ = group.join(*grad_rows_);
}

void Parameter::set_gradient_split(GradientSplit split) {
  if (!growable()) fail(name_, "gradient split: got a parameter of fixed shape, expected growable");
  split_ = split;
  if (grad_rows_) grad_rows_->set_split(split);
}

void Parameter::set_trainable(bool trainable) {
  if (trainable == trainable_) return;
  if (!trainable) {
    if (claimed_) fail(name_, "set_trainable(false): an optimizer steps it, build that later");
    grad_membership_ = {};
    grad_rows_.reset();
    grad_ = {};
    grad_empty_ = true;
  } else if (growable()) {
    grad_rows_ = std::make_unique<GradientRows>(*value_rows_, split_);
    grad_membership_ = group_->join(*grad_rows_);
  }
  trainable_ = trainable;
}

bool Parameter::has_grad() const { return grad_rows_ ? !grad_rows_->empty() : !grad_empty_; }

Tensor Parameter::grad() const {
  if (!trainable_) fail(name_, "grad: the parameter is not trainable");
  if (!has_grad()) return Tensor::zeros(value().shape(), dtype(), value().device());
  return grad_rows_ ? grad_rows_->tensor() : grad_;
}

GradSlot Parameter::gradient_slot() {
  if (!trainable_) return {};
  const bool empty = !has_grad();
  if (grad_rows_) {
    grad_rows_->set_empty(false);
    return {grad_rows_->tensor(), empty};
  }
  if (!grad_.defined()) grad_ = Tensor(value_.shape(), value_.dtype(), value_.device());
  grad_empty_ = false;
  return {grad_, empty};
}

void Parameter::zero_grad() {
  grad_empty_ = true;
  if (grad_rows_) grad_rows_->set_empty(true);
}

Parameter::Claim::Claim(Parameter& parameter) : parameter_(&parameter) {
  if (parameter.claimed_) fail(parameter.name(), "a second optimizer on one parameter");
  parameter.claimed_ = true;
}

Parameter::Claim::Claim(Claim&& other) noexcept
    : parameter_(std::exchange(other.parameter_, nullptr)) {}

Parameter::Claim::~Claim() {
  if (parameter_ != nullptr) parameter_->claimed_ = false;
}

}  // namespace offshoot
