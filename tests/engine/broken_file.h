// Checkpoints that are wrong in one way, each with a right hash or with none.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace offshoot::testing {

struct BrokenFile {
  std::string name;   // what is wrong
  std::string bytes;  // of the file
};

// The user block with length and hash of what follows it: as if the file had been written so.
std::string sealed(std::string bytes);
// Without the user block, as other tools write it.
std::string bare(const std::string& bytes);

// `bytes`, a checkpoint, edited through the HDF5 library in every way that a file can be wrong
// without being damaged: types, shapes, links, attributes, and what is missing or too much.
// `scratch`: a path for a file that comes and goes. Not sealed.
std::vector<BrokenFile> edited_files(const std::string& bytes, const std::string& scratch);

// Cut at every 4 KiB, and with `flips` bytes flipped, spread over the file. Not sealed.
std::vector<BrokenFile> damaged_files(const std::string& bytes, int flips);

}  // namespace offshoot::testing
