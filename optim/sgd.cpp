#include "optim/sgd.h"

#include <utility>

#include "cuda/sgd.h"
#include "engine/error.h"
#include "engine/parallel.h"
#include "optim/chunks.h"
#include "optim/guard.h"

namespace offshoot {
namespace {

constexpr int64_t kGrain = 16384;

}  // namespace

Sgd::Sgd(std::vector<ParameterGroup> groups, const SgdOptions& options)
    : Optimizer(std::move(groups)), options_(options) {
  if (!(options.momentum >= 0 && options.momentum < 1)) {
    fail("sgd", "momentum: got {}, expected in [0, 1)", options.momentum);
  }
  const NewRow new_row = options.newborn == NewbornState::inherit ? NewRow::copy : NewRow::zero;
  for (const ParameterGroup& group : this->groups()) {
    for (Parameter* p : group.parameters) {
      Item item{p, group.rate_factor, group.weight_decay, nullptr};
      if (options.momentum > 0) {
        item.momentum = std::make_unique<StateTensor>(*p, "momentum", p->value().shape(),
                                                      p->dtype(), new_row, device());
      }
      items_.push_back(std::move(item));
    }
  }
}

void Sgd::each_state(const StateVisitor& visit) const {
  for (const Item& item : items_) {
    if (item.momentum) visit(item.parameter->name() + "/momentum", item.momentum->tensor());
  }
}

void Sgd::update(double rate, const Tensor& guard) {
  if constexpr (kHasCuda) {
    if (device().is_cuda()) {
      std::vector<cuda::SgdChunk> chunks;
      for (const Item& item : items_) {
        if (!item.parameter->has_grad()) continue;
        const Tensor value = item.parameter->value(), grad = item.parameter->grad();
        float* momentum = item.momentum ? item.momentum->tensor().device_data<float>() : nullptr;
        each_chunk(value.size(), kDeviceChunk, [&](int64_t first, int64_t count) {
          chunks.push_back({value.device_data<float>() + first, grad.device_data<float>() + first,
                            momentum == nullptr ? nullptr : momentum + first, count,
                            static_cast<float>(rate * item.rate_factor),
                            static_cast<float>(item.weight_decay)});
        });
      }
      const ChunkTable<cuda::SgdChunk> table(chunks, device());
      return cuda::sgd(table.data(), table.count(), static_cast<float>(options_.momentum),
                       device_guard(guard), table.stream());
    }
  }
  for (const Item& item : items_) {
    if (!item.parameter->has_grad()) continue;
    const Tensor value = item.parameter->value(), grad = item.parameter->grad();
    dispatch_float("sgd", value.dtype(), [&]<class T>(T) {
      const T own_rate = static_cast<T>(rate * item.rate_factor);
      const T decay = static_cast<T>(item.weight_decay);
      const T momentum = static_cast<T>(options_.momentum);
      T* w = value.data<T>();
      const T* g = grad.data<T>();
      T* b = nullptr;
      if (item.momentum) b = item.momentum->tensor().data<T>();
      parallel_for(value.size(), kGrain, [=](int64_t first, int64_t last) {
        for (int64_t i = first; i < last; ++i) {
          T step = g[i] + decay * w[i];
          if (b != nullptr) step = b[i] = momentum * b[i] + step;
          w[i] -= own_rate * step;
        }
      });
    });
  }
}

}  // namespace offshoot
