// Checkpoints: everything needed to continue a run and to understand it, in one HDF5 file.
//
//   /model/<parameter>            values, by dotted name
//   /growth/<group>/...           ids by row and the edit log of each growth group
//   /lineage/<group>              table: every expert that ever lived (engine/growth_state.h)
//   /<part>/...                   the parts' state: optimizer, mass, random, data, metrics
//   /configuration                JSON
//   /provenance/...               time, host, threads, engine version, paths: nothing that a load
//                                 reads, and the only place where two equal runs differ
// The file around it: engine/checkpoint_file.h.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "engine/checkpoint_file.h"
#include "engine/module.h"
#include "engine/state.h"

namespace offshoot {

// What a run keeps beside its model, under a name that is none of the above. The walk is called
// once for a save, twice for a load.
struct CheckpointPart {
  std::string name;
  std::function<void(State&)> each_state;
};

// Names and texts; each name once.
using Provenance = std::vector<std::pair<std::string, std::string>>;

// "0.1.0".
std::string engine_version();

// engine_version, host, threads, time (UTC, ISO 8601): the callers append their own.
Provenance provenance();

struct CheckpointContents {
  CheckpointHead head;
  std::string configuration;  // JSON, not empty
  Provenance provenance;
};

// Throws Error when the file cannot be written; then the old one is there as before.
void save_checkpoint(const std::string& path, const CheckpointContents& contents, Module& model,
                     const std::vector<CheckpointPart>& parts, AtomicFile::Fault fault = {});

// The configuration that the run was made with; what a model is built from before its load.
std::string read_configuration(const CheckpointReader& file);

// Gives every growth group the file's rows, ids and log, and every parameter and part its values;
// gradients become empty. All or nothing: throws Error, having changed nothing, when a dataset is
// missing, left over, or of another type or shape, or memory for the rows is lacking.
void load_checkpoint(const CheckpointReader& file, Module& model,
                     const std::vector<CheckpointPart>& parts);

}  // namespace offshoot
