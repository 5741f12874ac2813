// The checkpoint's file: an HDF5 file behind a user block of 512 bytes.
//
// The user block is text, padded with zeros:
//   OFFSHOOT checkpoint
//   version <format version>
//   bytes <length of all that follows the user block>
//   xxh3 <XXH3-128 of all that follows the user block>
// Attributes of the root: format "offshoot-checkpoint", format_version, step, seed.
//
// Saving   writes a temporary file in the same folder, computes the hash in one pass over what the
//          kernel still holds (HDF5 writes its metadata out of order), forces the file to the disk,
//          renames it and forces the folder (engine/file.h).
// Loading  checks version, length and hash before HDF5 sees a byte. A file that begins with HDF5's
//          signature was rewritten by another tool: it is read in a child process first. A tool
//          that kept the user block (h5repack) left a wrong hash: cut the block off (h5unjam).
#pragma once

#include <cstdint>
#include <string>

#include "engine/error.h"
#include "engine/file.h"
#include "engine/hdf5_file.h"

namespace offshoot {

inline constexpr int64_t kCheckpointVersion = 1;  // what is written; the most that is read

struct CheckpointHead {
  int64_t step = 0;  // training steps done
  int64_t seed = 0;
  friend bool operator==(const CheckpointHead&, const CheckpointHead&) = default;
};

// Thrown where a file is sound but not ours to read: no checkpoint, of another kind, or of a newer
// version.
class ForeignFile : public Error {
 public:
  using Error::Error;
};

// All throw Error as AtomicFile and H5Writer do; without commit() nothing has happened.
class CheckpointWriter {
 public:
  CheckpointWriter(std::string path, const CheckpointHead& head, AtomicFile::Fault fault = {});

  H5Writer& h5() { return h5_; }
  int64_t calls() const { return file_.calls(); }  // for tests: AtomicFile::calls()
  void commit();

 private:
  AtomicFile file_;
  H5Writer h5_;
};

class CheckpointReader {
 public:
  // Throws Error when the file cannot be opened, is no checkpoint, comes from a newer version, is
  // truncated or damaged.
  explicit CheckpointReader(const std::string& path) : CheckpointReader(InputFile(path)) {}
  explicit CheckpointReader(InputFile file);

  // Without reading the file whole: only the user block and the length are checked. For a child
  // process (engine/child.h), as a damaged file can hang or crash HDF5. Throws as above.
  static CheckpointReader unverified(InputFile file);

  const std::string& path() const { return h5_.path(); }
  const H5Reader& h5() const { return h5_; }
  const CheckpointHead& head() const { return head_; }
  int64_t version() const { return version_; }
  // Whether the file's own hash was there and right.
  bool verified() const { return verified_; }

 private:
  struct Opened {
    H5Reader h5;
    bool verified;
  };
  static Opened open(InputFile file, bool verify);
  explicit CheckpointReader(Opened opened);

  H5Reader h5_;
  bool verified_;
  int64_t version_;
  CheckpointHead head_;
};

}  // namespace offshoot
