#include "engine/device.h"

#include <charconv>

#include "cuda/context.h"
#include "engine/error.h"

namespace offshoot {
namespace {

int parse_index(std::string_view text) {
  if (text == "cuda") return 0;
  const std::string_view digits = text.substr(text.find(':') + 1);
  int index = 0;
  const auto [stop, error] = std::from_chars(digits.data(), digits.data() + digits.size(), index);
  if (error != std::errc{} || stop != digits.data() + digits.size() || index < 0) {
    fail("device", "got {}, expected cpu, cuda or cuda:<n>", text);
  }
  return index;
}

}  // namespace

std::string to_string(const Device& device) {
  if (device.kind == Device::Kind::cpu) return "cpu";
  return fmt::format("cuda:{}", device.index);
}

std::string describe(const Device& device) {
  if constexpr (kHasCuda) {
    if (device.is_cuda()) {
      return fmt::format("{} ({})", cuda::properties(device.index).name, to_string(device));
    }
  }
  return to_string(device);
}

Device parse_device(std::string_view text) {
  if (text == "cpu") return {};
  if (text != "cuda" && !text.starts_with("cuda:")) {
    fail("device", "got {}, expected cpu, cuda or cuda:<n>", text);
  }
  const int index = parse_index(text);
  if constexpr (kHasCuda) {
    const int count = cuda::device_count();
    if (count == 0) fail("device", "got {}, expected cpu: {}", text, cuda::why_no_device());
    if (index >= count) {
      fail("device", "got {}, expected cuda:0{}", text,
           count == 1 ? "" : fmt::format(" to cuda:{}", count - 1));
    }
    cuda::properties(index);  // throws where the device is too old
  } else {
    fail("device", "got {}, expected cpu: this build has no CUDA backend", text);
  }
  return {Device::Kind::cuda, index};
}

void synchronize(Device device) {
  if constexpr (kHasCuda) {
    if (device.is_cuda()) cuda::synchronize(device.index);
  }
}

int64_t device_waits() {
  if constexpr (kHasCuda) {
    return cuda::stats().synchronizations;
  } else {
    return 0;
  }
}

}  // namespace offshoot
