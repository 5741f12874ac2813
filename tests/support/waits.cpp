#include "tests/support/waits.h"

#include <cstdlib>
#include <string_view>

#include "cuda/context.h"

namespace offshoot::testing {

int64_t most_waits(int64_t most) {
  const char* late = std::getenv("OFFSHOOT_EMULATION_LATE");
  const bool is_late = late != nullptr && std::string_view(late) == "1";
  return cuda::kEmulated && !is_late ? 0 : most;
}

}  // namespace offshoot::testing
