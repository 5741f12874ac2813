// Handles of the HDF5 library and its error texts. Included by the HDF5 layer only (hdf5_*.cpp).
#pragma once

#include <hdf5.h>

#include <string>
#include <utility>

namespace offshoot {

// Closes on destruction.
class H5Handle {
 public:
  using Close = herr_t (*)(hid_t);
  H5Handle() = default;
  H5Handle(hid_t id, Close closer) : id_(id), close_(closer) {}
  H5Handle(H5Handle&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
  H5Handle& operator=(H5Handle&& other) noexcept {
    std::swap(id_, other.id_);
    std::swap(close_, other.close_);
    return *this;
  }
  ~H5Handle() { close(); }

  // False when HDF5 says no.
  bool close() {
    if (id_ < 0) return true;
    return close_(std::exchange(id_, -1)) >= 0;
  }
  explicit operator bool() const { return id_ >= 0; }
  operator hid_t() const { return id_; }  // NOLINT: it stands for the id

 private:
  hid_t id_ = -1;
  Close close_ = nullptr;
};

// HDF5 prints its error stack by itself unless told not to; called before each file is opened.
inline void h5_be_quiet() { H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr); }

// What HDF5 says about its last failure: the innermost description of its error stack.
inline std::string h5_reason() {
  std::string reason;
  const auto innermost = [](unsigned depth, const H5E_error2_t* entry, void* text) -> herr_t {
    if (depth == 0 && entry->desc != nullptr) *static_cast<std::string*>(text) = entry->desc;
    return 0;
  };
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, innermost, &reason);
  return reason.empty() ? "no reason given" : reason;
}

}  // namespace offshoot
