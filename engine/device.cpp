#include "engine/device.h"

#include "engine/error.h"

namespace offshoot {

std::string to_string(const Device& device) {
  if (device.kind == Device::Kind::cpu) return "cpu";
  return fmt::format("cuda:{}", device.index);
}

Device parse_device(std::string_view text) {
  if (text == "cpu") return {};
  if (text == "cuda" || text.starts_with("cuda:")) {
    fail("device", "got {}, expected cpu: this build has no CUDA backend", text);
  }
  fail("device", "got {}, expected cpu, cuda or cuda:<n>", text);
}

}  // namespace offshoot
