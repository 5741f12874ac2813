// XXH3-128 (Yann Collet, xxHash 0.8) of bytes: it finds damage, it is no protection against intent.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace offshoot {

struct Xxh3Digest {
  uint64_t high = 0;
  uint64_t low = 0;
  friend bool operator==(const Xxh3Digest&, const Xxh3Digest&) = default;
};

// 32 lower-case hexadecimal digits, the high half first: what `xxhsum -H2` prints.
std::string to_string(const Xxh3Digest& digest);

Xxh3Digest xxh3(std::span<const std::byte> bytes);

// The same digest of bytes that come in pieces.
class Xxh3Stream {
 public:
  Xxh3Stream();
  Xxh3Stream(Xxh3Stream&&) noexcept;
  Xxh3Stream& operator=(Xxh3Stream&&) noexcept;
  ~Xxh3Stream();

  void update(std::span<const std::byte> bytes);
  Xxh3Digest digest() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace offshoot
