#pragma once
// The steps of `sluice check`: each looks for one kind of mistake, and says what it means.

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "apps/weight_survey.h"
#include "engine/model.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace sluice::apps {

/// In the order of how bad they are.
enum class Verdict : std::uint8_t { kOk, kSkipped, kSuspicious, kFailed };
const char* name_of(Verdict verdict);

struct CheckStep {
  std::string name;
  Verdict verdict = Verdict::kOk;
  std::string found;   // a sentence
  std::string remedy;  // empty where nothing is wrong
  nlohmann::json details = nlohmann::json::object();
};

/// A conversation of a few words takes no more.
inline constexpr ChatTemplateLimits kTemplateLimits{.output_bytes = std::size_t{1} << 20,
                                                    .memory_bytes = std::size_t{4} << 20};

/// Every number is finite, no matrix is empty, and each has a size that a layer can work with and
/// that its siblings in other layers and experts have, too.
CheckStep check_tensors(const std::vector<SurveyedWeight>& weights, const Checkpoint& checkpoint);

/// Every block of a store's experts fits its checksum. An error is what ends the command, not what
/// is wrong with the file. REQUIRES: a store; nothing else reads.
Result<CheckStep> check_blocks(const Checkpoint& checkpoint, Runtime& runtime,
                               const SurveyProgress& progress);

/// Texts of many scripts come back from their ids.
CheckStep check_tokenizer(const Tokenizer& tokenizer);

/// The template renders, and the tokens that it writes are the vocabulary's.
CheckStep check_template(const Tokenizer& tokenizer);

/// Built-in texts are predicted far better than by chance, and a passage that was just read better
/// still. Errors are those of a pass.
Result<CheckStep> check_prediction(Model& model);

/// The same as far as it goes without a tokenizer.
Result<CheckStep> check_logits_alone(Model& model);

/// A greedy answer, for a person to read.
Result<CheckStep> check_answer(Model& model);

}  // namespace sluice::apps
