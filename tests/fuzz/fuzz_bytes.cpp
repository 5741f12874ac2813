// Arbitrary bytes as a file that nobody has checked. The child that reads it first may crash, hang
// or run out of memory; this process may not.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "engine/checkpoint_file.h"
#include "engine/error.h"
#include "tests/fuzz/memory_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace offshoot;
  const testing::MemoryFile file({reinterpret_cast<const char*>(data), size});
  try {
    const CheckpointReader reader(file.path());
    // The child has read it to its end, so this process can.
    for (const std::string& name : reader.h5().datasets()) reader.h5().info(name);
  } catch (const Error& error) {
    const std::string_view text = error.what();
    if (text.find(file.path()) == std::string_view::npos) std::abort();
    if (text.find('\n') != std::string_view::npos) std::abort();
  }
  return 0;
}
