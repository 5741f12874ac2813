// Everything in a checkpoint but its provenance, as bytes to compare.
#pragma once

#include <map>
#include <string>

namespace offshoot::testing {

// By name: each dataset's type, shape and bytes, and each attribute of each object. Throws Error.
std::map<std::string, std::string> checkpoint_bytes(const std::string& path);

// The names under which the two differ, one a line; "" when they are equal.
std::string differences(const std::map<std::string, std::string>& a,
                        const std::map<std::string, std::string>& b);

}  // namespace offshoot::testing
