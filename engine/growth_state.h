// A growth group in a checkpoint: its ids and its edit log, and the lineage that follows from them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/growth.h"
#include "engine/hdf5_file.h"

namespace offshoot {

// What GrowthTransaction::prepare_restore takes.
struct GrowthState {
  std::vector<int64_t> ids;  // by row
  int64_t next_id = 0;
  std::vector<Edit> log;
};

GrowthState growth_state(const GrowthGroup& group);

// "growth/<group>": `ids`, `next_id`, and, once there was an edit, `log` (kind, source_id, new_id,
// step, policy, and one column for each name of a noted value, NaN where there is none) and
// `policies`, the texts that `policy` numbers.
void write_growth(H5Writer& file, const GrowthGroup& group);

// Throws Error when something is missing or malformed. `asked` receives the names of the datasets.
GrowthState read_growth(const H5Reader& file, const std::string& group,
                        std::vector<std::string>& asked);

// One row for each member that ever was, by id: id, parent (-1: none), born and died (steps; born
// 0: there from the start, died -1: alive), p_value, cosine, gain and whatever else was noted at
// its birth or, for names that its birth lacks, at its end. NaN: not measured.
std::vector<H5Column> lineage(const GrowthState& state);

}  // namespace offshoot
