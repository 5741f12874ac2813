#include "tools/hmm/corpus.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <set>

#include "engine/error.h"
#include "engine/file.h"
#include "engine/hdf5_file.h"
#include "tools/hmm/floor.h"
#include "tools/hmm/ginc.h"

namespace offshoot {
namespace {

namespace fs = std::filesystem;

// A folder of the test's own, gone with it.
class CorpusFile : public testing::Test {
 protected:
  CorpusFile()
      : folder_(fs::temp_directory_path() /
                fmt::format("offshoot_corpus_{}_{}", getpid(),
                            testing::UnitTest::GetInstance()->current_test_info()->name())) {
    fs::create_directories(folder_);
  }
  ~CorpusFile() override { fs::remove_all(folder_); }

  std::string path(const std::string& name = "corpus.h5") const { return folder_ / name; }

 private:
  fs::path folder_;
};

Corpus small_corpus(bool prior_values = false, bool end_of_text = false) {
  GincOptions options;
  options.entities = 3;
  options.properties = 4;
  options.symbols = 9;
  options.hmms = 4;
  options.prior_values = prior_values;
  options.end_of_text = end_of_text;
  options.train_documents = 2;
  options.train_length = 31;
  options.test_documents = 5;
  options.test_length = 7;
  options.seed = 3;
  return generate_corpus(options);
}

// The text of the Error that f throws; "" when it throws none.
std::string error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

void expect_contains(const std::string& text, const std::vector<std::string>& parts) {
  for (const std::string& part : parts) {
    EXPECT_NE(text.find(part), std::string::npos) << '"' << text << "\" lacks " << part;
  }
}

TEST_F(CorpusFile, ReadsWhatItWrote) {
  for (const bool prior_values : {false, true}) {
    for (const bool end_of_text : {false, true}) {
      const Corpus corpus = small_corpus(prior_values, end_of_text);
      save_corpus(path(), corpus);
      const Corpus loaded = load_corpus(path());
      EXPECT_EQ(loaded, corpus);
      EXPECT_EQ(hash_of(loaded), hash_of(corpus));
    }
  }
}

TEST_F(CorpusFile, HasTheStatedLayout) {
  save_corpus(path(), small_corpus());
  const H5Reader h5(path());
  EXPECT_EQ(h5.datasets(),
            (std::vector<std::string>{
                "hmm/emission", "hmm/entity_transition", "hmm/property_transition", "hmm/start",
                "test/concept", "test/entity", "test/property", "test/tokens", "train/concept",
                "train/entity", "train/property", "train/tokens"}));
  EXPECT_EQ(h5.info("train/tokens"), (H5Info{H5Type::u8, {2, 31}}));
  EXPECT_EQ(h5.info("test/concept"), (H5Info{H5Type::u8, {5}}));
  EXPECT_EQ(h5.info("hmm/start"), (H5Info{H5Type::f64, {2, 12}}));
  EXPECT_EQ(h5.info("hmm/property_transition"), (H5Info{H5Type::f64, {2, 4, 4}}));
  EXPECT_EQ(h5.info("hmm/entity_transition"), (H5Info{H5Type::f64, {3, 3}}));
  EXPECT_EQ(h5.info("hmm/emission"), (H5Info{H5Type::u8, {3, 4}}));
  EXPECT_EQ(h5.text_attribute("/", "format"), "ginc-corpus");
  EXPECT_EQ(h5.integer_attribute("/", "n_symbols"), 9);
  EXPECT_EQ(h5.integer_attribute("/", "seed"), 3);
}

TEST_F(CorpusFile, RefusesMissingForeignAndTruncatedFiles) {
  expect_contains(error_of([&] { load_corpus(path("none.h5")); }), {path("none.h5")});
  std::ofstream(path("text.h5")) << "not HDF5 at all, though long enough to look at";
  expect_contains(error_of([&] { load_corpus(path("text.h5")); }), {path("text.h5")});
  save_corpus(path(), small_corpus());
  const auto size = fs::file_size(path());
  for (const auto kept : {size - 1, size / 2, uintmax_t{100}, uintmax_t{0}}) {
    fs::copy_file(path(), path("cut.h5"), fs::copy_options::overwrite_existing);
    fs::resize_file(path("cut.h5"), kept);
    expect_contains(error_of([&] { load_corpus(path("cut.h5")); }), {path("cut.h5")});
  }
}

// Writes `corpus` but for what `skip` names; `instead` writes in its place.
void write_altered(const std::string& path, const Corpus& corpus, const std::string& skip,
                   const std::function<void(H5Writer&)>& instead,
                   const std::string& format = "ginc-corpus") {
  AtomicFile file(path);
  H5Writer h5(file);
  const auto write = [&](const std::string& name, const Shape& shape, const auto& values) {
    if (name != skip) h5.write(name, shape, values);
  };
  for (const bool train : {true, false}) {
    const Documents& documents = train ? corpus.train : corpus.test;
    const std::string group = train ? "train" : "test";
    const Shape shape{documents.count, documents.length};
    write(group + "/tokens", shape, documents.tokens);
    write(group + "/entity", shape, documents.entity);
    write(group + "/property", shape, documents.property);
    write(group + "/concept", {documents.count}, documents.concepts);
  }
  write("hmm/start", {2, 12}, corpus.hmm.start);
  write("hmm/property_transition", {2, 4, 4}, corpus.hmm.property_transition);
  write("hmm/entity_transition", {3, 3}, corpus.hmm.entity_transition);
  write("hmm/emission", {3, 4}, corpus.hmm.emission);
  h5.set_attribute("/", "format", format);
  h5.set_attribute("/", "n_symbols", 9);
  h5.set_attribute("/", "seed", 3);
  instead(h5);
  h5.close();
  file.commit();
}

TEST_F(CorpusFile, NamesTheDatasetThatIsMissingOrWronglyShaped) {
  const Corpus corpus = small_corpus();
  const std::vector<uint8_t> bytes(35);
  const std::vector<double> numbers(96, 0.5);
  const auto error = [&](const std::string& skip, const std::function<void(H5Writer&)>& instead,
                         const std::string& format = "ginc-corpus") {
    write_altered(path(), corpus, skip, instead, format);
    return error_of([&] { load_corpus(path()); });
  };
  const auto nothing = [](H5Writer&) {};
  EXPECT_EQ(error("", nothing), "");
  expect_contains(error("", nothing, "checkpoint"),
                  {path(), "format", "checkpoint", "ginc-corpus"});
  for (const std::string name : {"train/tokens", "test/concept", "hmm/start", "hmm/emission"}) {
    expect_contains(error(name, nothing), {path(), name});
  }
  expect_contains(error("test/entity",
                        [&](H5Writer& h5) {
                          h5.write("test/entity", {7, 5}, bytes);
                        }),
                  {path(), "test/entity", "[7, 5]", "[5, 7]"});
  expect_contains(error("test/tokens", [&](H5Writer& h5) { h5.write("test/tokens", {35}, bytes); }),
                  {path(), "test/tokens", "[35]", "[documents, length]"});
  expect_contains(error("hmm/start",
                        [&](H5Writer& h5) {
                          h5.write("hmm/start", {8, 12}, numbers);
                        }),
                  {path(), "hmm/property_transition", "[2, 4, 4]", "[8, 4, 4]"});
  expect_contains(error("hmm/entity_transition",
                        [&](H5Writer& h5) { h5.write("hmm/entity_transition", {96}, numbers); }),
                  {path(), "hmm/entity_transition", "[96]"});
  expect_contains(error("test/tokens",
                        [&](H5Writer& h5) {
                          h5.write("test/tokens", {5, 7}, std::vector<int32_t>(35));
                        }),
                  {path(), "test/tokens", "i32", "u8"});
}

TEST_F(CorpusFile, IsNotWrittenWhenTheCorpusIsInconsistentOrTheFolderMissing) {
  Corpus corpus = small_corpus();
  corpus.train.entity.pop_back();
  EXPECT_THROW(save_corpus(path(), corpus), Error);
  EXPECT_FALSE(fs::exists(path()));
  EXPECT_THROW(save_corpus(path("nowhere/corpus.h5"), small_corpus()), Error);
}

TEST(CorpusCheck, NamesWhatIsInconsistent) {
  const auto error = [](auto change, bool end_of_text = false) {
    Corpus corpus = small_corpus(false, end_of_text);
    change(corpus);
    return error_of([&] { check_corpus("corpus", corpus); });
  };
  EXPECT_EQ(error([](Corpus&) {}), "");
  expect_contains(error([](Corpus& c) { c.n_symbols = 300; }), {"n_symbols", "300"});
  expect_contains(error([](Corpus& c) { c.n_symbols = 2; }), {"emission", "expected less than 2"});
  expect_contains(error([](Corpus& c) { c.test.entity[4] = 3; }), {"test/entity", "got 3"});
  expect_contains(error([](Corpus& c) { c.train.property[4] = 9; }), {"train/property", "got 9"});
  expect_contains(error([](Corpus& c) { c.test.concepts[1] = 2; }), {"test/concept", "got 2"});
  expect_contains(error([](Corpus& c) { c.train.tokens[32] = c.train.tokens[32] == 1 ? 2 : 1; }),
                  {"train/tokens", "document 1, position 1"});
  expect_contains(error([](Corpus& c) { c.hmm.start[13] += 0.01; }), {"hmm/start", "row 1", "sum"});
  expect_contains(error([](Corpus& c) { c.hmm.entity_transition[0] = std::nan(""); }),
                  {"hmm/entity_transition", "probability"});
  expect_contains(error([](Corpus& c) { c.hmm.property_transition.resize(16); }),
                  {"hmm/property_transition", "16", "32"});
  // The end of text may stand last and nowhere else.
  EXPECT_EQ(error([](Corpus&) {}, true), "");
  expect_contains(error([](Corpus& c) { c.train.tokens[5] = 9; }, true),
                  {"train/tokens", "position 5"});
}

TEST(CorpusHash, ChangesWithEverythingInIt) {
  std::set<std::string> hashes{hash_of(small_corpus())};
  EXPECT_EQ(hashes.begin()->size(), 32u);
  EXPECT_EQ(hash_of(small_corpus()), *hashes.begin());
  const std::vector<std::function<void(Corpus&)>> changes{
      [](Corpus& c) { c.train.tokens[0] ^= 1; },
      [](Corpus& c) { c.train.entity.back() ^= 1; },
      [](Corpus& c) { c.test.property[3] ^= 1; },
      [](Corpus& c) { c.test.concepts[2] ^= 1; },
      [](Corpus& c) { std::swap(c.test.count, c.test.length); },
      [](Corpus& c) { c.hmm.start[3] += 1e-12; },
      [](Corpus& c) { c.hmm.property_transition[7] += 1e-12; },
      [](Corpus& c) { c.hmm.entity_transition[7] += 1e-12; },
      [](Corpus& c) { c.hmm.emission[5] ^= 1; },
      [](Corpus& c) { ++c.n_symbols; },
      [](Corpus& c) { ++c.seed; },
  };
  for (const auto& change : changes) {
    Corpus corpus = small_corpus();
    change(corpus);
    hashes.insert(hash_of(corpus));
  }
  EXPECT_EQ(hashes.size(), changes.size() + 1);
}

// Figures of an independent program on three corpora, which share their models and test
// documents.
TEST(ReferenceCorpus, HasTheReferenceFloors) {
  const char* data = std::getenv("OFFSHOOT_DATA");
  if (data == nullptr) GTEST_SKIP() << "OFFSHOOT_DATA names no folder with ginc/seed0..2.h5";
  std::set<std::string> hashes;
  for (int64_t seed = 0; seed < 3; ++seed) {
    const Corpus corpus = load_corpus(fmt::format("{}/ginc/seed{}.h5", data, seed));
    EXPECT_EQ(corpus.seed, seed);
    EXPECT_EQ(corpus.n_symbols, 50);
    const Floor floor = floor_of(corpus);
    EXPECT_NEAR(floor.exact, 1.331252, 1e-6);
    EXPECT_NEAR(floor.last[0], 2.810, 5e-4);
    EXPECT_NEAR(floor.last[1], 1.977, 5e-4);
    EXPECT_NEAR(floor.last[2], 1.521, 5e-4);
    hashes.insert(hash_of(corpus));
  }
  EXPECT_EQ(hashes.size(), 3u);
}

}  // namespace
}  // namespace offshoot
