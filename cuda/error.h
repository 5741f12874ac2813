// The one exception of this project; here, in the lowest storey, so that every one can throw it.
#pragma once

#include <stdexcept>

namespace offshoot {

// Its text reads "[where] what: got A, expected B".
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace offshoot
