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

// In a shell, as it stands.
double command_seconds(const std::string& command) {
  return seconds_of([&] {
    if (std::system(fmt::format("({}) >/dev/null 2>&1", command).c_str()) != 0)
      fail("bench", "failed: {}", command);
  });
}

}  // namespace

BenchTable bench_save(const BenchOptions& options) {
  const ScratchFolder folder(options.folder);
  const std::string fresh = folder.file("fresh.h5"), again = folder.file("again.h5"),
                    copy = folder.file("copy.h5"), moved = folder.file("moved.h5");
  Weights weights;
  BenchTable table(
      "save",
      "a checkpoint as a new file against dd conv=fsync of the same bytes, and in place "
      "of one against dd and mv",
      {{"state_bytes", "state, bytes", 14},
       {"file_ratio", "file / state", 14, 4},
       {"fresh_seconds", "new, s", 9, 3},
       {"dd_seconds", "dd, s", 8, 3},
       {"fresh_ratio", "ratio", 8, 2},
       {"again_seconds", "replaced, s", 13, 3},
       {"moved_seconds", "dd, mv, s", 11, 3},
       {"again_ratio", "ratio", 8, 2}});
  const auto save = [&](const std::string& path) {
    return seconds_of([&] { save_checkpoint(path, {{1, 1}, "{}", {}}, weights, {}); });
  };
  save(fresh);  // what dd reads
  const std::string dd = fmt::format("dd if='{}' bs=1M conv=fsync of=", fresh);
  const std::vector<Contestant> contestants{
      [&] {
        fs::remove(fresh);
        return save(fresh);
      },
      [&] {
        fs::remove(copy);
        return command_seconds(fmt::format("{}'{}'", dd, copy));
      },
      [&] { return save(again); },
      [&] {
        return command_seconds(fmt::format("{0}'{1}.tmp' && mv '{1}.tmp' '{1}'", dd, moved));
      }};
  const auto seconds = alternate(options.rounds, contestants);
  const int64_t state_bytes = kTensors * kElements * 4;
  table.add(Json::object(
      {{"state_bytes", state_bytes},
       {"file_ratio", static_cast<double>(fs::file_size(fresh)) / static_cast<double>(state_bytes)},
       {"fresh_seconds", median(seconds[0])},
       {"dd_seconds", median(seconds[1])},
       {"fresh_ratio", median_ratio(seconds[0], seconds[1])},
       {"again_seconds", median(seconds[2])},
       {"moved_seconds", median(seconds[3])},
       {"again_ratio", median_ratio(seconds[2], seconds[3])}}));
  return table;
}

}  // namespace offshoot
