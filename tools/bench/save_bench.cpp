// save: a checkpoint of 400 MB against dd of the same bytes, both forced to the disk.
#include <fmt/core.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "engine/checkpoint.h"
#include "engine/error.h"
#include "tools/bench/bench.h"

namespace offshoot {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kTensors = 100, kElements = 1'000'000;

class Weights final : public Module {
 public:
  Weights() {
    for (int64_t i = 0; i < kTensors; ++i) {
      const std::string name = fmt::format("layer{}.weight", i);
      const Random random(1, stream_of(name));
      all_.push_back(std::make_unique<Parameter>(
          name, uniform({kElements / 1000, 1000}, DType::f32, random, -1, 1)));
    }
  }
  void each_parameter(const ParameterVisitor& visit) override {
    for (const auto& parameter : all_) visit(*parameter);
  }

 private:
  std::vector<std::unique_ptr<Parameter>> all_;
};

// A folder in `place`, gone at the end.
class ScratchFolder {
 public:
  explicit ScratchFolder(const std::string& place) {
    std::string path = place + "/offshoot-bench-XXXXXX";
    if (::mkdtemp(path.data()) == nullptr) {
      fail("bench", "--folder: got {}, expected a folder that can be written to", place);
    }
    path_ = path;
  }
  ~ScratchFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  std::string file(const char* name) const { return path_ / name; }

 private:
  fs::path path_;
};

// Every time a new file, as a save writes one.
double dd_seconds(const std::string& from, const std::string& to) {
  fs::remove(to);
  const std::string command = fmt::format("dd if='{}' of='{}' bs=1M conv=fsync", from, to);
  return seconds_of([&] {
    if (std::system((command + " >/dev/null 2>&1").c_str()) != 0)
      fail("bench", "failed: {}", command);
  });
}

}  // namespace

BenchTable bench_save(const BenchOptions& options) {
  const ScratchFolder folder(options.folder);
  const std::string saved = folder.file("checkpoint.h5"), copy = folder.file("copy.h5");
  Weights weights;
  BenchTable table("save", "a checkpoint and dd conv=fsync of the same bytes",
                   {{"state_bytes", "state, bytes", 14},
                    {"file_ratio", "file / state", 14, 4},
                    {"save_seconds", "save, s", 10, 3},
                    {"dd_seconds", "dd, s", 10, 3},
                    {"ratio", "save / dd", 11, 2}});
  const auto save = [&] {
    return seconds_of([&] { save_checkpoint(saved, {{1, 1}, "{}", {}}, weights, {}); });
  };
  const std::vector<Contestant> contestants{save, [&] { return dd_seconds(saved, copy); }};
  const auto seconds = alternate(options.rounds, contestants);
  const int64_t state_bytes = kTensors * kElements * 4;
  table.add(Json::object(
      {{"state_bytes", state_bytes},
       {"file_ratio", static_cast<double>(fs::file_size(saved)) / static_cast<double>(state_bytes)},
       {"save_seconds", median(seconds[0])},
       {"dd_seconds", median(seconds[1])},
       {"ratio", median_ratio(seconds[0], seconds[1])}}));
  return table;
}

}  // namespace offshoot
