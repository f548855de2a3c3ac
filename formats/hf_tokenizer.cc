#include "formats/hf_tokenizer.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <unordered_map>
#include <utility>

#include "formats/end_of_generation.h"
#include "formats/header_reader.h"
#include "formats/hf_tokenizer_steps.h"
#include "formats/json.h"
#include "formats/tiktoken.h"
#include "formats/tokenizer_json.h"

namespace sluice {
namespace {

using nlohmann::json;

constexpr std::uint64_t kLargestConfig = std::uint64_t{16} << 20;
constexpr std::uint64_t kLargestTemplate = std::uint64_t{1} << 20;

Status corrupt(std::string message) { return Status(ErrorCode::kCorrupt, std::move(message)); }

bool is_byte_token(std::string_view text) {
  const auto hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F'); };
  return text.size() == 6 && text.starts_with("<0x") && text.ends_with('>') && hex(text[3]) &&
         hex(text[4]);
}

Result<AddedToken> read_added_token(const json& node, std::optional<std::int64_t> id) {
  AddedToken token;
  if (!id) {
    SLUICE_ASSIGN(id, json_value<std::int64_t>(node, "id"));
  }
  SLUICE_ASSIGN(auto text, json_value<std::string>(node, "content"));
  if (!id || *id < 0 || *id > std::numeric_limits<TokenId>::max() || !text) {
    return corrupt("an added token without a valid id or 'content'");
  }
  token.id = static_cast<TokenId>(*id);
  token.text = std::move(*text);
  const std::pair<std::string_view, bool*> flags[] = {{"special", &token.special},
                                                      {"lstrip", &token.lstrip},
                                                      {"rstrip", &token.rstrip},
                                                      {"single_word", &token.single_word},
                                                      {"normalized", &token.normalized}};
  for (const auto& [key, flag] : flags) {
    SLUICE_ASSIGN(const auto value, json_value<bool>(node, key));
    *flag = value.value_or(false);
  }
  return token;
}

class TokenizerFolder {
 public:
  explicit TokenizerFolder(const std::string& folder) : folder_(folder) {}

  Result<TokenizerData> read(const json& config, const json& generation) {
    SLUICE_ASSIGN(const json tokenizer_config, read_optional("tokenizer_config.json"));
    if (exists("tokenizer.json")) {
      if (const Status status = read_tokenizer(tokenizer_config); !status.ok()) {
        if (status.code() != ErrorCode::kUnsupported) return status;
        data_ = TokenizerData();
        data_.unusable = status.message();
      }
    } else if (exists("tiktoken.model")) {
      SLUICE_TRY(read_tiktoken(tokenizer_config));
    } else if (exists("tokenizer.model") || exists("vocab.json")) {
      data_.unusable = "there is no tokenizer.json, only an older form of it";
    }
    if (const Status status = read_special_tokens(tokenizer_config); !status.ok()) {
      return status.with_context(path("tokenizer_config.json"));
    }
    for (const auto& [node, file] :
         {std::pair(&generation, "generation_config.json"), std::pair(&config, "config.json")}) {
      if (const Status status = read_ids(*node, file); !status.ok()) {
        return status.with_context(path(file));
      }
    }
    SLUICE_TRY(read_chat_template(tokenizer_config));
    complete_end_of_generation(data_);
    return std::move(data_);
  }

 private:
  std::string path(std::string_view name) const { return (folder_ / name).string(); }
  bool exists(std::string_view name) const {
    std::error_code ignored;
    return std::filesystem::exists(folder_ / name, ignored);
  }
  Result<json> read_optional(std::string_view name) const {
    if (!exists(name)) return json::object();
    return read_json_object(path(name), kLargestConfig);
  }

  Status read_tokenizer(const json& tokenizer_config) {
    const std::string file_path = path("tokenizer.json");
    SLUICE_ASSIGN(TokenizerJson file, read_tokenizer_json(file_path));
    const Status status = translate_tokenizer(file, tokenizer_config);
    const bool said = status.ok() || status.code() == ErrorCode::kUnsupported;
    return said ? status : status.with_context(file_path);
  }

