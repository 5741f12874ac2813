#include "tests/engine/broken_file.h"

#include <hdf5.h>
#include <unistd.h>

#include <cstring>
#include <stdexcept>

#include "engine/random.h"
#include "engine/xxh3.h"
#include "tests/engine/file_test.h"

namespace offshoot::testing {
namespace {

constexpr size_t kUserBlockBytes = 512;

void need(bool good) {
  if (!good) throw std::logic_error("the HDF5 library refused an edit");
}

void drop(hid_t file, const char* name) { need(H5Ldelete(file, name, H5P_DEFAULT) >= 0); }

// A dataset without contents.
void claim(hid_t file, const char* name, hid_t type, const std::vector<hsize_t>& shape,
           const std::vector<hsize_t>& chunk = {}, int deflate = 0) {
  const hid_t links = H5Pcreate(H5P_LINK_CREATE), create = H5Pcreate(H5P_DATASET_CREATE);
  H5Pset_create_intermediate_group(links, 1);
  if (!chunk.empty()) need(H5Pset_chunk(create, static_cast<int>(chunk.size()), chunk.data()) >= 0);
  if (deflate > 0) need(H5Pset_deflate(create, static_cast<unsigned>(deflate)) >= 0);
  const hid_t space = shape.empty()
                          ? H5Screate(H5S_SCALAR)
                          : H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr);
  const hid_t data = H5Dcreate2(file, name, type, space, links, create, H5P_DEFAULT);
  need(data >= 0);
  H5Dclose(data);
  H5Sclose(space);
  H5Pclose(create);
  H5Pclose(links);
}

void replace(hid_t file, const char* name, hid_t type, const std::vector<hsize_t>& shape,
             const std::vector<hsize_t>& chunk = {}, int deflate = 0) {
  drop(file, name);
  claim(file, name, type, shape, chunk, deflate);
}

template <class T>
void overwrite(hid_t file, const char* name, hid_t type, const std::vector<T>& values) {
  const hid_t data = H5Dopen2(file, name, H5P_DEFAULT);
  need(data >= 0 && H5Dwrite(data, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()) >= 0);
  if (H5Aexists(data, "xxh3") > 0) H5Adelete(data, "xxh3");
  H5Dclose(data);
}

void drop_attribute(hid_t file, const char* object, const char* name) {
  need(H5Adelete_by_name(file, object, name, H5P_DEFAULT) >= 0);
}

// In place of one of that name, where there is one.
void attribute(hid_t file, const char* object, const char* name, hid_t type, hsize_t count,
               const void* value) {
  if (H5Aexists_by_name(file, object, name, H5P_DEFAULT) > 0) drop_attribute(file, object, name);
  const hid_t space = H5Screate_simple(1, &count, nullptr);
  const hid_t handle =
      H5Acreate_by_name(file, object, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  need(handle >= 0 && H5Awrite(handle, type, value) >= 0);
  H5Aclose(handle);
  H5Sclose(space);
}

void integer_attribute(hid_t file, const char* name, int64_t value) {
  attribute(file, "/", name, H5T_STD_I64LE, 1, &value);
}

void text_attribute(hid_t file, const char* object, const char* name, const std::string& text) {
  const hid_t type = H5Tcopy(H5T_C_S1);
  H5Tset_size(type, text.size());
  attribute(file, object, name, type, 1, text.data());
  H5Tclose(type);
}

hid_t variable_text() {
  const hid_t type = H5Tcopy(H5T_C_S1);
  H5Tset_size(type, H5T_VARIABLE);
  return type;
}

hid_t pair_of(hid_t first, hid_t second) {
  const hid_t type = H5Tcreate(H5T_COMPOUND, H5Tget_size(first) + H5Tget_size(second));
  H5Tinsert(type, "kind", 0, first);
  H5Tinsert(type, "source_id", H5Tget_size(first), second);
  return type;
}

void group(hid_t file, const char* name) {
  const hid_t handle = H5Gcreate2(file, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  need(handle >= 0);
  H5Gclose(handle);
}

struct EditOf {
  const char* name;
  std::function<void(hid_t)> edit;
};

constexpr const char* kHead = "/model/head.weight";              // f32 [3, 4]
constexpr const char* kFc1 = "/model/block.moe.fc1.weight";      // f32 [3, 2, 3]
constexpr const char* kIds = "/growth/block.moe/ids";            // i64 [3]
constexpr const char* kNext = "/growth/block.moe/next_id";       // i64
constexpr const char* kLog = "/growth/block.moe/log";            // table
constexpr const char* kPolicies = "/growth/block.moe/policies";  // texts
constexpr hsize_t kHuge = hsize_t{1} << 40;

std::vector<EditOf> types() {
  std::vector<EditOf> edits;
  const std::vector<std::pair<const char*, hid_t>> numbers{
      {"f64", H5T_IEEE_F64LE}, {"i32", H5T_STD_I32LE},   {"i64", H5T_STD_I64LE},
      {"u8", H5T_STD_U8LE},    {"u16", H5T_STD_U16BE},   {"u64", H5T_STD_U64LE},
      {"bits", H5T_STD_B32LE}, {"time", H5T_UNIX_D32LE}, {"reference", H5T_STD_REF_OBJ}};
  for (const auto& [name, type] : numbers) {
    edits.push_back({name, [type = type](hid_t file) { replace(file, kHead, type, {3, 4}); }});
  }
  const auto made = [&](const char* name, const char* dataset, std::vector<hsize_t> shape,
                        std::function<hid_t()> make) {
    edits.push_back({name, [=](hid_t file) {
                       const hid_t type = make();
                       replace(file, dataset, type, shape);
                       H5Tclose(type);
                     }});
  };
  made("text of any length", kHead, {3, 4}, variable_text);
  made("a list in each element", kHead, {3, 4}, [] { return H5Tvlen_create(H5T_IEEE_F32LE); });
  made("an array in each element", kHead, {3}, [] {
    const hsize_t four = 4;
    return H5Tarray_create2(H5T_IEEE_F32LE, 1, &four);
  });
  made("a pair in each element", kHead, {3, 4},
       [] { return pair_of(H5T_IEEE_F32LE, H5T_STD_I64LE); });
  made("opaque", kHead, {3, 4}, [] { return H5Tcreate(H5T_OPAQUE, 4); });
  made("enumeration", kHead, {3, 4}, [] {
    const hid_t type = H5Tenum_create(H5T_STD_I32LE);
    const int32_t one = 1;
    H5Tenum_insert(type, "one", &one);
    return type;
  });
  made("f32 of 17 bits", kHead, {3, 4}, [] {
    const hid_t type = H5Tcopy(H5T_IEEE_F32LE);
    H5Tset_fields(type, 16, 10, 6, 0, 10);
    H5Tset_precision(type, 17);
    return type;
  });
  made("a log with other columns", kLog, {3}, [] { return pair_of(H5T_STD_I64LE, H5T_STD_I64LE); });
  made("a log with columns of f32", kLog, {3},
       [] { return pair_of(H5T_STD_I64LE, H5T_IEEE_F32LE); });
  made("a log with a column of text", kLog, {3}, [] {
    const hid_t text = variable_text(), type = pair_of(H5T_STD_I64LE, text);
    H5Tclose(text);
    return type;
  });
  made("a configuration of any length, not written", "/configuration", {}, variable_text);
  made("two configurations", "/configuration", {2}, variable_text);
  made("a text of 2^31 bytes", "/configuration", {}, [] {
    const hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, size_t{1} << 31);
    return type;
  });
  edits.push_back({"ids are real", [](hid_t f) { replace(f, kIds, H5T_IEEE_F64LE, {3}); }});
  edits.push_back({"log is numbers", [](hid_t f) { replace(f, kLog, H5T_STD_I64LE, {3}); }});
  edits.push_back({"policies are i64", [](hid_t f) { replace(f, kPolicies, H5T_STD_I64LE, {1}); }});
  edits.push_back({"configuration is a number",
                   [](hid_t f) { replace(f, "/configuration", H5T_STD_I64LE, {}); }});
  return edits;
}

std::vector<EditOf> shapes() {
  std::vector<EditOf> edits;
  const auto of = [&](const char* name, const char* dataset, hid_t type, std::vector<hsize_t> shape,
                      std::vector<hsize_t> chunk = {}, int deflate = 0) {
    edits.push_back(
        {name, [=](hid_t file) { replace(file, dataset, type, shape, chunk, deflate); }});
  };
  const hid_t f32 = H5T_IEEE_F32LE, i64 = H5T_STD_I64LE;
  of("scalar", kHead, f32, {});
  of("one axis", kHead, f32, {12});
  of("transposed", kHead, f32, {4, 3});
  of("one row more", kHead, f32, {4, 4});
  of("empty", kHead, f32, {0, 4});
  of("32 axes", kHead, f32, std::vector<hsize_t>(32, 1));
  of("4 TB", kHead, f32, {kHuge});
  of("more than 2^64 bytes", kHead, f32, {kHuge, kHuge >> 18}, {1024, 1024});
  of("4 TB in pieces", kHead, f32, {kHuge}, {1 << 20});
  of("4 TB packed", kHead, f32, {kHuge}, {1 << 20}, 9);
  of("in one piece of 2 GB", kHead, f32, {1 << 15, 1 << 14}, {1 << 15, 1 << 14});
  of("2^40 experts", kFc1, f32, {kHuge, 2, 3}, {1, 2, 3});
  of("no experts", kFc1, f32, {0, 2, 3});
  of("2^40 ids", kIds, i64, {kHuge}, {1 << 16});
  of("no ids", kIds, i64, {0});
  of("ids of two axes", kIds, i64, {3, 1});
  of("two next ids", kNext, i64, {2});
  of("2^40 losses", "/data/losses", H5T_IEEE_F64LE, {kHuge}, {1 << 16});
  edits.push_back({"a log of 2^40 rows", [](hid_t file) {
                     const hid_t type = pair_of(H5T_STD_I64LE, H5T_STD_I64LE);
                     replace(file, kLog, type, {kHuge}, {1024});
                     H5Tclose(type);
                   }});
  edits.push_back({"2^30 policies", [](hid_t file) {
                     const hid_t type = variable_text();
                     replace(file, kPolicies, type, {hsize_t{1} << 30}, {1024});
                     H5Tclose(type);
                   }});
  return edits;
}

std::vector<EditOf> values() {
  const auto ids = [](std::vector<int64_t> values) {
    return [=](hid_t file) { overwrite(file, kIds, H5T_NATIVE_INT64, values); };
  };
  const auto next = [](int64_t value) {
    return
        [=](hid_t file) { overwrite(file, kNext, H5T_NATIVE_INT64, std::vector<int64_t>{value}); };
  };
  return {
      {"an id twice", ids({0, 0, 2})},
      {"an id below 0", ids({0, -1, 2})},
      {"an id that nobody was given", ids({0, 7, 2})},
      {"the largest id", ids({0, INT64_MAX, 2})},
      {"next id 0", next(0)},
      {"next id below 0", next(-5)},
      {"next id 2^62", next(int64_t{1} << 62)},
      {"values that are not those of their hash",
       [](hid_t file) {
         const hid_t data = H5Dopen2(file, kHead, H5P_DEFAULT);
         const std::vector<float> zeros(12);
         need(H5Dwrite(data, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, zeros.data()) >= 0);
         H5Dclose(data);
       }},
      {"a log of nonsense", [](hid_t file) {
         const hid_t data = H5Dopen2(file, kLog, H5P_DEFAULT), type = H5Dget_type(data);
         const std::vector<char> ones(3 * H5Tget_size(type), '\x7f');
         need(H5Dwrite(data, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, ones.data()) >= 0);
         H5Adelete(data, "xxh3");
         H5Tclose(type);
         H5Dclose(data);
       }}};
}

std::vector<EditOf> links() {
  const auto in_place = [](const char* name, std::function<void(hid_t)> make) {
    return [=](hid_t file) {
      drop(file, name);
      make(file);
    };
  };
  return {
      {"a group in itself",
       [](hid_t f) {
         need(H5Lcreate_hard(f, "/model", f, "/model/loop", H5P_DEFAULT, H5P_DEFAULT) >= 0);
       }},
      {"the root in a part",
       [](hid_t f) {
         need(H5Lcreate_hard(f, "/", f, "/data/root", H5P_DEFAULT, H5P_DEFAULT) >= 0);
       }},
      {"two groups in each other",
       [](hid_t f) {
         group(f, "/model/a");
         group(f, "/model/a/b");
         need(H5Lcreate_hard(f, "/model/a", f, "/model/a/b/a", H5P_DEFAULT, H5P_DEFAULT) >= 0);
       }},
      {"a soft link to nowhere", in_place(kHead,
                                          [](hid_t f) {
                                            need(H5Lcreate_soft("/nowhere", f, kHead, H5P_DEFAULT,
                                                                H5P_DEFAULT) >= 0);
                                          })},
      {"a soft link to itself",
       in_place(
           kHead,
           [](hid_t f) { need(H5Lcreate_soft(kHead, f, kHead, H5P_DEFAULT, H5P_DEFAULT) >= 0); })},
      {"a link to another file", in_place(kHead,
                                          [](hid_t f) {
                                            need(H5Lcreate_external("/etc/passwd", "/x", f, kHead,
                                                                    H5P_DEFAULT, H5P_DEFAULT) >= 0);
                                          })},
      {"bytes in another file", in_place(kHead,
                                         [](hid_t f) {
                                           const hid_t create = H5Pcreate(H5P_DATASET_CREATE);
                                           H5Pset_external(create, "/etc/passwd", 0, 48);
                                           const hsize_t shape[] = {3, 4};
                                           const hid_t space = H5Screate_simple(2, shape, nullptr);
                                           const hid_t data =
                                               H5Dcreate2(f, kHead, H5T_IEEE_F32LE, space,
                                                          H5P_DEFAULT, create, H5P_DEFAULT);
                                           need(data >= 0);
                                           H5Dclose(data);
                                           H5Sclose(space);
                                           H5Pclose(create);
                                         })},
      {"a group in a dataset's place", in_place(kHead, [](hid_t f) { group(f, kHead); })},
      {"a dataset in a group's place", [](hid_t f) { replace(f, "/model", H5T_STD_I64LE, {3}); }},
      {"a type in a dataset's place", in_place(kHead,
                                               [](hid_t f) {
                                                 const hid_t type = H5Tcopy(H5T_STD_I32LE);
                                                 need(H5Tcommit2(f, kHead, type, H5P_DEFAULT,
                                                                 H5P_DEFAULT, H5P_DEFAULT) >= 0);
                                                 H5Tclose(type);
                                               })},
      {"200 groups deep",
       [](hid_t f) {
         std::string name = "/model";
         for (int i = 0; i < 200; ++i) group(f, (name += "/g").c_str());
       }},
      {"a name of 60000 bytes",
       [](hid_t f) { claim(f, ("/model/" + std::string(60'000, 'x')).c_str(), H5T_STD_I8LE, {}); }},
      {"a name of control characters",
       [](hid_t f) { claim(f, "/model/\x1b[31m\n\t", H5T_IEEE_F32LE, {2}); }},
  };
}

std::vector<EditOf> absences() {
  std::vector<EditOf> edits;
  for (const char* name : {"/configuration", "/model", kHead, kFc1, "/growth", "/growth/block.moe",
                           kIds, kNext, kPolicies, "/optimizer", "/data/position", "/data"}) {
    edits.push_back({name, [=](hid_t file) { drop(file, name); }});
  }
  for (const char* name : {"/model/extra", "/more/extra", "/growth/other/ids"}) {
    edits.push_back({name, [=](hid_t file) { claim(file, name, H5T_STD_I64LE, {2}); }});
  }
  for (const char* name : {"format", "format_version", "step", "seed"}) {
    edits.push_back({name, [=](hid_t file) { drop_attribute(file, "/", name); }});
  }
  return edits;
}

std::vector<EditOf> attributes() {
  const auto version = [](int64_t value) {
    return [=](hid_t file) { integer_attribute(file, "format_version", value); };
  };
  return {{"version 2", version(2)},
          {"version 0", version(0)},
          {"version -1", version(-1)},
          {"the largest version", version(INT64_MAX)},
          {"version is text", [](hid_t f) { text_attribute(f, "/", "format_version", "1"); }},
          {"step is text", [](hid_t f) { text_attribute(f, "/", "step", "nine"); }},
          {"three steps",
           [](hid_t f) {
             const int64_t steps[] = {1, 2, 3};
             attribute(f, "/", "step", H5T_STD_I64LE, 3, steps);
           }},
          {"another format", [](hid_t f) { text_attribute(f, "/", "format", "other"); }},
          {"format is a number", [](hid_t f) { integer_attribute(f, "format", 1); }},
          {"a wrong hash", [](hid_t f) { text_attribute(f, kHead, "xxh3", std::string(32, '0')); }},
          {"an empty hash", [](hid_t f) { text_attribute(f, kHead, "xxh3", "x"); }},
          {"a hash that is a number",
           [](hid_t f) {
             const int64_t value = 7;
             attribute(f, kHead, "xxh3", H5T_STD_I64LE, 1, &value);
           }},
          {"a hash of any length, not written", [](hid_t f) {
             drop_attribute(f, kHead, "xxh3");
             const hid_t type = variable_text(), space = H5Screate(H5S_SCALAR);
             const hid_t handle = H5Acreate_by_name(f, kHead, "xxh3", type, space, H5P_DEFAULT,
                                                    H5P_DEFAULT, H5P_DEFAULT);
             need(handle >= 0);
             H5Aclose(handle);
             H5Sclose(space);
             H5Tclose(type);
           }}};
}

std::string edited(const std::string& bytes, const std::string& scratch, const EditOf& edit) {
  put_bytes(scratch, bytes);
  const hid_t file = H5Fopen(scratch.c_str(), H5F_ACC_RDWR, H5P_DEFAULT);
  need(file >= 0);
  try {
    edit.edit(file);
    need(H5Fclose(file) >= 0);
  } catch (const std::logic_error& error) {
    throw std::logic_error(fmt::format("{}: {}", edit.name, error.what()));
  }
  std::string result = bytes_of(scratch);
  ::unlink(scratch.c_str());
  return result;
}

}  // namespace

std::string sealed(std::string bytes) {
  if (bytes.size() < kUserBlockBytes) return bytes;
  Xxh3Stream stream;
  stream.update(std::as_bytes(std::span(bytes).subspan(kUserBlockBytes)));
  std::string head = fmt::format("OFFSHOOT checkpoint\nversion 1\nbytes {}\nxxh3 {}\n",
                                 bytes.size() - kUserBlockBytes, to_string(stream.digest()));
  head.resize(kUserBlockBytes, '\0');
  return head + bytes.substr(kUserBlockBytes);
}

std::string bare(const std::string& bytes) {
  return bytes.size() < kUserBlockBytes ? "" : bytes.substr(kUserBlockBytes);
}

std::vector<BrokenFile> edited_files(const std::string& bytes, const std::string& scratch) {
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  std::vector<BrokenFile> files;
  for (const auto& [kind, edits] :
       {std::pair{"type", types()}, std::pair{"shape", shapes()}, std::pair{"value", values()},
        std::pair{"link", links()}, std::pair{"missing or left over", absences()},
        std::pair{"attribute", attributes()}}) {
    for (const EditOf& edit : edits) {
      files.push_back({fmt::format("{}: {}", kind, edit.name), edited(bytes, scratch, edit)});
    }
  }
  return files;
}

std::vector<BrokenFile> damaged_files(const std::string& bytes, int flips) {
  std::vector<BrokenFile> files;
  for (size_t length = kUserBlockBytes; length < bytes.size(); length += 4096) {
    files.push_back({fmt::format("cut after {} bytes", length), bytes.substr(0, length)});
  }
  Random random(5, 5);
  for (int i = 0; i < flips; ++i) {
    const int64_t first = static_cast<int64_t>(kUserBlockBytes) + random.below(64);
    const int64_t at = first + (std::ssize(bytes) - first) * i / flips;
    std::string flipped = bytes;
    flipped[static_cast<size_t>(at)] ^= static_cast<char>(1 << random.below(8));
    files.push_back({fmt::format("flipped byte {}", at), std::move(flipped)});
  }
  return files;
}

}  // namespace offshoot::testing
