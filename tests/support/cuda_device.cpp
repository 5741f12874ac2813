#include "tests/support/cuda_device.h"

#include "engine/error.h"

namespace offshoot::testing {

std::string why_no_cuda() {
  try {
    parse_device("cuda");
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace offshoot::testing
