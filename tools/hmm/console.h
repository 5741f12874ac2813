// What a run says on the terminal. Lines end in '\n' but for event_line().
#pragma once

#include <string>

#include "mass/controller.h"
#include "tools/hmm/data.h"
#include "tools/hmm/result.h"
#include "tools/support/terminal.h"

namespace offshoot {

// What is about to run: method, model, corpus.
std::string opening(const HmmConfig& config, const HmmData& data, int64_t parameters,
                    const Terminal& terminal);

// "step 275  + expert 9 from 3   K 10   p 0.0042  cosine +3.4e-04"; names the layer where
// there are several.
std::string event_line(const GrowthEvent& event, const std::vector<std::string>& layers,
                       const Terminal& terminal);

// The run beside the exact floor and the paper's figures; the in-context prompts.
std::string result_table(const RunResult& result, const Terminal& terminal);
std::string prompt_table(const std::vector<PromptScore>& scores, const Terminal& terminal);

}  // namespace offshoot
