// Which checkpoints of a run stay on the disk. A run saves to one file, which is always the newest,
// and gives that file further names:
//   checkpoint.h5            the newest: what a run resumes from
//   checkpoint-00000250.h5   the newest few, by step
//   best.h5                  the best by some metric
// The names are hard links, so each of them is a whole file for itself: none breaks when another
// goes or is saved anew, and all of one save take its room once.
#pragma once

#include <cstdint>
#include <string>

namespace offshoot {

// Gives the file `from` the second name `to`, in the same file system, in one step: what had that
// name before stays until then. Throws Error, also where the file system has no hard links.
void link_file(const std::string& from, const std::string& to);

// "out/checkpoint-00000250.h5" for "out/checkpoint.h5" and 250.
std::string numbered_name(const std::string& path, int64_t step);

// Gives the checkpoint at `path`, saved after `step` steps, its numbered name, and removes all
// numbered names of `path` but the `keep` that were saved last; by time, as a run that went back to
// an earlier step overwrites no step above it. keep: at least 1. Throws Error.
void keep_newest(const std::string& path, int64_t step, int64_t keep);

}  // namespace offshoot
