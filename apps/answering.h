#pragma once
// What the verbs share that let a model write: options, the model opened for texts, the report.

#include <optional>
#include <string>
#include <string_view>

#include "apps/options.h"
#include "apps/report.h"
#include "apps/warm_file.h"
#include "engine/generator.h"

namespace sluice::apps {

struct AnswerOptions {
  CommonOptions common;
  GenerateOptions generate;

  /// Registers all of them, those of CommonOptions too.
  void add_to(CLI::App& app);
  /// Opens the model, which must be able to read texts, takes what it recommends for options that
  /// were not given, and lets it begin with what an earlier run had in memory.
  Result<OpenedModel> open(const OutlineCheck& check = {});
  /// Prints the model's statistics if asked to, and keeps what it has in memory for the next run.
  void finish(const Model& model) const;

 private:
  void take_recommended(const Checkpoint& checkpoint);

  CLI::App* app_ = nullptr;
  std::string warm_ = "auto";
  std::optional<WarmFile> warm_file_;  // of the opened model
};

/// {"text","tokens","prompt_tokens","finish_reason","timings"}
nlohmann::json generation_json(const Generation& generation);
/// "12 tokens in 0.10 s; then 45.1 tokens/s", of the prompt and then the answer.
std::string speed_of(const Generation& generation);
/// Says so where the answer ended with the context.
void warn_if_full(const Generation& generation, const Model& model);
/// Standard output, at once. Nobody to write for is a reason to stop; main reports it. What Ctrl-C
/// keeps from being written is dropped.
void write_text(std::string_view text);

}  // namespace sluice::apps
