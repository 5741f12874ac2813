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

// Something added to a row's score in this pass only: minus infinity leaves an expert out.
struct RowOffset {
  int64_t row;
  double offset;
};

struct Context {
  Tape& tape;
  bool train = false;
  DropoutKey dropout = {};
  std::map<std::string, std::vector<RowOffset>> row_offsets = {};  // by the growth group's name
  LayerSink* sink = nullptr;
};

}  // namespace offshoot
