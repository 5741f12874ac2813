// The running program's file, as far as the emulator must read it.
#pragma once

#include <string>
#include <vector>

namespace offshoot::emulation {

struct MemoryRange {
  char* begin;
  char* end;
};

// Where the program's sections with a name that begins so were loaded. Throws Error when the file
// cannot be read.
std::vector<MemoryRange> loaded_sections(const std::string& prefix);

// The demangled name of the function at the address, or the address where the file has no name.
std::string function_name(const void* address);

}  // namespace offshoot::emulation
