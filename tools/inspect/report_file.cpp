// The report of a finished run, from its checkpoint alone.
#include "engine/error.h"
#include "engine/file.h"
#include "tools/inspect/contents.h"
#include "tools/inspect/views.h"
#include "tools/support/display.h"
#include "tools/support/html.h"

namespace offshoot {

std::string export_report(const CheckpointReader& file, const std::string& out) {
  const std::string page = report_html(need_report(file.h5()));
  write_file(out, page);
  return fmt::format("{}: {}\n", displayable(out), bytes_text(static_cast<double>(page.size())));
}

}  // namespace offshoot
