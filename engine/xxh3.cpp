#include "engine/xxh3.h"

#include <fmt/core.h>
#include <xxhash.h>

#include <new>

namespace offshoot {
namespace {

Xxh3Digest from(const XXH128_hash_t& hash) { return {hash.high64, hash.low64}; }

}  // namespace

struct Xxh3Stream::State {
  struct Free {
    void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
  };
  std::unique_ptr<XXH3_state_t, Free> xxh{XXH3_createState()};
};

std::string to_string(const Xxh3Digest& digest) {
  return fmt::format("{:016x}{:016x}", digest.high, digest.low);
}

Xxh3Digest xxh3(std::span<const std::byte> bytes) {
  return from(XXH3_128bits(bytes.data(), bytes.size()));
}

Xxh3Stream::Xxh3Stream() : state_(std::make_unique<State>()) {
  if (!state_->xxh) throw std::bad_alloc();
  XXH3_128bits_reset(state_->xxh.get());
}

Xxh3Stream::Xxh3Stream(Xxh3Stream&&) noexcept = default;
Xxh3Stream& Xxh3Stream::operator=(Xxh3Stream&&) noexcept = default;
Xxh3Stream::~Xxh3Stream() = default;

void Xxh3Stream::update(std::span<const std::byte> bytes) {
  XXH3_128bits_update(state_->xxh.get(), bytes.data(), bytes.size());
}

Xxh3Digest Xxh3Stream::digest() const { return from(XXH3_128bits_digest(state_->xxh.get())); }

}  // namespace offshoot
