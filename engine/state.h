// State: what must survive a restart, named once for saving and loading alike.
//
// Whoever has state walks it:
//   void each_state(State& state) {
//     state.value("position", position_);
//     state.values("losses", losses_);
//     state.tensor("exp_avg", exp_avg(), parameter.group());
//   }
// The walk is made in one of three phases:
//   save   everything is written, nothing is changed;
//   check  what lies in the file is read and compared with what is asked for; nothing is changed.
//          Throws Error for what is missing, of another type or shape;
//   apply  everything takes the file's values; nothing can be wrong any more. The growth groups
//          have the file's rows by now: handles of their tensors are taken anew.
// A walk asks for the same names in check and in apply. What is empty is not in the file.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/growth.h"
#include "engine/hdf5_file.h"
#include "engine/tensor.h"

namespace offshoot {

class State {
 public:
  enum class Phase { save, check, apply };

  explicit State(H5Writer& file);        // phase save
  explicit State(const H5Reader& file);  // phase check

  Phase phase() const;
  bool saving() const { return phase() == Phase::save; }
  bool checking() const { return phase() == Phase::check; }
  bool applying() const { return phase() == Phase::apply; }

  // The same phase and file, in which "x" is "name/x".
  State scope(std::string_view name) const;

  // A tensor's elements; `rows`: the group that its axis 0 belongs to. Throws Error for bf16.
  void tensor(std::string_view name, const Tensor& tensor, const GrowthGroup* rows = nullptr);

  // One number: bool, int32_t, int64_t, uint64_t, float or double.
  template <class T>
  void value(std::string_view name, T& value) {
    number(name, H5TypeOf<T>::value, std::as_writable_bytes(std::span(&value, 1)));
  }
  void value(std::string_view name, bool& value);
  void text(std::string_view name, std::string& text);

  // Any number of numbers; of texts; of rows, whose columns' names and types are the file's, too.
  template <class T>
  void values(std::string_view name, std::vector<T>& values);
  void texts(std::string_view name, std::vector<std::string>& texts);
  void table(std::string_view name, std::vector<H5Column>& columns);

  // For a walk's own checks in phase check: the numbers that `name` will take. Throws Error when
  // they are of another type; none when it is not there.
  template <class T>
  std::vector<T> peek(std::string_view name);
  std::vector<std::string> peek_texts(std::string_view name);

  // How many rows the group has after the load; when saving, its rows.
  int64_t rows(const GrowthGroup& group) const;

  // For the loader: the rows a group will have; every dataset that no walk has asked for; and the
  // end of phase check.
  void set_rows(const GrowthGroup& group, int64_t rows);
  bool asked(const std::string& name) const;
  void begin_apply();

 private:
  struct Store;
  State(std::shared_ptr<Store> store, std::string prefix);
  std::string full(std::string_view name) const { return prefix_ + std::string(name); }
  void number(std::string_view name, H5Type type, std::span<std::byte> value);
  // Phase check: remembers the dataset's bytes. False when it is not there.
  bool stage(const std::string& name, H5Type type, const Shape* shape);
  // Phase apply: nothing when it is not there.
  const std::vector<std::byte>* staged(const std::string& name) const;
  void write_values(const std::string& name, H5Type type, std::span<const std::byte> bytes);

  std::shared_ptr<Store> store_;
  std::string prefix_;
};

template <class T>
std::vector<T> State::peek(std::string_view name) {
  const std::string path = full(name);
  if (checking()) stage(path, H5TypeOf<T>::value, nullptr);
  const std::vector<std::byte>* bytes = staged(path);
  std::vector<T> values(bytes == nullptr ? 0 : bytes->size() / sizeof(T));
  if (!values.empty()) std::ranges::copy(*bytes, std::as_writable_bytes(std::span(values)).begin());
  return values;
}

template <class T>
void State::values(std::string_view name, std::vector<T>& values) {
  if (saving()) {
    write_values(full(name), H5TypeOf<T>::value, std::as_bytes(std::span(values)));
  } else if (checking()) {
    stage(full(name), H5TypeOf<T>::value, nullptr);
  } else {
    values = peek<T>(name);
  }
}

}  // namespace offshoot
