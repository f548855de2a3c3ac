#include <fmt/format.h>
#include <fmt/ranges.h>

#include <regex>
#include <set>
#include <string_view>

#include "apps/check_step.h"
#include "text/chat_format.h"
#include "text/local_time.h"

namespace sluice::apps {
namespace {

struct Sample {
  std::string_view script;
  std::string_view text;
};

// In Unicode's composed form, without what normalising tokenizers are free to change.
constexpr Sample kSamples[] = {
    {"English", "The quick brown fox jumps over the lazy dog; it didn't even look back."},
    {"numbers", "In 1969, 3 of 10 paid $4.50 (12%), not 1,000,000."},
    {"code", "for (int i = 0; i < n; i++) { sum += a[i] * b[i]; }  // done"},
    {"lines", "first line\nsecond line\n\n\tindented\n"},
    {"French", "Déjà vu : où êtes-vous, cœur d'été ?"},
    {"German", "Größe, Übermut und Straße"},
    {"Turkish", "İstanbul'da ışıklı bir gece"},
    {"Vietnamese", "Tiếng Việt có sáu thanh điệu"},
    {"Greek", "Ο γρήγορος σκύλος"},
    {"Russian", "Быстрая лиса прыгает"},
    {"Hebrew", "שלום עולם"},
    {"Arabic", "مرحبا بالعالم"},
    {"Hindi", "नमस्ते दुनिया"},
    {"Thai", "สวัสดีชาวโลก"},
    {"Chinese", "敏捷的棕色狐狸跳过了懒狗。"},
    {"Japanese", "いろはにほへと、カタカナ"},
    {"Korean", "안녕하세요 세계"},
    {"symbols", "→ ∑ ≠ € 😀 👩🏽‍🚀"},
};

// Vocabularies are made by merging what often stands together: in English, some four bytes a token.
constexpr double kLeastBytesAToken = 2;
constexpr std::size_t kSmallVocabulary = 1000;  // has few words

constexpr Tokenizer::EncodeOptions kPlain{.add_special = false, .parse_special = false};
constexpr Tokenizer::EncodeOptions kAsWritten{.add_special = false, .parse_special = true};

/// What looks like a control token in a prompt.
std::set<std::string> control_texts(const std::string& prompt) {
  static const std::regex kControl(R"(<\|[^<>|\s]{1,40}\|?>|<[^<>|\s]{1,40}\|>|<｜[^<>\s]{1,80}｜>)"
                                   R"(|<(?:start|end)_of_turn>)");
  std::set<std::string> texts;
  for (std::sregex_iterator at(prompt.begin(), prompt.end(), kControl), end; at != end; ++at) {
    texts.insert(at->str());
  }
  return texts;
}

}  // namespace

const char* name_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::kOk:
      return "ok";
    case Verdict::kSkipped:
      return "skipped";
    case Verdict::kSuspicious:
      return "suspicious";
    case Verdict::kFailed:
      return "failed";
  }
  return "";
}

CheckStep check_tokenizer(const Tokenizer& tokenizer) {
  CheckStep step{.name = "tokenizer", .found = {}, .remedy = {}};
  std::vector<std::string> lost;
  for (const Sample& sample : kSamples) {
    const auto ids = tokenizer.encode(sample.text, kPlain);
    if (tokenizer.decode(ids) != sample.text) lost.emplace_back(sample.script);
  }
  const std::string_view english = kSamples[0].text;
  const double bytes_a_token = static_cast<double>(english.size()) /
                               static_cast<double>(tokenizer.encode(english, kPlain).size());
  step.details = {{"tokens", tokenizer.size()},
                  {"samples", std::size(kSamples)},
                  {"lost", lost},
                  {"bytes_a_token", bytes_a_token}};
  constexpr const char* kRemedy =
      "tokenizer.json (or the GGUF file's vocabulary) may be of another model or damaged: take it "
      "from the model's source, and report it if it stays so";
  if (lost.size() == std::size(kSamples) || (!lost.empty() && lost.front() == "English")) {
    step.verdict = Verdict::kFailed;
    step.found = fmt::format("{} of {} texts do not come back from their ids, English among them",
                             lost.size(), std::size(kSamples));
    step.remedy = kRemedy;
  } else if (bytes_a_token < kLeastBytesAToken && tokenizer.size() > kSmallVocabulary) {
    step.verdict = Verdict::kSuspicious;
    step.found = fmt::format(
        "an English text takes a token for {:.1f} bytes: merges may be missing", bytes_a_token);
    step.remedy = kRemedy;
  } else if (!lost.empty()) {
    step.verdict = Verdict::kSuspicious;
    step.found =
        fmt::format("these texts do not come back from their ids: {}", fmt::join(lost, ", "));
    step.remedy = "expect it of vocabularies without these scripts; else the tokenizer is misread";
  } else {
    step.found = fmt::format("{} texts come back from their ids; {:.1f} bytes of English a token",
                             std::size(kSamples), bytes_a_token);
  }
  return step;
}

CheckStep check_template(const Tokenizer& tokenizer) {
  CheckStep step{.name = "template", .found = {}, .remedy = {}};
  const std::string& source = tokenizer.data().chat_template;
  if (source.empty()) {
    step.verdict = Verdict::kSkipped;
    step.found = "there is none: fine for a base model; 'chat' needs --template FILE";
    return step;
  }
  const auto fail = [&](const std::string& what) {
    step.verdict = Verdict::kSuspicious;
    step.found = what;
    step.remedy =
        "the template may be of another model, or the vocabulary is: see 'chat --render', and give "
        "the right one with --template";
    return step;
  };
  const auto format = ChatFormat::create(source, tokenizer.data(), kTemplateLimits);
  if (!format.ok()) return fail(format.status().message());
  const std::tm now = local_time();
  const auto said = [](const char* role, const char* text) {
    return nlohmann::ordered_json{{"role", role}, {"content", text}};
  };
  const nlohmann::ordered_json messages = {said("user", "Hello"), said("assistant", "Hi"),
                                           said("user", "Bye")};
  const auto prompt =
      format->render({{"messages", messages}, {"add_generation_prompt", true}}, now);
  if (!prompt.ok()) return fail(prompt.status().message());
  if (prompt->find("Bye") == std::string::npos) return fail("it leaves out what the user says");

  std::vector<std::string> foreign;
  const std::set<std::string> controls = control_texts(*prompt);
  for (const std::string& text : controls) {
    if (tokenizer.encode(text, kAsWritten).size() != 1) foreign.push_back(text);
  }
  step.details = {{"control_tokens", controls}, {"foreign", foreign}, {"prompt", *prompt}};
  if (!foreign.empty()) {
    return fail(fmt::format("it writes {}, which the vocabulary has not as a token",
                            fmt::join(foreign, " ")));
  }
  const TokenizerData& data = tokenizer.data();
  if (data.add_bos && data.bos) {
    const auto ids = tokenizer.encode(*prompt, kAsWritten);
    if (ids.empty() || ids.front() != *data.bos) {
      return fail("its prompt does not begin with the token that texts of this model begin with, " +
                  special_token_text(data, *data.bos));
    }
  }
  const std::string end = format->turn_end(now);
  step.details["turn_end"] = end;
  step.found =
      fmt::format("renders; its {} control tokens are in the vocabulary; turns end with {}",
                  controls.size(), end.empty() ? "nothing" : end);
  return step;
}

}  // namespace sluice::apps
