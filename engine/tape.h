// Tape: what was computed, in order, so that it can be walked back.
//
// The one accumulation rule. Every backward function *adds* to the gradients of its inputs, through
// a GradSlot. A slot knows whether it is empty; the first contribution overwrites, later ones add.
// So nothing is ever zeroed in advance, and reading an empty slot gives zeros. A parameter's slot
// is its own and outlives the tape: micro-batches accumulate until zero_grad().
//
// A tensor's identity here is the handle's (Tensor::key()), not its storage: a view made by an
// operation is a node of its own.
#pragma once

#include <functional>
#include <initializer_list>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/parameter.h"
#include "engine/tensor.h"

namespace offshoot {

template <class T>
void accumulate(T& grad, T value, bool overwrite) {
  grad = overwrite ? value : grad + value;
}

class Tape {
 public:
  // Reads the output's gradient, adds to the inputs'. `dout` is this call's own: it may be handed
  // on with give().
  using Backward = std::function<void(Tape&, const Tensor& dout)>;
  // The same with several outputs; one that did not lead to the result has an undefined gradient.
  using BackwardMany = std::function<void(Tape&, std::span<const Tensor> douts)>;

  Tape() = default;
  static Tape none() { return Tape(State::inference); }  // records nothing
  Tape(Tape&&) = default;
  Tape& operator=(Tape&&) = default;

  // Gradients are wanted for `leaf`, and for everything computed from it on this tape. They live as
  // long as the tape: see grad(). Throws Error for what an operation of this tape has put out: that
  // gradient is consumed by the walk.
  void watch(const Tensor& leaf);

  // The parameter's value, for use in operations; its gradient goes to the parameter. One that is
  // not trainable is not watched. One that grows afterwards makes backward() throw.
  const Tensor& watch(Parameter& parameter);

  // Whether a gradient will be wanted for `tensor`: it is watched or computed from what is.
  bool wants(const Tensor& tensor) const { return slots_.contains(tensor.key()); }
  // Whether record() with these inputs would keep anything; else nothing need be saved.
  bool wants_any(std::span<const Tensor> inputs) const;
  bool wants_any(std::initializer_list<Tensor> inputs) const {
    return wants_any(std::span(inputs.begin(), inputs.size()));
  }

  // Called by an operation with its differentiable inputs (undefined ones are skipped) and its
  // output. `backward` holds exactly what it saved. Does nothing when no input is watched. Throws
  // Error on a tape walked back, or when the tape knows the output already: an input itself cannot
  // be one, a view of it can.
  void record(std::string_view op, std::span<const Tensor> inputs, const Tensor& out,
              Backward backward);
  void record(std::string_view op, std::initializer_list<Tensor> inputs, const Tensor& out,
              Backward backward) {
    record(op, std::span(inputs.begin(), inputs.size()), out, std::move(backward));
  }
  void record_many(std::string_view op, std::span<const Tensor> inputs,
                   std::span<const Tensor> outs, BackwardMany backward);
  void record_many(std::string_view op, std::initializer_list<Tensor> inputs,
                   std::initializer_list<Tensor> outs, BackwardMany backward) {
    record_many(op, std::span(inputs.begin(), inputs.size()), std::span(outs.begin(), outs.size()),
                std::move(backward));
  }

  // Adds d(out)/d(leaf) to the slot of every watched leaf; `out` has one element. Closes the tape
  // and frees what it saved. Throws Error: closed or inference tape, an `out` that was not recorded
  // here, or a watched parameter that has grown since.
  void backward(const Tensor& out);
  // The same for d(sum of seed * out). Throws Error, too, when shapes or dtypes differ.
  void backward(const Tensor& out, const Tensor& seed);

  // For backward functions: the slot of an input. It counts as filled from now on, so ask just
  // before writing: one tensor used as two inputs has one slot. Undefined when none is wanted.
  GradSlot slot(const Tensor& input);

  // For backward functions whose input's gradient is `contribution` itself, which nobody else
  // writes to: taken over without a copy where the slot is empty, else added. It may have another
  // shape of the same size (reshape).
  void give(const Tensor& input, const Tensor& contribution);

  // The gradient of a watched tensor: zeros when nothing was contributed.
  Tensor grad(const Tensor& leaf) const;

 private:
  enum class State { recording, closed, inference };
  struct Entry {
    std::vector<Tensor> outs;  // of record_many
    Tensor out;                // of record
    Backward backward;
    BackwardMany backward_many;
  };
  struct Slot {
    Tensor tensor;
    Tensor grad = {};  // undefined: empty
    bool is_leaf = false;
    Parameter* parameter = nullptr;  // whose own slot is used instead of `grad`
    uint64_t generation = 0;
  };

  explicit Tape(State state) : state_(state) {}
  bool begins_record(std::string_view op, std::span<const Tensor> inputs) const;
  void add_output(std::string_view op, const Tensor& out);
  void run(Entry& entry);
  Tensor take_grad(const Tensor& out);

  State state_ = State::recording;
  std::vector<Entry> entries_;
  std::unordered_map<const void*, Slot> slots_;  // one for every watched tensor
};

}  // namespace offshoot
