// What lies in a checkpoint, as the views ask for it. All throw Error.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/checkpoint_file.h"
#include "engine/error.h"
#include "tools/hmm/report.h"
#include "tools/hmm/training_log.h"

namespace offshoot {

inline constexpr int64_t kPieceBytes = int64_t{4} << 20;  // of values, that views hold at a time

// What an error says, without "[where]" and the file's name.
std::string reason_of(const Error& error, const std::string& path);

// Numbers in names count as numbers: block.2 stands before block.10.
bool natural_less(std::string_view a, std::string_view b);

// The datasets below a group, in natural order, without the group's own name; none without it.
std::vector<std::string> names_below(const H5Reader& h5, const std::string& group);

struct ParameterInfo {
  std::string name;  // without "model/"
  H5Info info;
  int64_t bytes = 0;  // as they are stored where this program does not know the type
};
std::vector<ParameterInfo> model_parameters(const H5Reader& h5);

// A layer with experts, by its growth group.
struct LayerExperts {
  std::string name;
  int64_t now = 0;   // K
  int64_t ever = 0;  // that ever lived
};
std::vector<LayerExperts> layers_of(const H5Reader& h5);

struct ExpertLife {
  int64_t id = 0;
  int64_t parent = -1;  // -1: there from the start
  int64_t born = 0;     // step
  int64_t died = -1;    // step; -1: alive
  double p_value = kUnknown;
  double cosine = kUnknown;
  double gain = kUnknown;
  std::vector<double> noted = {};  // whatever else
};
struct LayerLives {
  std::vector<std::string> noted;  // names
  std::vector<ExpertLife> experts;
};
LayerLives lives_of(const H5Reader& h5, const std::string& layer);

// Names and texts below /provenance, but for what is there for programs.
std::vector<std::pair<std::string, std::string>> provenance_of(const H5Reader& h5);

// The log of offshoot-hmm; nothing when the file has none, or a part of this name that is another
// program's.
std::optional<TrainingLog> metrics_of(const H5Reader& h5);

// Why metrics_of() gives nothing: what is missing or of another type or length; "" when there is
// nothing below /metrics, or all of it fits.
std::string metrics_fault(const H5Reader& h5);

// What a run of offshoot-hmm that came to its end keeps; nothing when the file has none.
std::optional<ReportData> report_of(const H5Reader& h5);

// report_of(), or an Error that says why there is none.
ReportData need_report(const H5Reader& h5);

}  // namespace offshoot
