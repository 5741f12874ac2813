#include "tools/hmm/report_event.h"

namespace offshoot {

ReportEvent report_event(const GrowthEvent& event) {
  return {event.step,    std::string(to_string(event.kind)),
          event.source,  event.created,
          event.p_value, event.cosine,
          event.gain};
}

}  // namespace offshoot
