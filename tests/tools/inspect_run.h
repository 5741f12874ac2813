// Checkpoints to look into.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/checkpoint_file.h"
#include "tests/engine/file_test.h"
#include "tests/tools/hmm_run.h"
#include "tools/hmm/report.h"
#include "tools/support/terminal.h"

namespace offshoot::testing {

// Trains a quick run of 40 steps, with growth, to its end and saves it as offshoot-hmm does, report
// and all. Returns what the report shows.
ReportData save_finished_run(const std::string& path, QuickRun& run);

inline const Terminal kPipe(false, false, 80);
inline const Terminal kColour(true, true, 80);

inline int64_t lines_in(const std::string& text) { return std::ranges::count(text, '\n'); }

// The line in which `part` stands.
inline std::string line_with(const std::string& text, std::string_view part) {
  const size_t at = text.find(part);
  if (at == std::string::npos) return "no line with " + std::string(part) + " in " + text;
  const size_t begin = text.rfind('\n', at) + 1;
  return text.substr(begin, text.find('\n', at) - begin);
}

class InspectTest : public FileTest {
 protected:
  CheckpointReader open(const std::string& name = "run.h5") const {
    return CheckpointReader::unverified(InputFile(path(name)));
  }
  // A finished run of two layers.
  ReportData save_run_to(const std::string& name = "run.h5") {
    run_ = std::make_unique<QuickRun>(quick_config({"--layers", "2"}));
    return save_finished_run(path(name), *run_);
  }
  // A checkpoint that holds what `fill` writes.
  template <class F>
  void save(const std::string& name, F fill) const {
    CheckpointWriter file(path(name), {7, 3});
    fill(file.h5());
    file.commit();
  }
  // Flips a bit of the first value of a dataset of floats.
  void damage(const std::string& name, const std::string& dataset) const {
    std::string bytes = bytes_of(path(name));
    const std::vector<float> values = open(name).h5().read<float>(dataset);
    const std::string_view first(reinterpret_cast<const char*>(values.data()), 64);
    ASSERT_EQ(bytes.find(first), bytes.rfind(first));
    bytes[bytes.find(first)] ^= 1;
    put_bytes(path(name), bytes);
  }

  std::unique_ptr<QuickRun> run_;
};

}  // namespace offshoot::testing
