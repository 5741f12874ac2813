#include "engine/checkpoint_file.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <utility>
#include <vector>

#include "engine/error.h"
#include "engine/xxh3.h"

namespace offshoot {
namespace {

constexpr std::string_view kName = "checkpoint";
constexpr std::string_view kFormat = "offshoot-checkpoint";
constexpr std::string_view kMagic = "OFFSHOOT checkpoint\n";
constexpr std::string_view kSignature = "\x89HDF\r\n\x1a\n";
constexpr int64_t kUserBlockBytes = 512;
constexpr int64_t kPieceBytes = int64_t{1} << 20;

template <class... Args>
[[noreturn]] void refuse_foreign(fmt::format_string<Args...> text, Args&&... args) {
  throw ForeignFile(fmt::format("[{}] {}", kName, fmt::format(text, std::forward<Args>(args)...)));
}

struct UserBlock {
  int64_t version = 0;
  int64_t bytes = 0;
  std::string xxh3;
};

std::string render(const UserBlock& block) {
  std::string text = fmt::format("{}version {}\nbytes {}\nxxh3 {}\n", kMagic, block.version,
                                 block.bytes, block.xxh3);
  text.resize(static_cast<size_t>(kUserBlockBytes), '\0');
  return text;
}

// The value of the line that `text` begins with, which is taken off; nothing on another line.
std::optional<std::string_view> take_line(std::string_view& text, std::string_view key) {
  const size_t end = text.find('\n');
  if (!text.starts_with(key) || end == std::string_view::npos) return std::nullopt;
  const std::string_view value = text.substr(key.size(), end - key.size());
  text.remove_prefix(end + 1);
  return value;
}

std::optional<int64_t> take_number(std::string_view& text, std::string_view key) {
  const std::optional<std::string_view> value = take_line(text, key);
  int64_t number = 0;
  if (!value) return std::nullopt;
  const char* end = value->data() + value->size();
  const auto [stop, error] = std::from_chars(value->data(), end, number);
  if (error != std::errc() || stop != end || number < 0) return std::nullopt;
  return number;
}

void check_version(const std::string& path, int64_t version) {
  if (version > kCheckpointVersion) {
    refuse_foreign("{}: format version: got {}, expected at most {}; a newer Offshoot wrote it",
                   path, version, kCheckpointVersion);
  }
  if (version < 1) fail(kName, "{}: format version: got {}, expected at least 1", path, version);
}

// `text` begins with the magic. What is not exactly as it would be written is damaged.
UserBlock parse_user_block(const std::string& path, const std::string& text) {
  std::string_view rest = std::string_view(text).substr(kMagic.size());
  UserBlock block;
  if (const auto version = take_number(rest, "version ")) {
    check_version(path, *version);
    block.version = *version;
    block.bytes = take_number(rest, "bytes ").value_or(-1);
    block.xxh3 = take_line(rest, "xxh3 ").value_or("");
    if (render(block) == text) return block;
  }
  fail(kName, "{}: is damaged: its first {} bytes are not as they were written", path,
       kUserBlockBytes);
}

// Of the bytes from the user block on, as `read(offset, piece)` gives them.
template <class Read>
std::string hash_of(int64_t bytes, Read read) {
  Xxh3Stream stream;
  std::vector<std::byte> piece(static_cast<size_t>(std::min(bytes, kPieceBytes)));
  for (int64_t at = 0; at < bytes; at += kPieceBytes) {
    const auto part =
        std::span(piece).first(static_cast<size_t>(std::min(kPieceBytes, bytes - at)));
    read(kUserBlockBytes + at, part);
    stream.update(part);
  }
  return to_string(stream.digest());
}

void check_length(const InputFile& file, const UserBlock& block) {
  const int64_t got = file.size() - kUserBlockBytes;
  if (got < block.bytes) {
    fail(kName, "{}: is truncated: got {} bytes behind its user block, expected {}", file.path(),
         got, block.bytes);
  }
  if (got > block.bytes) {
    fail(kName, "{}: is damaged: got {} bytes behind its user block, expected {}", file.path(), got,
         block.bytes);
  }
}

void check_hash(const InputFile& file, const UserBlock& block) {
  const std::string hash = hash_of(
      block.bytes, [&](int64_t offset, std::span<std::byte> bytes) { file.read(offset, bytes); });
  if (hash != block.xxh3) {
    fail(kName,
         "{}: is damaged, or another tool rewrote it and kept the user block: got xxh3 {}, "
         "expected {}",
         file.path(), hash, block.xxh3);
  }
}

}  // namespace

CheckpointWriter::CheckpointWriter(std::string path, const CheckpointHead& head,
                                   AtomicFile::Fault fault)
    : file_(std::move(path), fault), h5_(file_, kUserBlockBytes) {
  h5_.set_attribute("/", "format", kFormat);
  h5_.set_attribute("/", "format_version", kCheckpointVersion);
  h5_.set_attribute("/", "step", head.step);
  h5_.set_attribute("/", "seed", head.seed);
}

void CheckpointWriter::commit() {
  h5_.close();
  file_.start_writeback();  // the disk works while the processor hashes
  const int64_t bytes = file_.size() - kUserBlockBytes;
  const std::string hash = hash_of(
      bytes, [&](int64_t offset, std::span<std::byte> piece) { file_.read(offset, piece); });
  const std::string block = render({kCheckpointVersion, bytes, hash});
  file_.write(0, std::as_bytes(std::span(block)));
  file_.commit();
}

CheckpointReader::Opened CheckpointReader::open(InputFile file, bool verify) {
  const std::string path = file.path();
  std::string head(static_cast<size_t>(kUserBlockBytes), '\0');
  const int64_t count = file.read(0, std::as_writable_bytes(std::span(head)));
  if (head.starts_with(kMagic)) {
    if (count < kUserBlockBytes) fail(kName, "{}: is truncated: got {} bytes", path, count);
    const UserBlock block = parse_user_block(path, head);
    check_length(file, block);
    if (verify) check_hash(file, block);
    return {H5Reader(std::move(file), H5Reader::Trust::checked), verify};
  }
  if (head.starts_with(kSignature)) {
    const auto trust = verify ? H5Reader::Trust::none : H5Reader::Trust::checked;
    return {H5Reader(std::move(file), trust), false};
  }
  refuse_foreign("{}: is not a checkpoint: it begins neither as one nor as an HDF5 file", path);
}

CheckpointReader::CheckpointReader(InputFile file)
    : CheckpointReader(open(std::move(file), true)) {}

CheckpointReader CheckpointReader::unverified(InputFile file) {
  return CheckpointReader(open(std::move(file), false));
}

CheckpointReader::CheckpointReader(Opened opened)
    : h5_(std::move(opened.h5)), verified_(opened.verified) {
  if (!h5_.has_attribute("/", "format") || h5_.text_attribute("/", "format") != kFormat) {
    refuse_foreign("{}: is an HDF5 file of another kind: its attribute format is not \"{}\"",
                   path(), kFormat);
  }
  version_ = h5_.integer_attribute("/", "format_version");
  check_version(path(), version_);
  head_ = {h5_.integer_attribute("/", "step"), h5_.integer_attribute("/", "seed")};
}

}  // namespace offshoot
