#include "apps/answering.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <limits>

#include "apps/cancel.h"

namespace sluice::apps {
namespace {

constexpr double kMostTemperature = 100.0;

const char* name_of(StopReason reason) {
  switch (reason) {
    case StopReason::kEndOfText:
      return "end_of_text";
    case StopReason::kStopString:
      return "stop";
    case StopReason::kMaxTokens:
      return "length";
    case StopReason::kContextFull:
      return "context_full";
    case StopReason::kCancelled:
      return "cancelled";
  }
  return "";
}

}  // namespace

/// What the checkpoint recommends, where the user said nothing and it is what an option would
/// accept.
void AnswerOptions::take_recommended(const Checkpoint& checkpoint) {
  // A folder has a file for it, with these names; GGUF has them among its metadata.
  const std::filesystem::path path = common.model;
  std::error_code ignored;
  const bool folder = std::filesystem::is_directory(path, ignored);
  const std::string file = folder ? (path / "generation_config.json").string() : common.model;
  const std::size_t prefix = folder ? std::strlen("sampling.") : 0;
  const auto recommended = [&](std::string_view key, const char* option, double most, auto& value) {
    if (app_->count(option) != 0) return;
    const auto setting = checkpoint.real(key);
    if (setting.ok() && !setting->has_value()) return;
    if (setting.ok() && **setting >= 0 && **setting <= most) {  // not so for what is no number
      value = static_cast<std::remove_reference_t<decltype(value)>>(**setting);
      return;
    }
    const std::string wrong =
        setting.ok() ? fmt::format("is {}, outside 0 to {}", **setting, most) : "is not a number";
    spdlog::warn("{}: '{}' {}: {} is used instead ({} sets it)", file, key.substr(prefix), wrong,
                 value, option);
  };
  SamplerOptions& sampling = generate.sampling;
  recommended("sampling.temperature", "--temp", kMostTemperature, sampling.temperature);
  recommended("sampling.top_k", "--top-k", std::numeric_limits<std::uint32_t>::max(),
              sampling.top_k);
  recommended("sampling.top_p", "--top-p", 1.0, sampling.top_p);
}

Result<OpenedModel> AnswerOptions::open(const OutlineCheck& check) {
  const OutlineCheck reads_texts = [&](const ModelOutline& outline) {
    if (outline.tokenizer == nullptr) {
      return Status(ErrorCode::kUnsupported,
                    fmt::format("{}: a prompt cannot be read: {}; try 'logits' or 'bench'",
                                common.model, outline.no_tokenizer));
    }
    return check ? check(outline) : Status();
  };
  SLUICE_ASSIGN(OpenedModel opened, open_model(common, reads_texts));
  for (const std::string& warning : opened.model->tokenizer()->data().warnings) {
    spdlog::warn("{}", warning);
  }
  take_recommended(opened.model->checkpoint());
  warm_file_.emplace(warm_, common.model, opened.model->checkpoint());
  SLUICE_TRY(common.files.check_output(warm_file_->path()));
  common.files.add(warm_file_->path(), "what --warm names");
  warm_file_->read_into(*opened.model);
  generate.pass.cancel = &cancel_requested();
  return opened;
}

void AnswerOptions::finish(const Model& model) const {
  if (common.stats) print_statistics(model);
  warm_file_->write(model, common.stats);
}

void AnswerOptions::add_to(CLI::App& app) {
  app_ = &app;
  common.add_to(app, true);
  common.add_trace_to(app);
  common.add_width_log_to(app);
  common.add_approximations_to(app);
  WarmFile::add_to(app, warm_);
  app.add_option("-n,--n", generate.max_tokens, "Most tokens to write")
      ->check(kUnsigned32)
      ->capture_default_str();
  SamplerOptions& sampling = generate.sampling;
  sampling = {.temperature = 0.8f, .top_k = 40, .top_p = 0.95f, .min_p = 0.05f};
  app.add_option("--temp", sampling.temperature,
                 "Temperature; 0 is greedy (default: the model's, else 0.8)")
      ->check(CLI::Range(0.0, kMostTemperature) & kFinite);
  app.add_option("--top-k", sampling.top_k,
                 "Keep the k best; 0 keeps all (default: the model's, else 40)")
      ->check(kUnsigned32);
  app.add_option("--top-p", sampling.top_p,
                 "Keep the most probable up to this sum (default: the model's, else 0.95)")
      ->check(CLI::Range(0.0, 1.0) & kFinite);
  app.add_option("--min-p", sampling.min_p,
                 "Keep those at least this times as probable as the best")
      ->check(CLI::Range(0.0, 1.0) & kFinite)
      ->capture_default_str();
  app.add_option("--repeat-penalty", sampling.repeat_penalty, "Divide the logits of recent tokens")
      ->check(CLI::Range(0.01, 100.0) & kFinite)
      ->capture_default_str();
  app.add_option("--seed", sampling.seed, "Of the random draws; the same seed gives the same text")
      ->capture_default_str();
  app.add_option("--stop", generate.stop, "End before this text (may be given several times)")
      ->allow_extra_args(false)
      ->check([](const std::string& text) {
        return text.empty() ? std::string("an empty text would end at once") : std::string();
      });
  app.add_flag("--ctx-shift", generate.context_shift,
               "When the context is full, go on from its newer half");
  app.add_flag("--ignore-eos", generate.ignore_end, "Go on after the model ends its text");
}

nlohmann::json generation_json(const Generation& generation) {
  const auto rate = [](std::size_t tokens, double seconds) {
    return seconds > 0 ? static_cast<double>(tokens) / seconds : 0.0;
  };
  return {{"text", generation.text},
          {"tokens", generation.tokens},
          {"prompt_tokens", generation.prompt_tokens},
          {"finish_reason", name_of(generation.reason)},
          {"timings",
           {{"prefill_tok_s", rate(generation.prompt_tokens, generation.prefill_seconds)},
            {"decode_tok_s", rate(generation.decoded, generation.decode_seconds)},
            {"first_token_ms", generation.first_token_seconds * 1e3}}}};
}

std::string speed_of(const Generation& generation) {
  const double speed = generation.decode_seconds > 0
                           ? static_cast<double>(generation.decoded) / generation.decode_seconds
                           : 0.0;
  return fmt::format("{} tokens in {:.2f} s; then {:.1f} tokens/s", generation.prompt_tokens,
                     generation.prefill_seconds, speed);
}

void warn_if_full(const Generation& generation, const Model& model) {
  if (generation.reason != StopReason::kContextFull) return;
  spdlog::warn(
      "stopped: the context of {} positions is full; open a larger one (--ctx) or let it shift "
      "(--ctx-shift)",
      model.plan().context);
}

void write_text(std::string_view text) {
  // Not through stdio, to which a write that a signal interrupts is a broken stream.
  while (!text.empty()) {
    const ssize_t count = ::write(STDOUT_FILENO, text.data(), text.size());
    if (count >= 0) {
      text.remove_prefix(static_cast<std::size_t>(count));
    } else if (errno != EINTR) {
      break;
    } else if (cancel_requested().load()) {
      return;
    }
  }
  // What cannot be written stdio cannot write either, and remembers it.
  if (!text.empty()) std::fwrite(text.data(), 1, text.size(), stdout);
  if (std::fflush(stdout) != 0) request_cancel();
}

}  // namespace sluice::apps
