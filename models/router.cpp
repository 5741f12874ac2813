#include "models/router.h"

#include "ops/binary.h"

namespace offshoot {

Tensor add_row_offsets(Context& context, const GrowthGroup& experts, const Tensor& logits) {
  const auto offsets = context.row_offsets.find(experts.name());
  if (offsets == context.row_offsets.end()) return logits;
  const int64_t E = experts.rows();
  const Tensor added = Tensor::zeros({E}, logits.dtype());
  for (const RowOffset& offset : offsets->second) {
    if (offset.row < 0 || offset.row >= E) {
      fail("router", "row offset: got row {}, expected 0..{}", offset.row, E - 1);
    }
    dispatch_float("router", logits.dtype(), [&]<class T>(T) {
      added.data<T>()[offset.row] += static_cast<T>(offset.offset);
    });
  }
  return add(context.tape, logits, added.to(logits.device()));
}

}  // namespace offshoot
