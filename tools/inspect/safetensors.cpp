// The safetensors format (huggingface.co/docs/safetensors): 8 bytes, the length of a JSON header,
// little-endian; the header, {"name": {"dtype", "shape", "data_offsets": [begin, end]}, ...},
// padded with spaces to a multiple of 8; the tensors' bytes in order, without gaps.
#include <algorithm>
#include <array>

#include "engine/error.h"
#include "engine/json.h"
#include "tools/inspect/contents.h"
#include "tools/inspect/views.h"
#include "tools/support/display.h"
#include "tools/support/html.h"

namespace offshoot {
namespace {

constexpr std::string_view kName = "safetensors";

std::string_view dtype_of(const CheckpointReader& file, const ParameterInfo& parameter) {
  switch (parameter.info.type) {
    case H5Type::f32:
      return "F32";
    case H5Type::f64:
      return "F64";
    case H5Type::i32:
      return "I32";
    case H5Type::i64:
      return "I64";
    case H5Type::u8:
      return "U8";
    case H5Type::u64:
      return "U64";
    case H5Type::text:
    case H5Type::table:
    case H5Type::other:
      break;
  }
  fail(kName, "{}: {}: got {}, expected numbers", file.path(), printable(parameter.name),
       to_string(parameter.info.type));
}

std::string header_text(const CheckpointReader& file,
                        const std::vector<ParameterInfo>& parameters) {
  Json header = Json::object();
  header["__metadata__"] = Json::object({{"format", "offshoot-checkpoint"},
                                         {"format_version", fmt::format("{}", file.version())},
                                         {"step", fmt::format("{}", file.head().step)},
                                         {"seed", fmt::format("{}", file.head().seed)}});
  int64_t at = 0;
  for (const ParameterInfo& parameter : parameters) {
    if (parameter.name == "__metadata__") {
      fail(kName, "{}: a parameter has a name of the format's own, __metadata__", file.path());
    }
    Json shape = Json::array();
    for (const int64_t size : parameter.info.shape) shape.push_back(size);
    const int64_t end = at + parameter.bytes;
    header[parameter.name] = Json::object({{"dtype", dtype_of(file, parameter)},
                                           {"shape", shape},
                                           {"data_offsets", Json::array({at, end})}});
    at = end;
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  return text;
}

}  // namespace

std::string export_safetensors(const CheckpointReader& file, const std::string& out) {
  AtomicFile target(out);
  std::vector<ParameterInfo> parameters = model_parameters(file.h5());
  if (parameters.empty()) fail(kName, "{}: has no parameters below /model", file.path());
  // The wide types first, so that each tensor is aligned.
  std::ranges::stable_sort(parameters, std::greater(), [](const ParameterInfo& parameter) {
    return element_bytes(parameter.info.type);
  });
  const std::string header = header_text(file, parameters);
  std::array<std::byte, 8> length{};
  for (size_t i = 0; i < 8; ++i) length[i] = static_cast<std::byte>(header.size() >> (8 * i));
  target.write(0, length);
  target.write(8, std::as_bytes(std::span(header)));
  int64_t at = 8 + std::ssize(header);
  for (const ParameterInfo& parameter : parameters) {
    file.h5().each_piece("model/" + parameter.name, kPieceBytes,
                         [&](int64_t, std::span<const std::byte> piece) {
                           target.write(at, piece);
                           target.check();
                           at += std::ssize(piece);
                         });
  }
  target.commit();
  return fmt::format("{}: {} parameters, {}\n", displayable(out), parameters.size(),
                     bytes_text(static_cast<double>(at)));
}

}  // namespace offshoot