  /// kUnsupported names what cannot be done, and says by itself where that stands.
  Status translate_tokenizer(TokenizerJson& file, const json& tokenizer_config) {
    const json* model = json_member(file.document, "model");
    if (model == nullptr) return corrupt("'model' is missing");
    SLUICE_ASSIGN(const auto type, json_value<std::string>(*model, "type"));
    const bool unigram = type == "Unigram";
    if (!unigram && type.value_or("BPE") != "BPE") {
      return Status(ErrorCode::kUnsupported, "tokenizer.json: model '" + *type +
                                                 "' is not supported, only BPE and Unigram are");
    }
    if (file.merges_ambiguous) {
      return Status(ErrorCode::kUnsupported,
                    "tokenizer.json: merges of texts that hold spaces are not supported");
    }
    if (file.scores.empty() == unigram) {
      return corrupt("'model.vocab' is not that of a " + type.value_or("BPE") + " model");
    }
    SLUICE_TRY(read_model(*model));
    SLUICE_TRY(read_added_tokens(file.document, tokenizer_config));
    data_.model = unigram ? TokenizerModel::kUnigram : TokenizerModel::kSentencePieceBpe;
    bool marks_spaces = false;
    SLUICE_TRY(read_normalizer(json_member(file.document, "normalizer"), data_, marks_spaces));
    SLUICE_TRY(
        read_pre_tokenizer(json_member(file.document, "pre_tokenizer"), data_, marks_spaces));
    const bool byte_level = data_.model == TokenizerModel::kByteLevelBpe;
    if (byte_level == marks_spaces) {
      return Status(ErrorCode::kUnsupported,
                    byte_level ? "tokenizer.json: spaces as ▁ before ByteLevel are not supported"
                               : "tokenizer.json: a vocabulary that is neither byte-level nor "
                                 "marks spaces as ▁ is not supported");
    }
    if (byte_level && unigram) {
      return Status(ErrorCode::kUnsupported,
                    "tokenizer.json: a byte-level Unigram model is not supported");
    }
    SLUICE_TRY(read_post_processor(json_member(file.document, "post_processor"), data_));
    SLUICE_TRY(arrange_vocabulary(file));
    data_.merges = std::move(file.merges);
    data_.log_probabilities = std::move(file.scores);
    if (unigram) {
      SLUICE_ASSIGN(const auto unknown, json_value<std::int64_t>(*model, "unk_id"));
      if (unknown && !valid(*unknown)) {
        return corrupt("'unk_id' " + std::to_string(*unknown) + " is not in the vocabulary");
      }
      if (unknown) data_.unknown = static_cast<TokenId>(*unknown);
    } else {
      SLUICE_ASSIGN(const auto unknown, json_value<std::string>(*model, "unk_token"));
      if (unknown) data_.unknown = find_token(*unknown);
    }
    set_kinds();
    return {};
  }

  /// tiktoken.model beside tokenizer_config.json. How text is split stands in the model's Python
  /// file only: it is known by the name of the class.
  Status read_tiktoken(const json& tokenizer_config) {
    auto name = json_value<std::string>(tokenizer_config, "tokenizer_class");
    if (!name.ok()) return name.status().with_context(path("tokenizer_config.json"));
    if (*name != "TikTokenTokenizer") {
      data_.unusable = "tiktoken.model: how a tokenizer of class '" + name->value_or("") +
                       "' splits text is not known";
      return {};
    }
    data_.model = TokenizerModel::kRankedBytes;
    data_.pre_tokenizer = "kimi-k2";
    SLUICE_ASSIGN(data_.tokens, read_tiktoken_table(path("tiktoken.model")));
    data_.kinds.assign(data_.tokens.size(), TokenKind::kNormal);
    for (std::size_t id = 0; id < data_.tokens.size(); ++id) {
      if (data_.tokens[id].empty()) data_.kinds[id] = TokenKind::kUnused;
    }
    Status status = read_added_tokens(json::object(), tokenizer_config);
    if (status.ok()) status = append_added_tokens();
    return status.ok() ? status : status.with_context(path("tokenizer_config.json"));
  }

  /// Added tokens stand behind the table, not within it.
  Status append_added_tokens() {
    std::ranges::sort(data_.added, {}, &AddedToken::id);
    const std::size_t limit = data_.tokens.size() + data_.added.size() + kMostIdGaps;
    for (const AddedToken& token : data_.added) {
      const auto id = static_cast<std::size_t>(token.id);
      if (id < data_.tokens.size()) {
        return corrupt("id " + std::to_string(id) + " belongs to two tokens");
      }
      if (id >= limit) {
        return corrupt("added token " + std::to_string(id) + " though there are only " +
                       std::to_string(limit - kMostIdGaps) + " tokens");
      }
      while (data_.tokens.size() < id) data_.tokens.push_back({});
      data_.kinds.resize(id, TokenKind::kUnused);
      data_.tokens.push_back(token.text);
      data_.kinds.push_back(TokenKind::kNormal);
    }
    set_kinds();
    return {};
  }

