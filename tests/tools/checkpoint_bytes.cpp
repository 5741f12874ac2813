#include "tests/tools/checkpoint_bytes.h"

#include "engine/checkpoint_file.h"
#include "engine/error.h"

namespace offshoot::testing {
namespace {

template <class T>
std::string raw(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

std::string table_bytes(const std::vector<H5Column>& columns) {
  std::string all;
  for (const H5Column& column : columns) {
    all += column.name + ":" +
           std::visit([](const auto& values) { return raw(values); }, column.values);
  }
  return all;
}

std::string dataset_bytes(const H5Reader& file, const std::string& name) {
  const H5Info info = file.info(name);
  std::string head = fmt::format("{} {} ", to_string(info.type), to_string(info.shape));
  if (info.type == H5Type::table) return head + table_bytes(file.read_table(name));
  if (info.type == H5Type::text) {
    if (info.shape.rank() == 0) return head + file.read_text(name);
    for (const std::string& text : file.read_texts(name)) head += text + '\n';
    return head;
  }
  std::vector<std::byte> bytes(static_cast<size_t>(info.shape.size() * element_bytes(info.type)));
  file.read_bytes(name, info.type, bytes);
  return head + raw(bytes);
}

}  // namespace

std::map<std::string, std::string> checkpoint_bytes(const std::string& path) {
  const CheckpointReader checkpoint(path);
  const H5Reader& file = checkpoint.h5();
  std::map<std::string, std::string> all;
  for (const std::string& name : file.datasets()) {
    if (!name.starts_with("provenance")) all[name] = dataset_bytes(file, name);
  }
  for (const std::string& object : file.objects()) {
    if (object.starts_with("provenance")) continue;
    for (const std::string& name : file.attributes(object.empty() ? "/" : object)) {
      all[object + "@" + name] = file.attribute(object.empty() ? "/" : object, name);
    }
  }
  for (const std::string& name : file.attributes("/")) all["/@" + name] = file.attribute("/", name);
  return all;
}

std::string differences(const std::map<std::string, std::string>& a,
                        const std::map<std::string, std::string>& b) {
  std::string names;
  for (const auto& [name, bytes] : a) {
    const auto found = b.find(name);
    if (found == b.end() || found->second != bytes) names += name + '\n';
  }
  for (const auto& [name, bytes] : b) {
    if (!a.contains(name)) names += name + '\n';
  }
  return names;
}

}  // namespace offshoot::testing
