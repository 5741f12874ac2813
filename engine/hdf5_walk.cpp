#include "engine/hdf5_walk.h"

#include <chrono>
#include <cstddef>
#include <span>
#include <vector>

#include "engine/child.h"
#include "engine/error.h"

namespace offshoot {
namespace {

constexpr std::string_view kName = "hdf5";

}  // namespace

void h5_walk(const H5Reader& reader) {
  for (const std::string& name : reader.objects()) {
    for (const std::string& attribute : reader.attributes(name)) reader.attribute(name, attribute);
    if (reader.is_group(name)) continue;
    const H5Info info = reader.info(name);
    switch (info.type) {
      case H5Type::text:
        reader.read_texts(name);
        break;
      case H5Type::table:
        reader.read_table(name);
        break;
      case H5Type::other:
        break;
      default: {
        const int64_t bytes = info.shape.size() * element_bytes(info.type);
        std::vector<std::byte> values(static_cast<size_t>(bytes));
        reader.read_bytes(name, info.type, values);
      }
    }
  }
}

void h5_walk_in_child(const InputFile& file) {
  const std::chrono::seconds deadline(10 + file.size() / (int64_t{16} << 20));
  const int64_t memory_bytes = (int64_t{256} << 20) + 8 * file.size();
  const ChildEnd end = run_in_child({deadline, memory_bytes}, [&]() -> std::string {
    try {
      h5_walk(H5Reader(file.duplicate(), H5Reader::Trust::checked));
      return "";
    } catch (const Error& error) {
      return error.what();
    }
  });
  switch (end.kind) {
    case ChildEnd::Kind::returned:
      if (!end.text.empty()) throw Error(end.text);
      return;
    case ChildEnd::Kind::late:
      fail(kName, "{}: is damaged or too large: not read within {} s", file.path(),
           deadline.count());
    case ChildEnd::Kind::crashed:
      fail(kName, "{}: is damaged or too large: reading it crashed or ran out of memory (signal {})",
           file.path(), end.signal);
  }
}

}  // namespace offshoot
