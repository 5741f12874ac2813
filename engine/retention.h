// Which checkpoints of a run stay on the disk. A run saves to one file, which is always the newest,
// and gives that file further names:
//   checkpoint.h5                the newest: what a run resumes from
//   checkpoint-step00000250.h5   the newest few
//   best.h5                      the best by some metric
// The names are hard links, so each of them is a whole file for itself: none breaks when another
// goes or is saved anew, and all of one save take its room once.
#pragma once

#include <cstdint>
#include <string>

namespace offshoot {

// Gives the file `from` the second name `to`, in the same file system, in one step: what had that
// name before stays until then. Temporary names that dead processes left behind go. Throws Error,
// also where the file system has no hard links.
void link_file(const std::string& from, const std::string& to);

// Throws Error where `folder` cannot hold hard links: better known before a run than at its first
// save.
void check_links(const std::string& folder);

// "out/checkpoint-step00000250.h5" for "out/checkpoint.h5" and 250.
std::string numbered_name(const std::string& path, int64_t step);

// Gives the checkpoint at `path`, saved after `step` steps, its numbered name, and removes numbered
// names of `path` until `keep` are left: this one, and those that were saved last. keep: at least
// 1. Throws Error.
void keep_newest(const std::string& path, int64_t step, int64_t keep);

// Removes all numbered names of `path`. Throws Error.
void remove_numbered(const std::string& path);

}  // namespace offshoot
