#include "tests/tools/hmm_run.h"

#include <sstream>

namespace offshoot::testing {
namespace {

std::vector<std::string> layer_names(GincTransformer& model) {
  std::vector<std::string> names;
  for (const MoeLayer* layer : model.moe_layers()) names.push_back(layer->name());
  return names;
}

}  // namespace

std::vector<std::string> quick_flags() {
  std::istringstream words(
      "--steps 40 --documents 3 --document-length 300 --test-sequences 8 --batch 4 --seq 16 "
      "--d-model 16 --heads 2 --hidden 8 --experts 3 --max-experts 12 --test-every 10 --warmup 5 "
      "--window 6 --phase-end 36 --alpha 0.3 --delta 0.1 --threads 2");
  return {std::istream_iterator<std::string>(words), {}};
}

HmmConfig quick_config(const std::vector<std::string>& more) {
  std::vector<std::string> words = quick_flags();
  words.insert(words.end(), more.begin(), more.end());
  std::vector<const char*> arguments{"offshoot-hmm"};
  for (const std::string& word : words) arguments.push_back(word.c_str());
  HmmConfig config;
  HmmOptions options(config);
  options.parse(static_cast<int>(arguments.size()), arguments.data());
  options.resolve();
  return config;
}

QuickRun::QuickRun(const HmmConfig& c)
    : config(c),
      data(load_data(config)),
      trainer(trainer_options(config, data.corpus.n_symbols)),
      batches(data.corpus.train, config.batch, config.seq, static_cast<uint64_t>(config.seed)),
      log(layer_names(trainer.model())) {}

void QuickRun::train(int64_t to_step) {
  while (trainer.steps_done() < to_step) log.add(trainer.step(batches.next()));
}

}  // namespace offshoot::testing
