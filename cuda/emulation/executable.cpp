#include "cuda/emulation/executable.h"

#include <cxxabi.h>
#include <elf.h>
#include <link.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <span>

#include "cuda/error.h"

namespace offshoot::emulation {
namespace {

// By how much the addresses in the file differ from those in memory. The program itself is the
// first object that is visited.
uintptr_t load_offset() {
  uintptr_t offset = 0;
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* result) {
        *static_cast<uintptr_t*>(result) = info->dlpi_addr;
        return 1;
      },
      &offset);
  return offset;
}

class ElfFile {
 public:
  ElfFile() {
    std::ifstream file("/proc/self/exe", std::ios::binary);
    bytes_.assign(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
    if (bytes_.size() < sizeof(Elf64_Ehdr)) {
      throw Error("[cuda emulation] cannot read /proc/self/exe");
    }
    const auto* header = reinterpret_cast<const Elf64_Ehdr*>(bytes_.data());
    sections_ = {reinterpret_cast<const Elf64_Shdr*>(bytes_.data() + header->e_shoff),
                 header->e_shnum};
    names_ = sections_.empty() ? 0 : sections_[header->e_shstrndx].sh_offset;
  }

  std::span<const Elf64_Shdr> sections() const { return sections_; }
  const char* name(const Elf64_Shdr& section) const {
    return bytes_.data() + names_ + section.sh_name;
  }
  std::span<const Elf64_Sym> symbols(const Elf64_Shdr& table) const {
    return {reinterpret_cast<const Elf64_Sym*>(bytes_.data() + table.sh_offset),
            table.sh_size / sizeof(Elf64_Sym)};
  }
  const char* name(const Elf64_Shdr& table, const Elf64_Sym& symbol) const {
    return bytes_.data() + sections_[table.sh_link].sh_offset + symbol.st_name;
  }

 private:
  std::vector<char> bytes_;
  std::span<const Elf64_Shdr> sections_;
  size_t names_;
};

std::string demangled(const char* name) {
  int status = 0;
  char* text = abi::__cxa_demangle(name, nullptr, nullptr, &status);
  const std::string result = status == 0 ? text : name;
  std::free(text);
  return result;
}

}  // namespace

std::vector<MemoryRange> loaded_sections(const std::string& prefix) {
  const ElfFile file;
  std::vector<MemoryRange> ranges;
  for (const Elf64_Shdr& section : file.sections()) {
    if ((section.sh_flags & SHF_ALLOC) == 0) continue;
    if (std::string(file.name(section)).rfind(prefix, 0) != 0) continue;
    char* begin = reinterpret_cast<char*>(load_offset() + section.sh_addr);
    ranges.push_back({begin, begin + section.sh_size});
  }
  return ranges;
}

std::string function_name(const void* address) {
  const ElfFile file;
  const uintptr_t wanted = reinterpret_cast<uintptr_t>(address) - load_offset();
  for (const Elf64_Shdr& section : file.sections()) {
    if (section.sh_type != SHT_SYMTAB) continue;
    for (const Elf64_Sym& symbol : file.symbols(section)) {
      if (ELF64_ST_TYPE(symbol.st_info) == STT_FUNC && symbol.st_value == wanted) {
        return demangled(file.name(section, symbol));
      }
    }
  }
  char text[32];
  std::snprintf(text, sizeof(text), "the kernel at %p", address);
  return text;
}

}  // namespace offshoot::emulation
