#include "formats/hf_tokenizer_steps.h"

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "formats/base64.h"
#include "formats/json.h"

namespace sluice {
namespace {

using nlohmann::json;

constexpr std::string_view kSpaceMark = "\xe2\x96\x81";  // "▁"

// What the tokenizers package's named pre-tokenizers cut at.
constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view kWhiteSpace = R"(\s+)";
constexpr std::string_view kWhiteSpaceBeforeMark = R"(\s+(?=▁))";
constexpr std::string_view kPunctuation = R"([\p{P}!-/:-@\[-`{-~])";

Status unsupported(std::string_view part, std::string_view what) {
  std::string message = "tokenizer.json: ";
  message.append(part).append(" '").append(what).append("' is not supported");
  return Status(ErrorCode::kUnsupported, std::move(message));
}

Result<std::string> type_of(const json& node) {
  SLUICE_ASSIGN(auto type, json_value<std::string>(node, "type"));
  if (!type) return Status(ErrorCode::kCorrupt, "a step without 'type'");
  return std::move(*type);
}

/// Calls `read` for each member of a "Sequence", whose list stands under `key`.
template <typename Read>
Status for_each_step(const json& node, std::string_view key, Read read) {
  const json* list = json_member(node, key);
  if (list == nullptr || !list->is_array()) {
    return Status(ErrorCode::kCorrupt, "a Sequence without '" + std::string(key) + "'");
  }
  for (const json& step : *list) SLUICE_TRY(read(&step));
  return {};
}

struct Pattern {
  std::string text;
  bool literal = false;
};

/// {"Regex": "…"} or {"String": "…"}.
Result<Pattern> read_pattern(const json& node) {
  const json* pattern = json_member(node, "pattern");
  if (pattern != nullptr && pattern->is_string()) return Pattern{pattern->get<std::string>(), true};
  if (pattern != nullptr) {
    SLUICE_ASSIGN(auto regex, json_value<std::string>(*pattern, "Regex"));
    if (regex) return Pattern{std::move(*regex), false};
    SLUICE_ASSIGN(auto text, json_value<std::string>(*pattern, "String"));
    if (text) return Pattern{std::move(*text), true};
  }
  return Status(ErrorCode::kCorrupt, "a step without 'pattern'");
}

Result<SplitStep::Behaviour> read_behaviour(const json& node) {
  using Behaviour = SplitStep::Behaviour;
  constexpr auto kNames = std::to_array<std::pair<std::string_view, Behaviour>>({
      {"Isolated", Behaviour::kIsolated},
      {"Removed", Behaviour::kRemoved},
      {"MergedWithPrevious", Behaviour::kMergedWithPrevious},
      {"MergedWithNext", Behaviour::kMergedWithNext},
      {"Contiguous", Behaviour::kContiguous},
  });
  SLUICE_ASSIGN(const auto name, json_value<std::string>(node, "behavior"));
  if (!name) return Behaviour::kIsolated;
  for (const auto& [known, behaviour] : kNames) {
    if (known == *name) return behaviour;
  }
  return unsupported("split behaviour", *name);
}

using Kind = NormalizeStep::Kind;

void add_replace(Pattern pattern, std::string content, TokenizerData& data) {
  data.normalize.push_back({.kind = Kind::kReplace,
                            .pattern = std::move(pattern.text),
                            .literal = pattern.literal,
                            .content = std::move(content)});
}

std::optional<Kind> normal_form(std::string_view type) {
  if (type == "NFC") return Kind::kNfc;
  if (type == "NFD") return Kind::kNfd;
  if (type == "NFKC") return Kind::kNfkc;
  if (type == "NFKD") return Kind::kNfkd;
  return std::nullopt;
}

/// What marking spaces means is left to the model, unless another step comes after it.
Status read_replace(const json& node, TokenizerData& data, bool& marks_spaces) {
  SLUICE_ASSIGN(Pattern pattern, read_pattern(node));
  SLUICE_ASSIGN(auto content, json_value<std::string>(node, "content"));
  if (!content) return Status(ErrorCode::kCorrupt, "a Replace without 'content'");
  if (pattern.literal && pattern.text == " " && *content == kSpaceMark) {
    marks_spaces = true;
    return {};
  }
  add_replace(std::move(pattern), *std::move(content), data);
  return {};
}

Status read_strip(const json& node, TokenizerData& data) {
  SLUICE_ASSIGN(const auto left, json_value<bool>(node, "strip_left"));
  SLUICE_ASSIGN(const auto right, json_value<bool>(node, "strip_right"));
  data.normalize.push_back(
      {.kind = Kind::kStrip, .left = left.value_or(false), .right = right.value_or(false)});
  return {};
}

Status read_character_map(const json& node, TokenizerData& data) {
  SLUICE_ASSIGN(const auto text, json_value<std::string>(node, "precompiled_charsmap"));
  if (!text || text->empty()) return {};
  auto map = decode_base64(*text);
  if (!map) return Status(ErrorCode::kCorrupt, "'precompiled_charsmap' is not base64");
  data.normalize.push_back(
      {.kind = Kind::kCharacterMap, .content = *std::move(map), .by_cluster = true});
  return {};
}

Status read_split(const json& node, TokenizerData& data) {
  SplitStep step;
  SLUICE_ASSIGN(Pattern pattern, read_pattern(node));
  step.pattern = std::move(pattern.text);
  step.literal = pattern.literal;
  SLUICE_ASSIGN(step.behaviour, read_behaviour(node));
  SLUICE_ASSIGN(const auto invert, json_value<bool>(node, "invert"));
  step.invert = invert.value_or(false);
  data.splits.push_back(std::move(step));
  return {};
}

Status read_byte_level(const json& node, TokenizerData& data) {
  data.model = TokenizerModel::kByteLevelBpe;
  SLUICE_ASSIGN(const auto prefix, json_value<bool>(node, "add_prefix_space"));
  if (prefix.value_or(true)) {
    data.add_space_prefix = true;
    data.space_prefix_unless_there = true;
  }
  SLUICE_ASSIGN(const auto regex, json_value<bool>(node, "use_regex"));
  if (regex.value_or(true)) data.splits.push_back({std::string(kGpt2Pattern)});
  return {};
}

/// The step before was WhitespaceSplit: every word gets a "▁" that has none. The same as one space
/// between words, none around them, and Metaspace over all.
void take_words(TokenizerData& data) {
  data.splits.clear();
  add_replace({std::string(kWhiteSpaceBeforeMark)}, "", data);
  add_replace({std::string(kWhiteSpace)}, " ", data);
  data.normalize.push_back({.kind = Kind::kStrip, .left = true, .right = true});
}

Status read_metaspace(const json& node, TokenizerData& data) {
  SLUICE_ASSIGN(const auto mark, json_value<std::string>(node, "replacement"));
  if (mark && *mark != kSpaceMark) return unsupported("Metaspace replacement", *mark);
  SLUICE_ASSIGN(const auto old_prefix, json_value<bool>(node, "add_prefix_space"));
  SLUICE_ASSIGN(const auto scheme, json_value<std::string>(node, "prepend_scheme"));
  const std::string prepend = scheme.value_or(old_prefix.value_or(true) ? "always" : "never");
  if (prepend != "always" && prepend != "first" && prepend != "never") {
    return unsupported("Metaspace scheme", prepend);
  }
  if (prepend != "never") {
    data.add_space_prefix = true;
    data.space_prefix_unless_there = true;
    data.space_prefix_once = prepend == "first";
  }
  if (!data.splits.empty()) {
    const bool words = data.splits.size() == 1 && data.splits.front().pattern == kWhiteSpace;
    if (!words || prepend != "always")
      return unsupported("pre_tokenizer", "Metaspace after others");
    take_words(data);
  }
  SLUICE_ASSIGN(const auto split, json_value<bool>(node, "split"));
  if (split.value_or(true)) {
    SplitStep step{std::string(kSpaceMark), true, false, SplitStep::Behaviour::kMergedWithNext};
    data.splits.push_back(std::move(step));
  }
  return {};
}

Status read_digits(const json& node, TokenizerData& data) {
  SLUICE_ASSIGN(const auto individual, json_value<bool>(node, "individual_digits"));
  data.splits.push_back({individual.value_or(false) ? R"(\p{N})" : R"(\p{N}+)"});
  return {};
}

Status read_punctuation(const json& node, TokenizerData& data) {
  SplitStep step{std::string(kPunctuation)};
  SLUICE_ASSIGN(step.behaviour, read_behaviour(node));
  data.splits.push_back(std::move(step));
  return {};
}

/// {"SpecialToken": {"id": "<s>"}} → the id that "special_tokens" gives it.
Result<TokenId> special_token_id(const json& node, const std::string& name) {
  if (const json* table = json_member(node, "special_tokens")) {
    if (const json* entry = json_member(*table, name)) {
      SLUICE_ASSIGN(const auto ids, json_integers(*entry, "ids"));
      if (ids.size() == 1 && ids[0] >= 0 && ids[0] <= INT32_MAX)
        return static_cast<TokenId>(ids[0]);
    }
  }
  return Status(ErrorCode::kCorrupt, "the template's token '" + name + "' has no id");
}

Status read_template(const json& node, TokenizerData& data) {
  const json* pieces = json_member(node, "single");
  if (pieces == nullptr || !pieces->is_array()) {
    return Status(ErrorCode::kCorrupt, "a TemplateProcessing without 'single'");
  }
  bool text_seen = false;
  for (const json& piece : *pieces) {
    if (json_member(piece, "Sequence") != nullptr) {
      text_seen = true;
      continue;
    }
    const json* special = json_member(piece, "SpecialToken");
    if (special == nullptr) return Status(ErrorCode::kCorrupt, "a template piece of no kind");
    SLUICE_ASSIGN(const auto name, json_value<std::string>(*special, "id"));
    SLUICE_ASSIGN(const TokenId id, special_token_id(node, name.value_or("")));
    bool& adds = text_seen ? data.add_eos : data.add_bos;
    if (adds) return unsupported("template", "two special tokens on one side of the text");
    adds = true;
    (text_seen ? data.eos : data.bos) = id;
  }
  return {};
}

}  // namespace

Status read_normalizer(const json* node, TokenizerData& data, bool& marks_spaces) {
  if (node == nullptr || node->is_null()) return {};
  SLUICE_ASSIGN(const std::string kind, type_of(*node));
  const std::string_view type = kind;
  if (type == "Sequence") {
    return for_each_step(*node, "normalizers", [&](const json* step) {
      return read_normalizer(step, data, marks_spaces);
    });
  }
  if (marks_spaces && type != "Prepend") return unsupported("normalizer", kind + " after ▁");
  if (const auto form = normal_form(type)) {
    data.normalize.push_back({.kind = *form});
    return {};
  }
  if (type == "Prepend") {
    SLUICE_ASSIGN(const auto text, json_value<std::string>(*node, "prepend"));
    if (text != kSpaceMark) return unsupported("normalizer", "Prepend of another text than ▁");
    data.add_space_prefix = true;
    return {};
  }
  if (type == "Replace") return read_replace(*node, data, marks_spaces);
  if (type == "Strip") return read_strip(*node, data);
  if (type == "Precompiled") return read_character_map(*node, data);
  return unsupported("normalizer", type);
}

Status read_pre_tokenizer(const json* node, TokenizerData& data, bool& marks_spaces) {
  if (node == nullptr || node->is_null()) return {};
  SLUICE_ASSIGN(const std::string type, type_of(*node));
  if (type == "Sequence") {
    return for_each_step(*node, "pretokenizers", [&](const json* step) {
      return read_pre_tokenizer(step, data, marks_spaces);
    });
  }
  if (type == "Split") return read_split(*node, data);
  if (type == "ByteLevel") return read_byte_level(*node, data);
  if (type == "Metaspace") {
    marks_spaces = true;
    return read_metaspace(*node, data);
  }
  if (type == "Digits") return read_digits(*node, data);
  if (type == "Punctuation") return read_punctuation(*node, data);
  if (type == "WhitespaceSplit") {
    data.splits.push_back({std::string(kWhiteSpace), false, false, SplitStep::Behaviour::kRemoved});
    return {};
  }
  if (type == "Whitespace") {
    data.splits.push_back({R"(\w+|[^\w\s]+)", false, true, SplitStep::Behaviour::kRemoved});
    return {};
  }
  return unsupported("pre_tokenizer", type);
}

Status read_post_processor(const json* node, TokenizerData& data) {
  if (node == nullptr || node->is_null()) return {};
  SLUICE_ASSIGN(const std::string type, type_of(*node));
  if (type == "Sequence") {
    return for_each_step(*node, "processors",
                         [&](const json* step) { return read_post_processor(step, data); });
  }
  if (type == "ByteLevel") return {};  // trims offsets, which nobody asks for
  if (type == "TemplateProcessing") return read_template(*node, data);
  return unsupported("post_processor", type);
}

}  // namespace sluice
