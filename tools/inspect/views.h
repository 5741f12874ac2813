// The views of offshoot-inspect: each reads an open checkpoint and returns what to print. They run
// in a child process (tools/inspect/guard.h) but for verify_file(). All throw Error.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "engine/checkpoint_file.h"
#include "tools/inspect/guard.h"
#include "tools/support/terminal.h"

namespace offshoot {

// At a glance: model, parameters, experts, losses, how it was made. Reads no parameter's values.
std::string show_summary(const CheckpointReader& file, int64_t file_bytes,
                         const Terminal& terminal);

// The configuration, as indented JSON.
std::string show_configuration(const CheckpointReader& file, const Terminal& terminal);

// Every dataset: shape, type, bytes, and what its values are like.
std::string show_tree(const CheckpointReader& file, const Terminal& terminal);

// Each layer's experts under those that they came from.
std::string show_lineage(const CheckpointReader& file, const Terminal& terminal);

// Which expert serves which label.
std::string show_routing(const CheckpointReader& file, const Terminal& terminal);

// Loss, experts and active experts over steps: plots, a table, or the lines of metrics.jsonl.
std::string show_metrics(const CheckpointReader& file, const Terminal& terminal);
std::string metrics_csv(const CheckpointReader& file);
std::string metrics_json(const CheckpointReader& file);

// What two checkpoints differ in, /provenance left out; status 1 when they do.
Outcome show_diff(const CheckpointReader& a, const CheckpointReader& b, const Terminal& terminal);

// Whether the file is whole and as it was written; status 1 when it is not. Reads it all. Throws
// ForeignFile for what is no checkpoint that we read, and NotRead when time or memory do not do.
Outcome verify_file(const InputFile& file, const Terminal& terminal);

// Writes the model's parameters to `out` in the safetensors format, piece by piece.
std::string export_safetensors(const CheckpointReader& file, const std::string& out);

// Writes the page that training wrote to `out`.
std::string export_report(const CheckpointReader& file, const std::string& out);

}  // namespace offshoot