  Status read_model(const json& model) {
    SLUICE_ASSIGN(const auto ignore, json_value<bool>(model, "ignore_merges"));
    SLUICE_ASSIGN(const auto fallback, json_value<bool>(model, "byte_fallback"));
    data_.ignore_merges = ignore.value_or(false);
    data_.byte_fallback = fallback.value_or(false);
    for (const std::string_view key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      SLUICE_ASSIGN(const auto text, json_value<std::string>(model, key));
      if (text && !text->empty()) {
        return Status(ErrorCode::kUnsupported,
                      "tokenizer.json: '" + std::string(key) + "' is not supported");
      }
    }
    return {};
  }

  /// Those of tokenizer.json, and those that only tokenizer_config.json knows.
  Status read_added_tokens(const json& document, const json& tokenizer_config) {
    if (const json* list = json_member(document, "added_tokens"); list && list->is_array()) {
      for (const json& node : *list) {
        SLUICE_ASSIGN(AddedToken token, read_added_token(node, std::nullopt));
        data_.added.push_back(std::move(token));
      }
    }
    const json* decoder = json_member(tokenizer_config, "added_tokens_decoder");
    if (decoder == nullptr || !decoder->is_object()) return {};
    std::vector<TokenId> known;
    for (const AddedToken& token : data_.added) known.push_back(token.id);
    std::ranges::sort(known);
    for (const auto& [key, node] : decoder->items()) {
      char* end = nullptr;
      const std::int64_t id = std::strtoll(key.c_str(), &end, 10);
      if (key.empty() || *end != '\0') return corrupt("'" + key + "' is not the id of a token");
      SLUICE_ASSIGN(AddedToken token, read_added_token(node, id));
      if (!std::ranges::binary_search(known, token.id)) data_.added.push_back(std::move(token));
    }
    return {};
  }

  /// Puts the texts in the order of their ids, added tokens among them; ids that nobody uses get an
  /// empty text.
  Status arrange_vocabulary(const TokenizerJson& file) {
    const std::size_t entries = file.ids.size() + data_.added.size();
    if (file.ids.empty()) return corrupt("'model.vocab' is missing or empty");
    std::size_t size = 0;
    for (const std::uint32_t id : file.ids) size = std::max<std::size_t>(size, id + std::size_t{1});
    for (const AddedToken& token : data_.added) {
      size = std::max(size, static_cast<std::size_t>(token.id) + 1);
    }
    if (size > entries + kMostIdGaps) {
      return corrupt("ids reach " + std::to_string(size - 1) + " though there are only " +
                     std::to_string(entries) + " tokens");
    }
    constexpr auto kNobody = std::numeric_limits<std::uint32_t>::max();
    std::vector<std::uint32_t> entry_of(size, kNobody);
    for (std::size_t entry = 0; entry < file.ids.size(); ++entry) {
      std::uint32_t& place = entry_of[file.ids[entry]];
      if (place != kNobody) {
        return corrupt("id " + std::to_string(file.ids[entry]) + " belongs to two tokens");
      }
      place = static_cast<std::uint32_t>(entry);
    }
    std::unordered_map<TokenId, std::string_view> added;
    std::size_t added_bytes = 0;
    for (const AddedToken& token : data_.added) {
      added.emplace(token.id, token.text);
      added_bytes += token.text.size();
    }
    data_.kinds.assign(size, TokenKind::kNormal);
    data_.tokens.reserve(size, file.text_bytes + added_bytes);
    for (std::size_t id = 0; id < size; ++id) {
      if (entry_of[id] != kNobody) {
        data_.tokens.push_back(file.texts[entry_of[id]]);
      } else if (const auto found = added.find(static_cast<TokenId>(id)); found != added.end()) {
        data_.tokens.push_back(found->second);
      } else {
        data_.tokens.push_back({});
        data_.kinds[id] = TokenKind::kUnused;
      }
    }
    return {};
  }

  void set_kinds() {
    for (std::size_t id = 0; data_.byte_fallback && id < data_.tokens.size(); ++id) {
      if (is_byte_token(data_.tokens[id])) data_.kinds[id] = TokenKind::kByte;
    }
    for (const AddedToken& token : data_.added) {
      data_.kinds[static_cast<std::size_t>(token.id)] =
          token.special ? TokenKind::kControl : TokenKind::kUserDefined;
    }
    if (data_.unknown) data_.kinds[static_cast<std::size_t>(*data_.unknown)] = TokenKind::kUnknown;
  }

