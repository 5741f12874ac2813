#include "ops/device_report.h"

#include <fmt/core.h>

#include "cuda/attention.h"
#include "cuda/grouped_gemm.h"
#include "engine/storage.h"

namespace offshoot {
namespace {

double mebibytes(int64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

// "3 calls on a, 4 on b", without those that nothing ran on.
std::string calls_text(int64_t a, const char* on_a, int64_t b, const char* on_b) {
  if (a == 0 && b == 0) return "none";
  std::string text;
  if (a > 0) text += fmt::format("{} calls on {}", a, on_a);
  if (b > 0) text += fmt::format("{}{} calls on {}", a > 0 ? ", " : "", b, on_b);
  return text;
}

}  // namespace

std::string device_report(Device device) {
  std::string text;
  if constexpr (kHasCuda) {
    if (!device.is_cuda()) return text;
    const StorageStats memory = storage_stats(device);
    const cuda::AttentionStats attention = cuda::attention_stats();
    const cuda::GroupedStats grouped = cuda::grouped_stats();
    text += fmt::format("device  {}\n", describe(device));
    text += fmt::format("        memory: {:.1f} MiB pooled at most, {:.1f} MiB that grows\n",
                        mebibytes(memory.pooled_bytes_peak), mebibytes(memory.growable_bytes));
    text += fmt::format("        the host waited {} times\n", device_waits());
    text += fmt::format("        attention: {}\n",
                        calls_text(attention.cudnn, "cuDNN", attention.own, "own kernels"));
    text += fmt::format(
        "        products of experts: {}\n",
        calls_text(grouped.loop, "the cuBLASLt loop", grouped.wgmma, "the wgmma kernel"));
  }
  return text;
}

}  // namespace offshoot
