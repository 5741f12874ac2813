// What the run was made with, as it stands in the checkpoint.
#include <algorithm>

#include "engine/checkpoint.h"
#include "engine/error.h"
#include "engine/json.h"
#include "tools/inspect/views.h"
#include "tools/support/display.h"

namespace offshoot {

std::string show_configuration(const CheckpointReader& file, const Terminal& terminal) {
  if (!file.h5().has("configuration")) fail("inspect", "{}: has no configuration", file.path());
  const std::string json =
      Json::parse(read_configuration(file), file.path() + ": configuration").dump(2);
  if (!terminal.interactive()) return json + '\n';  // for programs, bit by bit
  std::string text;
  for (size_t at = 0; at <= json.size();) {
    const size_t end = std::min(json.find('\n', at), json.size());
    text += displayable(std::string_view(json).substr(at, end - at)) + '\n';
    at = end + 1;
  }
  return text;
}

}  // namespace offshoot