  std::optional<TokenId> find_token(std::string_view text) const {
    for (const AddedToken& token : data_.added) {
      if (token.text == text) return token.id;
    }
    for (std::size_t id = 0; id < data_.tokens.size(); ++id) {
      if (data_.tokens[id] == text) return static_cast<TokenId>(id);
    }
    return std::nullopt;
  }

  /// A text, or an object with "content".
  Result<std::optional<TokenId>> special_token(const json& node, std::string_view key) const {
    const json* member = json_member(node, key);
    if (member == nullptr) return std::optional<TokenId>();
    const bool object = member->is_object();
    SLUICE_ASSIGN(const auto text,
                  json_value<std::string>(object ? *member : node, object ? "content" : key));
    return text ? find_token(*text) : std::nullopt;
  }

  Status read_special_tokens(const json& tokenizer_config) {
    const std::pair<std::string_view, std::optional<TokenId>*> tokens[] = {
        {"bos_token", &data_.bos},
        {"eos_token", &data_.eos},
        {"unk_token", &data_.unknown},
        {"pad_token", &data_.padding}};
    for (const auto& [key, id] : tokens) {
      SLUICE_ASSIGN(const auto found, special_token(tokenizer_config, key));
      if (found) *id = found;
    }
    SLUICE_ASSIGN(const auto add_bos, json_value<bool>(tokenizer_config, "add_bos_token"));
    SLUICE_ASSIGN(const auto add_eos, json_value<bool>(tokenizer_config, "add_eos_token"));
    SLUICE_ASSIGN(const auto clean,
                  json_value<bool>(tokenizer_config, "clean_up_tokenization_spaces"));
    data_.clean_spaces = clean.value_or(false);
    data_.add_bos = add_bos.value_or(data_.add_bos) && data_.bos.has_value();
    data_.add_eos = add_eos.value_or(data_.add_eos) && data_.eos.has_value();
    return {};
  }

  Status read_ids(const json& node, std::string_view file) {
    SLUICE_ASSIGN(const auto ends, json_integers(node, "eos_token_id"));
    for (const std::int64_t id : ends) {
      if (id < 0 || id > std::numeric_limits<TokenId>::max()) {
        return corrupt("'eos_token_id' " + std::to_string(id) + " is out of range");
      }
      data_.end_of_generation.push_back(static_cast<TokenId>(id));
      if (!data_.eos && valid(id)) data_.eos = static_cast<TokenId>(id);
      if (data_.tokens.size() == 0 || valid(id)) continue;
      data_.warnings.push_back(path(file) + ": 'eos_token_id' " + std::to_string(id) +
                               " is outside the vocabulary of " +
                               std::to_string(data_.tokens.size()) + ": it ends no text");
    }
    SLUICE_ASSIGN(const auto begin, json_integers(node, "bos_token_id"));
    if (!data_.bos && !begin.empty() && valid(begin.front())) {
      data_.bos = static_cast<TokenId>(begin.front());
    }
    return {};
  }

  bool valid(std::int64_t id) const {
    return id >= 0 && static_cast<std::uint64_t>(id) < data_.tokens.size();
  }

  Status read_chat_template(const json& tokenizer_config) {
    if (exists("chat_template.jinja")) {
      std::size_t size = 0;
      SLUICE_ASSIGN(const AlignedBuffer text,
                    read_whole_file(path("chat_template.jinja"), kLargestTemplate, &size));
      data_.chat_template.assign(reinterpret_cast<const char*>(text.data()), size);
      return {};
    }
    const json* node = json_member(tokenizer_config, "chat_template");
    if (node == nullptr) return {};
    if (node->is_string()) data_.chat_template = node->get<std::string>();
    if (!node->is_array()) return {};
    // Several under names: the one called "default".
    for (const json& entry : *node) {
      const json* name = json_member(entry, "name");
      const json* text = json_member(entry, "template");
      if (name == nullptr || text == nullptr || !text->is_string()) continue;
      if (*name == "default") data_.chat_template = text->get<std::string>();
    }
    return {};
  }

  std::filesystem::path folder_;
  TokenizerData data_;
};

}  // namespace

Result<TokenizerData> read_hf_tokenizer(const std::string& folder, const json& config,
                                        const json& generation) {
  return TokenizerFolder(folder).read(config, generation);
}

}  // namespace sluice
