#include "tools/hmm/corpus.h"

#include <algorithm>
#include <cmath>

#include "engine/error.h"
#include "engine/file.h"
#include "engine/hdf5_file.h"
#include "engine/xxh3.h"

namespace offshoot {
namespace {

constexpr std::string_view kWhere = "corpus";
constexpr std::string_view kFormat = "ginc-corpus";

size_t at(int64_t index) { return static_cast<size_t>(index); }

void check_size(std::string_view where, std::string_view name, size_t got, int64_t expected) {
  if (got != at(expected)) fail(where, "{}: got {} elements, expected {}", name, got, expected);
}

void check_below(std::string_view where, const std::string& name, std::span<const uint8_t> values,
                 int64_t bound) {
  for (const uint8_t value : values) {
    if (value >= bound) fail(where, "{}: got {}, expected less than {}", name, value, bound);
  }
}

// Rows of `length` probabilities.
void check_distributions(std::string_view where, std::string_view name,
                         std::span<const double> values, int64_t length) {
  for (size_t first = 0; first < values.size(); first += at(length)) {
    double sum = 0;
    for (const double p : values.subspan(first, at(length))) {
      if (!(p >= 0)) fail(where, "{}: got {}, expected a probability", name, p);
      sum += p;
    }
    if (!(std::abs(sum - 1) < 1e-6)) {
      fail(where, "{}: row {}: got sum {}, expected 1", name, first / at(length), sum);
    }
  }
}

void check_family(std::string_view where, const HmmFamily& hmm, int64_t n_symbols) {
  if (hmm.count < 1 || hmm.count > 256 || hmm.entities < 1 || hmm.entities > 256 ||
      hmm.properties < 1 || hmm.properties > 256) {
    fail(where, "hmm: got {} models of {} entities and {} properties, expected 1 to 256 of each",
         hmm.count, hmm.entities, hmm.properties);
  }
  check_size(where, "hmm/emission", hmm.emission.size(), hmm.states());
  check_size(where, "hmm/start", hmm.start.size(), hmm.count * hmm.states());
  check_size(where, "hmm/property_transition", hmm.property_transition.size(),
             hmm.count * hmm.properties * hmm.properties);
  check_size(where, "hmm/entity_transition", hmm.entity_transition.size(),
             (hmm.entities_differ ? hmm.count : 1) * hmm.entities * hmm.entities);
  check_below(where, "hmm/emission", hmm.emission, n_symbols);
  check_distributions(where, "hmm/start", hmm.start, hmm.states());
  check_distributions(where, "hmm/property_transition", hmm.property_transition, hmm.properties);
  check_distributions(where, "hmm/entity_transition", hmm.entity_transition, hmm.entities);
}

// Every token is the one that its labels emit, but for an end of text in the last place.
void check_tokens(std::string_view where, std::string_view group, const Documents& documents,
                  const Corpus& corpus) {
  for (int64_t i = 0; i < documents.count * documents.length; ++i) {
    const int64_t state =
        documents.entity[at(i)] * corpus.hmm.properties + documents.property[at(i)];
    const uint8_t token = documents.tokens[at(i)], expected = corpus.hmm.token(state);
    const bool last = i % documents.length == documents.length - 1;
    if (token != expected && !(last && token == corpus.n_symbols - 1)) {
      fail(where, "{}/tokens: document {}, position {}: got {}, expected {}, which its labels emit",
           group, i / documents.length, i % documents.length, token, expected);
    }
  }
}

void check_documents(std::string_view where, const std::string& group, const Documents& documents,
                     const Corpus& corpus) {
  if (documents.count < 1 || documents.length < 1) {
    fail(where, "{}/tokens: got shape [{}, {}], expected at least [1, 1]", group, documents.count,
         documents.length);
  }
  const int64_t size = documents.count * documents.length;
  check_size(where, group + "/tokens", documents.tokens.size(), size);
  check_size(where, group + "/entity", documents.entity.size(), size);
  check_size(where, group + "/property", documents.property.size(), size);
  check_size(where, group + "/concept", documents.concepts.size(), documents.count);
  check_below(where, group + "/tokens", documents.tokens, corpus.n_symbols);
  check_below(where, group + "/entity", documents.entity, corpus.hmm.entities);
  check_below(where, group + "/property", documents.property, corpus.hmm.properties);
  check_below(where, group + "/concept", documents.concepts, corpus.hmm.count);
  check_tokens(where, group, documents, corpus);
}

template <class T>
std::vector<T> slice_rows(const std::vector<T>& values, int64_t rows, int64_t first,
                          int64_t number) {
  const auto row = static_cast<int64_t>(values.size()) / rows;
  return {values.begin() + first * row, values.begin() + (first + number) * row};
}

}  // namespace

std::span<const uint8_t> Documents::tokens_of(int64_t document) const {
  return std::span(tokens).subspan(at(document * length), at(length));
}

std::span<const double> HmmFamily::start_of(int64_t hmm) const {
  return std::span(start).subspan(at(hmm * states()), at(states()));
}

std::span<const double> HmmFamily::property_row(int64_t hmm, int64_t from) const {
  return std::span(property_transition)
      .subspan(at((hmm * properties + from) * properties), at(properties));
}

std::span<const double> HmmFamily::entity_row(int64_t hmm, int64_t from) const {
  const int64_t matrix = entities_differ ? hmm : 0;
  return std::span(entity_transition)
      .subspan(at((matrix * entities + from) * entities), at(entities));
}

HmmFamily HmmFamily::slice(int64_t first, int64_t number) const {
  if (first < 0 || number < 1 || first + number > count) {
    fail("hmm family", "models: got [{}, {}), expected a range in [0, {})", first, first + number,
         count);
  }
  HmmFamily part = *this;
  part.count = number;
  part.start = slice_rows(start, count, first, number);
  part.property_transition = slice_rows(property_transition, count, first, number);
  if (entities_differ) {
    part.entity_transition = slice_rows(entity_transition, count, first, number);
  }
  return part;
}

void check_corpus(std::string_view where, const Corpus& corpus) {
  if (corpus.n_symbols < 1 || corpus.n_symbols > 256) {
    fail(where, "n_symbols: got {}, expected 1 to 256", corpus.n_symbols);
  }
  check_family(where, corpus.hmm, corpus.n_symbols);
  check_documents(where, "train", corpus.train, corpus);
  check_documents(where, "test", corpus.test, corpus);
}

namespace {

// A shape of as many dimensions as `expected` names, "[documents, length]".
Shape shape_of(const H5Reader& h5, std::string_view dataset, int rank, std::string_view expected) {
  const Shape shape = h5.info(dataset).shape;
  if (shape.rank() != rank) {
    fail(kWhere, "{}: {}: got shape {}, expected {}", h5.path(), dataset, to_string(shape),
         expected);
  }
  return shape;
}

Documents read_documents(const H5Reader& h5, const std::string& group) {
  const Shape shape = shape_of(h5, group + "/tokens", 2, "[documents, length]");
  return {.count = shape[0],
          .length = shape[1],
          .tokens = h5.read<uint8_t>(group + "/tokens", shape),
          .entity = h5.read<uint8_t>(group + "/entity", shape),
          .property = h5.read<uint8_t>(group + "/property", shape),
          .concepts = h5.read<uint8_t>(group + "/concept", {shape[0]})};
}

Shape entity_shape(const HmmFamily& hmm) {
  const Shape shape{hmm.entities, hmm.entities};
  return hmm.entities_differ ? shape.inserted(0, hmm.count) : shape;
}

HmmFamily read_family(const H5Reader& h5) {
  HmmFamily hmm;
  const Shape emission = shape_of(h5, "hmm/emission", 2, "[entity, property]");
  hmm.entities = emission[0];
  hmm.properties = emission[1];
  hmm.count = shape_of(h5, "hmm/start", 2, "[concept, state]")[0];
  hmm.entities_differ = h5.info("hmm/entity_transition").shape.rank() != 2;
  hmm.emission = h5.read<uint8_t>("hmm/emission", emission);
  hmm.start = h5.read<double>("hmm/start", {hmm.count, hmm.states()});
  hmm.property_transition =
      h5.read<double>("hmm/property_transition", {hmm.count, hmm.properties, hmm.properties});
  hmm.entity_transition = h5.read<double>("hmm/entity_transition", entity_shape(hmm));
  return hmm;
}

void write_documents(H5Writer& h5, const std::string& group, const Documents& documents) {
  const Shape shape{documents.count, documents.length};
  h5.write(group + "/tokens", shape, documents.tokens);
  h5.write(group + "/entity", shape, documents.entity);
  h5.write(group + "/property", shape, documents.property);
  h5.write(group + "/concept", {documents.count}, documents.concepts);
}

void write_family(H5Writer& h5, const HmmFamily& hmm) {
  h5.write("hmm/start", {hmm.count, hmm.states()}, hmm.start);
  h5.write("hmm/property_transition", {hmm.count, hmm.properties, hmm.properties},
           hmm.property_transition);
  h5.write("hmm/entity_transition", entity_shape(hmm), hmm.entity_transition);
  h5.write("hmm/emission", {hmm.entities, hmm.properties}, hmm.emission);
}

template <class T>
void hash(Xxh3Stream& stream, const std::vector<T>& values) {
  stream.update(std::as_bytes(std::span(values)));
}

void hash(Xxh3Stream& stream, const Documents& documents) {
  hash(stream, std::vector<int64_t>{documents.count, documents.length});
  hash(stream, documents.tokens);
  hash(stream, documents.entity);
  hash(stream, documents.property);
  hash(stream, documents.concepts);
}

}  // namespace

Corpus load_corpus(const std::string& path) {
  const H5Reader h5(path);
  if (!h5.has_attribute("/", "format")) {
    fail(kWhere, "{}: attribute format: got none, expected {}", path, kFormat);
  }
  if (const std::string format = h5.text_attribute("/", "format"); format != kFormat) {
    fail(kWhere, "{}: attribute format: got {}, expected {}", path, format, kFormat);
  }
  Corpus corpus{.train = read_documents(h5, "train"),
                .test = read_documents(h5, "test"),
                .hmm = read_family(h5),
                .n_symbols = h5.integer_attribute("/", "n_symbols"),
                .seed = h5.integer_attribute("/", "seed")};
  check_corpus(fmt::format("{} {}", kWhere, path), corpus);
  return corpus;
}

void save_corpus(const std::string& path, const Corpus& corpus) {
  check_corpus(kWhere, corpus);
  AtomicFile file(path);
  H5Writer h5(file);
  write_documents(h5, "train", corpus.train);
  write_documents(h5, "test", corpus.test);
  write_family(h5, corpus.hmm);
  h5.set_attribute("/", "format", kFormat);
  h5.set_attribute("/", "n_symbols", corpus.n_symbols);
  h5.set_attribute("/", "seed", corpus.seed);
  h5.close();
  file.commit();
}

std::string hash_of(const Corpus& corpus) {
  Xxh3Stream stream;
  const HmmFamily& hmm = corpus.hmm;
  hash(stream, corpus.train);
  hash(stream, corpus.test);
  hash(stream, std::vector<int64_t>{hmm.count, hmm.entities, hmm.properties, hmm.entities_differ,
                                    corpus.n_symbols, corpus.seed});
  hash(stream, hmm.start);
  hash(stream, hmm.property_transition);
  hash(stream, hmm.entity_transition);
  hash(stream, hmm.emission);
  return to_string(stream.digest());
}

}  // namespace offshoot
