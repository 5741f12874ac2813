#include "engine/state.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>
#include <utility>

#include "cuda/memory.h"
#include "engine/error.h"

namespace offshoot {
namespace {

constexpr std::string_view kName = "state";

H5Type file_type(std::string_view name, DType dtype) {
  switch (dtype) {
    case DType::f32:
      return H5Type::f32;
    case DType::f64:
      return H5Type::f64;
    case DType::i32:
      return H5Type::i32;
    case DType::i64:
      return H5Type::i64;
    case DType::bf16:
      break;
  }
  fail(kName, "{}: got {}, expected f32, f64, i32 or i64", name, to_string(dtype));
}

bool same_columns(const std::vector<H5Column>& a, const std::vector<H5Column>& b) {
  return std::ranges::equal(a, b, [](const H5Column& x, const H5Column& y) {
    return x.name == y.name && x.values.index() == y.values.index();
  });
}

int64_t rows_of(const std::vector<H5Column>& columns) {
  if (columns.empty()) return 0;
  return std::visit([](const auto& values) { return std::ssize(values); }, columns.front().values);
}

}  // namespace

struct State::Store {
  Phase phase;
  H5Writer* out = nullptr;
  const H5Reader* in = nullptr;
  std::set<std::string> asked;
  std::map<std::string, std::vector<std::byte>> numbers;
  std::map<std::string, std::vector<std::string>> texts;
  std::map<std::string, std::vector<H5Column>> tables;
  std::map<const GrowthGroup*, int64_t> rows;
};

State::State(H5Writer& file) : store_(std::make_shared<Store>()) {
  store_->phase = Phase::save;
  store_->out = &file;
}

State::State(const H5Reader& file) : store_(std::make_shared<Store>()) {
  store_->phase = Phase::check;
  store_->in = &file;
}

State::State(std::shared_ptr<Store> store, std::string prefix)
    : store_(std::move(store)), prefix_(std::move(prefix)) {}

State::Phase State::phase() const { return store_->phase; }

State State::scope(std::string_view name) const { return {store_, full(name) + "/"}; }

void State::tensor(std::string_view name, const Tensor& tensor, const GrowthGroup* rows) {
  const std::string path = full(name);
  const H5Type type = file_type(path, tensor.dtype());
  const auto bytes = static_cast<size_t>(tensor.bytes());
  if (rows != nullptr && !applying()) {
    OFFSHOOT_CHECK(tensor.rank() > 0 && tensor.dim(0) == rows->rows(), "{}", path);
  }
  if (saving()) {
    if (tensor.size() == 0) return;
    const Tensor host = tensor.to(Device{});
    store_->out->write_bytes(path, type, tensor.shape(), {host.raw(), bytes},
                             rows != nullptr ? H5Rows::growing : H5Rows::fixed);
  } else if (checking()) {
    const Shape shape =
        rows != nullptr ? tensor.shape().with(0, this->rows(*rows)) : tensor.shape();
    if (stage(path, type, &shape) != (shape.size() > 0)) store_->in->expect(path, {type, shape});
  } else if (const std::vector<std::byte>* from = staged(path)) {
    OFFSHOOT_CHECK(from->size() == bytes, "{}: {} bytes for {}", path, from->size(), bytes);
    // Nothing here may need memory: it is too late to fail.
    if constexpr (kHasCuda) {
      if (const Device device = tensor.device(); device.is_cuda()) {
        return cuda::copy_to_device(tensor.address(), from->data(), tensor.bytes(), device.index);
      }
    }
    std::memcpy(tensor.raw(), from->data(), bytes);
  }
}

void State::number(std::string_view name, H5Type type, std::span<std::byte> value) {
  const std::string path = full(name);
  const Shape scalar;
  if (saving()) {
    store_->out->write_bytes(path, type, scalar, value);
  } else if (checking()) {
    if (!stage(path, type, &scalar)) store_->in->expect(path, {type, scalar});
  } else {
    const std::vector<std::byte>* from = staged(path);
    OFFSHOOT_CHECK(from != nullptr && from->size() == value.size(), "{}", path);
    std::ranges::copy(*from, value.begin());
  }
}

void State::value(std::string_view name, bool& value) {
  uint8_t byte = value ? 1 : 0;
  this->value(name, byte);
  if (applying()) value = byte != 0;
}

void State::text(std::string_view name, std::string& text) {
  std::vector<std::string> one;
  if (!text.empty()) one.push_back(text);
  texts(name, one);
  if (applying()) text = one.empty() ? "" : one.front();
}

void State::texts(std::string_view name, std::vector<std::string>& texts) {
  if (saving()) {
    if (!texts.empty()) store_->out->write_texts(full(name), texts);
  } else if (std::vector<std::string> found = peek_texts(name); applying()) {
    texts = std::move(found);
  }
}

std::vector<std::string> State::peek_texts(std::string_view name) {
  const std::string path = full(name);
  if (checking() && store_->asked.insert(path).second && store_->in->has(path)) {
    store_->texts[path] = store_->in->read_texts(path);
  }
  const auto found = store_->texts.find(path);
  return found == store_->texts.end() ? std::vector<std::string>() : found->second;
}

void State::table(std::string_view name, std::vector<H5Column>& columns) {
  const std::string path = full(name);
  if (saving()) {
    if (rows_of(columns) > 0) store_->out->write_table(path, columns);
  } else if (checking()) {
    store_->asked.insert(path);
    if (!store_->in->has(path)) return;
    std::vector<H5Column> found = store_->in->read_table(path);
    if (!same_columns(found, columns)) {
      fail(kName, "{}: {}: the table has other columns than expected", store_->in->path(), path);
    }
    store_->tables[path] = std::move(found);
  } else if (const auto found = store_->tables.find(path); found != store_->tables.end()) {
    columns = found->second;
  } else {
    for (H5Column& column : columns)
      std::visit([](auto& values) { values.clear(); }, column.values);
  }
}

int64_t State::rows(const GrowthGroup& group) const {
  const auto found = store_->rows.find(&group);
  return found == store_->rows.end() ? group.rows() : found->second;
}

void State::set_rows(const GrowthGroup& group, int64_t rows) { store_->rows[&group] = rows; }

bool State::asked(const std::string& name) const { return store_->asked.contains(name); }

void State::begin_apply() {
  OFFSHOOT_CHECK(checking(), "phase {}", static_cast<int>(phase()));
  store_->phase = Phase::apply;
}

bool State::stage(const std::string& name, H5Type type, const Shape* shape) {
  store_->asked.insert(name);
  const H5Reader& in = *store_->in;
  if (!in.has(name)) return false;
  const H5Info info = in.info(name);
  in.expect(name, {type, shape != nullptr ? *shape : info.shape});
  if (store_->numbers.contains(name)) return true;
  std::vector<std::byte> bytes(static_cast<size_t>(info.shape.size() * element_bytes(type)));
  in.read_bytes(name, type, bytes);
  store_->numbers.emplace(name, std::move(bytes));
  return true;
}

const std::vector<std::byte>* State::staged(const std::string& name) const {
  const auto found = store_->numbers.find(name);
  return found == store_->numbers.end() ? nullptr : &found->second;
}

void State::write_values(const std::string& name, H5Type type, std::span<const std::byte> bytes) {
  if (bytes.empty()) return;
  store_->out->write_bytes(name, type,
                           Shape{static_cast<int64_t>(bytes.size()) / element_bytes(type)}, bytes);
}

}  // namespace offshoot
