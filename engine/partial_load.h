// Taking only some of a checkpoint's parameters: to fine-tune, or to begin another model from them.
//
//   LoadReport report = load_parameters(file, model, [](std::string_view name) {
//     return !name.starts_with("head.");
//   });
//   fmt::print("{}", to_string(report));
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/checkpoint_file.h"
#include "engine/module.h"

namespace offshoot {

// Names of parameters, in the model's order; ignored in the file's.
struct LoadReport {
  std::vector<std::string> taken;    // wanted, and have the file's values now
  std::vector<std::string> missing;  // wanted, but not in the file: unchanged
  std::vector<std::string> ignored;  // in the file, but not taken: unwanted, or not the model's
};

// By name, whether the model's parameter is to have the file's values.
using NameFilter = std::function<bool(std::string_view)>;

// Gives every wanted parameter that the file has the file's values; the others keep theirs. A
// growth group of which all parameters are taken gets the file's rows, ids and log, and may belong
// to no optimizer yet, whose moments would be of other experts; one of which only some are taken
// must have as many rows as the file's. Gradients of taken parameters become empty. No part is
// read. All or nothing: throws Error, having changed nothing, when a wanted parameter is of another
// type or shape in the file.
LoadReport load_parameters(const CheckpointReader& file, Module& model, const NameFilter& wanted);

// A line for each list, with its count and its names: "taken 3: a, b, c". Ends with a newline.
std::string to_string(const LoadReport& report);

}  // namespace offshoot
