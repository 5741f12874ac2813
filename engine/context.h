// Context: what one pass through a model needs besides its input. Nothing hides in modules: a probe
// is a second context with the same key and a sink of its own.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "engine/tape.h"

namespace offshoot {

struct LayerRecord;  // models/layer_record.h

// Receives one record a layer that has something to tell (routing statistics, auxiliary losses).
class LayerSink {
 public:
  virtual ~LayerSink() = default;
  virtual void add(const LayerRecord& record) = 0;
};

// The same key gives the same dropout masks; a module adds its dotted name as the stream.
struct DropoutKey {
  uint64_t seed = 0;
  int64_t step = 0;
  int64_t micro_batch = 0;
};

struct Context {
  Tape& tape;
  bool train = false;
  DropoutKey dropout = {};
  // Rows (slots) left out of this pass by growth group: experts that a router must not choose.
  std::map<std::string, std::vector<int64_t>> masked_rows = {};
  LayerSink* sink = nullptr;
};

}  // namespace offshoot
