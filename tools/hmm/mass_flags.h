// One flag for each option of MASS (mass/options.h). A preset gives all of them their values; a
// flag that is given overrides its own.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>

#include "mass/options.h"
#include "tools/support/options.h"

namespace offshoot {

class MassFlags {
 public:
  // Declares the flags; `options` holds pointers into this object.
  explicit MassFlags(Options& options);
  MassFlags(const MassFlags&) = delete;
  MassFlags& operator=(const MassFlags&) = delete;

  // The preset for `steps` training steps under the flags. Every flag then has its value, so that a
  // configuration written afterwards names them all. Throws UsageError.
  MassOptions resolve(MassPreset preset, int64_t steps);

 private:
  void declare_detection();
  void declare_growth();
  void whole(int64_t MassOptions::*field, const char* flag, double low, const char* help);
  void real(double MassOptions::*field, const char* flag, const char* help);
  void choice(bool MassOptions::*field, const char* flag, const char* when_true,
              const char* when_false, const std::string& help);

  struct Whole {
    int64_t MassOptions::*field;
    std::optional<int64_t> value;
  };
  struct Real {
    double MassOptions::*field;
    std::optional<double> value;
  };
  struct Choice {
    bool MassOptions::*field;
    std::string when_true;
    std::string when_false;
    std::optional<std::string> value;
  };

  Options& options_;
  std::deque<Whole> wholes_;  // whose elements stay where they are
  std::deque<Real> reals_;
  std::deque<Choice> choices_;
  std::optional<std::string> decomposition_;
  std::optional<std::string> newborn_;
};

}  // namespace offshoot
