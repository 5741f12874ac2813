// Whether a checkpoint is whole and as it was written, and if not, what is damaged.
#include <algorithm>

#include "engine/error.h"
#include "tools/inspect/contents.h"
#include "tools/inspect/views.h"
#include "tools/support/display.h"
#include "tools/support/html.h"

namespace offshoot {
namespace {

constexpr int64_t kPieceBytes = int64_t{4} << 20;

// Reads a dataset to its end, which compares its hash.
void read_all(const H5Reader& h5, const std::string& name) {
  switch (h5.info(name).type) {
    case H5Type::text:
      h5.read_texts(name);
      break;
    case H5Type::table:
      h5.read_table(name);
      break;
    case H5Type::other:
      break;
    default:
      h5.each_piece(name, kPieceBytes, [](int64_t, std::span<const std::byte>) {});
  }
}

// "[x] file: what" -> "what".
std::string without_prefix(std::string text, const std::string& path) {
  const size_t at = text.find(path + ": ");
  return at == std::string::npos ? text : text.substr(at + path.size() + 2);
}

struct Findings {
  std::vector<std::string> faults;
  std::vector<std::string> facts;
};

// Adds what f throws.
template <class F>
bool attempt(Findings& findings, const std::string& path, F f) {
  try {
    f();
    return true;
  } catch (const Error& error) {
    findings.faults.push_back(without_prefix(error.what(), path));
    return false;
  }
}

// What any checkpoint has, and what belongs together.
void check_completeness(const CheckpointReader& file, Findings& findings) {
  const H5Reader& h5 = file.h5();
  const auto need = [&](const std::string& name) {
    if (!h5.has(name)) findings.faults.push_back(printable(name) + ": is missing");
  };
  need("configuration");
  if (model_parameters(h5).empty()) findings.faults.emplace_back("model: has no parameters");
  for (const LayerExperts& layer : layers_of(h5)) {
    need("growth/" + layer.name + "/next_id");
    need("lineage/" + layer.name);
  }
  for (const std::string& layer : names_below(h5, "lineage")) need("growth/" + layer + "/ids");
  const std::optional<TrainingLog> log = metrics_of(h5);
  if (log && log->steps() != file.head().step) {
    findings.faults.push_back(
        fmt::format("metrics: got {} steps, expected {}", log->steps(), file.head().step));
  }
}

void check_datasets(const InputFile& input, Findings& findings) {
  const CheckpointReader file = CheckpointReader::unverified(input.duplicate());
  const H5Reader& h5 = file.h5();
  int64_t bytes = 0, hashed = 0;
  const std::vector<std::string> names = h5.datasets();
  for (const std::string& name : names) {
    attempt(findings, input.path(), [&] {
      bytes += h5.stored_bytes(name);
      hashed += h5.has_attribute(name, "xxh3");
      read_all(h5, name);
    });
  }
  attempt(findings, input.path(), [&] { check_completeness(file, findings); });
  findings.facts.push_back(fmt::format("{} datasets, {}; {} have an XXH3 of their own",
                                       names.size(), bytes_text(static_cast<double>(bytes)),
                                       hashed));
}

// Findings through the pipe: one a line, faults first.
std::string packed(const Findings& findings) {
  std::string text;
  for (const std::string& fault : findings.faults) text += fmt::format("-{}\n", printable(fault));
  for (const std::string& fact : findings.facts) text += fmt::format("+{}\n", printable(fact));
  return text;
}

void unpack(std::string_view text, Findings& findings) {
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size() - 1);
    (text.front() == '-' ? findings.faults : findings.facts).emplace_back(text.substr(1, end - 1));
    text.remove_prefix(end + 1);
  }
}

}  // namespace

Outcome verify_file(const InputFile& file, const Terminal& terminal) {
  Findings findings;
  // Only the file's own hash makes it safe to let HDF5 see it in this process: that is done here;
  // for the datasets, that name what is damaged, there is a child.
  attempt(findings, file.path(), [&] {
    const CheckpointReader whole(file.duplicate());
    findings.facts.push_back(fmt::format("format version {}, step {}, seed {}", whole.version(),
                                         whole.head().step, whole.head().seed));
    findings.facts.push_back(
        whole.verified() ? fmt::format("{} with the XXH3 that the user block tells",
                                       bytes_text(static_cast<double>(file.size())))
                         : "no user block: another tool wrote the file, and only the datasets' "
                           "own hashes tell");
  });
  attempt(findings, file.path(), [&] {
    unpack(run_guarded({&file},
                       [&]() -> Outcome {
                         Findings of_datasets;
                         check_datasets(file, of_datasets);
                         return {0, packed(of_datasets)};
                       })
               .text,
           findings);
  });
  // Both looks find what the user block says.
  std::vector<std::string> faults;
  for (const std::string& fault : findings.faults) {
    if (std::ranges::find(faults, fault) == faults.end()) faults.push_back(fault);
  }
  const bool good = faults.empty();
  std::string text = fmt::format("{}: {}\n", terminal.bold(displayable(file.path())),
                                 good ? terminal.green("good") : terminal.red("damaged"));
  for (const std::string& fault : faults) text += fmt::format("  {}\n", displayable(fault));
  for (const std::string& fact : findings.facts) text += fmt::format("  {}\n", displayable(fact));
  return {good ? 0 : 1, text};
}

}  // namespace offshoot
