#include "engine/tape.h"

#include <algorithm>
#include <utility>

#include "cuda/context.h"
#include "cuda/elements.h"
#include "engine/parallel.h"

namespace offshoot {
namespace {

constexpr int64_t kGrain = 16384;

// A template, so that a build without CUDA compiles no call of it.
template <bool kCuda = kHasCuda>
void add_elements(const Tensor& from, const GradSlot& slot) {
  if constexpr (kCuda) {
    if (from.device().is_cuda()) {
      return dispatch_cuda("tape", from.dtype(), [&]<class T>(T) {
        cuda::accumulate_elements(from.device_data<T>(), slot.grad.device_data<T>(), from.size(),
                                  slot.overwrite, cuda::use(from.device().index));
      });
    }
  }
  dispatch_float("tape", from.dtype(), [&]<class T>(T) {
    const T* source = from.data<T>();
    T* target = slot.grad.data<T>();
    const bool overwrite = slot.overwrite;
    parallel_for(from.size(), kGrain, [=](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) accumulate(target[i], source[i], overwrite);
    });
  });
}

}  // namespace

void Tape::watch(const Tensor& leaf) {
  if (state_ == State::inference) return;
  const auto [place, is_new] = slots_.try_emplace(leaf.key(), Slot{leaf, {}, true});
  if (!is_new && !place->second.is_leaf) {
    fail("tape", "watch: got the output of an operation of this tape, expected a leaf");
  }
}

const Tensor& Tape::watch(Parameter& parameter) {
  const Tensor& value = parameter.value();
  if (state_ == State::inference || !parameter.trainable()) return value;
  slots_.try_emplace(value.key(), Slot{value, {}, true, &parameter, parameter.generation()});
  return value;
}

bool Tape::wants_any(std::span<const Tensor> inputs) const {
  return std::ranges::any_of(inputs, [this](const Tensor& input) { return wants(input); });
}

bool Tape::begins_record(std::string_view op, std::span<const Tensor> inputs) const {
  if (state_ == State::inference) return false;
  if (state_ == State::closed) fail(op, "this tape has been walked back: use a new one a step");
  return wants_any(inputs);
}

void Tape::add_output(std::string_view op, const Tensor& out) {
  if (!slots_.try_emplace(out.key(), Slot{out}).second) {
    fail(op, "output: got a tensor that this tape knows already, expected a new one");
  }
}

void Tape::record(std::string_view op, std::span<const Tensor> inputs, const Tensor& out,
                  Backward backward) {
  if (!begins_record(op, inputs)) return;
  add_output(op, out);
  entries_.push_back({{}, out, std::move(backward), {}});
}

void Tape::record_many(std::string_view op, std::span<const Tensor> inputs,
                       std::span<const Tensor> outs, BackwardMany backward) {
  if (!begins_record(op, inputs)) return;
  for (const Tensor& out : outs) add_output(op, out);
  entries_.push_back({{outs.begin(), outs.end()}, {}, {}, std::move(backward)});
}

void Tape::backward(const Tensor& out) {
  if (out.size() != 1) {
    fail("tape", "backward: got shape {}, expected one element or a seed", to_string(out.shape()));
  }
  backward(out, Tensor::full(out.shape(), out.dtype(), 1.0, out.device()));
}

void Tape::backward(const Tensor& out, const Tensor& seed) {
  if (state_ != State::recording) fail("tape", "backward: this tape is closed or for inference");
  if (!wants(out)) fail("tape", "backward: the output was not computed from a watched tensor");
  if (seed.shape() != out.shape() || seed.dtype() != out.dtype() || seed.device() != out.device()) {
    fail("tape", "seed: got {} {} on {}, expected {} {} on {}", to_string(seed.dtype()),
         to_string(seed.shape()), to_string(seed.device()), to_string(out.dtype()),
         to_string(out.shape()), to_string(out.device()));
  }
  for (const auto& [key, slot] : slots_) {
    if (slot.parameter != nullptr && slot.parameter->generation() != slot.generation) {
      fail("tape", "backward: {} has grown since this tape was opened, expected a new tape",
           slot.parameter->name());
    }
  }
  state_ = State::closed;  // first: a walk that throws must not be walked a second time
  add_elements(seed, slot(out));
  for (; !entries_.empty(); entries_.pop_back()) run(entries_.back());  // its saved tensors go, too
  std::erase_if(slots_, [](const auto& item) { return !item.second.is_leaf; });
}

Tensor Tape::take_grad(const Tensor& out) { return std::exchange(slots_.at(out.key()).grad, {}); }

void Tape::run(Entry& entry) {
  if (entry.backward) {
    const Tensor dout = take_grad(entry.out);
    if (dout.defined()) entry.backward(*this, dout);  // undefined: it did not lead to the result
    return;
  }
  std::vector<Tensor> douts;
  for (const Tensor& out : entry.outs) douts.push_back(take_grad(out));
  if (std::ranges::any_of(douts, &Tensor::defined)) entry.backward_many(*this, douts);
}

GradSlot Tape::slot(const Tensor& input) {
  const auto found = slots_.find(input.key());
  if (found == slots_.end()) return {};
  Slot& slot = found->second;
  if (slot.parameter != nullptr) return slot.parameter->gradient_slot();
  const bool empty = !slot.grad.defined();
  if (empty) slot.grad = Tensor(input.shape(), input.dtype(), input.device());
  return {slot.grad, empty};
}

void Tape::give(const Tensor& input, const Tensor& contribution) {
  const auto found = slots_.find(input.key());
  if (found == slots_.end()) return;
  Slot& slot = found->second;
  if (slot.parameter == nullptr && !slot.grad.defined()) {
    slot.grad =
        contribution.shape() == input.shape() ? contribution : contribution.view(input.shape());
    return;
  }
  if (const GradSlot to = this->slot(input)) add_elements(contribution, to);
}

Tensor Tape::grad(const Tensor& leaf) const {
  const auto found = slots_.find(leaf.key());
  if (found == slots_.end()) fail("tape", "grad: the tensor is not watched");
  if (found->second.parameter != nullptr) return found->second.parameter->grad();
  if (found->second.grad.defined()) return found->second.grad;
  return Tensor::zeros(leaf.shape(), leaf.dtype(), leaf.device());
}

}  // namespace offshoot
