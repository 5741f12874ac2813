// Whether a checkpoint is whole and as it was written, and if not, what is damaged.
#include <algorithm>

#include "engine/error.h"
#include "tools/inspect/contents.h"
#include "tools/inspect/views.h"
#include "tools/support/display.h"
#include "tools/support/html.h"

namespace offshoot {
namespace {

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

struct Findings {
  std::vector<std::string> faults;
  std::vector<std::string> unread;  // reading came to no end, which need not be the file's fault
  std::vector<std::string> facts;

  // Sorts in what f throws, but for a file that is not ours to judge.
  template <class F>
  void attempt(const std::string& path, F f) {
    try {
      f();
    } catch (const ForeignFile&) {
      throw;
    } catch (const NotRead& error) {
      unread.push_back(reason_of(error, path));
    } catch (const Error& error) {
      const std::string reason = reason_of(error, path);
      (is_out_of_memory(reason) ? unread : faults).push_back(reason);
    }
  }
};

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
}

void check_datasets(const InputFile& input, Findings& findings) {
  const CheckpointReader file = CheckpointReader::unverified(input.duplicate());
  const H5Reader& h5 = file.h5();
  int64_t bytes = 0, hashed = 0;
  const std::vector<std::string> names = h5.datasets();
  for (const std::string& name : names) {
    findings.attempt(input.path(), [&] {
      bytes += h5.stored_bytes(name);
      hashed += h5.has_attribute(name, "xxh3");
      read_all(h5, name);
    });
  }
  findings.attempt(input.path(), [&] { check_completeness(file, findings); });
  findings.facts.push_back(fmt::format("{} datasets, {}; {} have an XXH3 of their own",
                                       names.size(), bytes_text(static_cast<double>(bytes)),
                                       hashed));
}

constexpr char kFault = '-', kUnread = '?', kFact = '+', kForeign = 'F';

// Findings through the pipe, one a line.
std::string packed(const Findings& findings) {
  std::string text;
  const auto add = [&](char kind, const std::vector<std::string>& lines) {
    for (const std::string& line : lines) text += fmt::format("{}{}\n", kind, printable(line));
  };
  add(kFault, findings.faults);
  add(kUnread, findings.unread);
  add(kFact, findings.facts);
  return text;
}

// Throws ForeignFile where the child did.
void unpack(std::string_view text, Findings& findings) {
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string line(text.substr(1, end - 1));
    if (text.front() == kForeign) throw ForeignFile(line);
    (text.front() == kFault    ? findings.faults
     : text.front() == kUnread ? findings.unread
                               : findings.facts)
        .push_back(line);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

std::string look_in_child(const InputFile& file) {
  return run_guarded({&file},
                     [&]() -> Outcome {
                       try {
                         Findings findings;
                         check_datasets(file, findings);
                         return {0, packed(findings)};
                       } catch (const ForeignFile& error) {
                         return {0, kForeign + std::string(error.what())};
                       }
                     })
      .text;
}

}  // namespace

Outcome verify_file(const InputFile& file, const Terminal& terminal) {
  Findings findings;
  // Only the file's own hash makes it safe to let HDF5 see it in this process: that is done here;
  // for the datasets, that name what is damaged, there is a child.
  findings.attempt(file.path(), [&] {
    const CheckpointReader whole(file.duplicate());
    findings.facts.push_back(fmt::format("format version {}, step {}, seed {}", whole.version(),
                                         whole.head().step, whole.head().seed));
    findings.facts.push_back(
        whole.verified() ? fmt::format("{} with the XXH3 that the user block tells",
                                       bytes_text(static_cast<double>(file.size())))
                         : "no user block: another tool wrote the file, and only the datasets' "
                           "own hashes tell");
  });
  const bool whole = findings.faults.empty();
  findings.attempt(file.path(), [&] {
    try {
      unpack(look_in_child(file), findings);
    } catch (const ForeignFile& error) {
      if (whole) throw;
      throw Error(error.what());  // what damage made of it
    }
  });
  if (findings.faults.empty() && !findings.unread.empty()) {
    throw NotRead(fmt::format("[inspect] {}: {}", file.path(), findings.unread.front()));
  }
  // Both looks find what the user block says.
  std::vector<std::string> faults;
  findings.faults.insert(findings.faults.end(), findings.unread.begin(), findings.unread.end());
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
