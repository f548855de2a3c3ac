#include "text/tokenizer.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "text/added_tokens.h"
#include "text/byte_alphabet.h"
#include "text/byte_fallback.h"
#include "text/clean_spaces.h"
#include "text/encoder.h"
#include "text/normalizer.h"
#include "text/piece_model.h"
#include "text/pre_tokenizers.h"
#include "text/splitter.h"
#include "text/vocabulary.h"

namespace sluice {
namespace {

std::string replace_marks(std::string_view text) {
  std::string result;
  for (std::size_t at = 0; at < text.size();) {
    if (text.substr(at).starts_with(kSpaceMark)) {
      result += ' ';
      at += kSpaceMark.size();
    } else {
      result += text[at++];
    }
  }
  return result;
}

class ModelTokenizer final : public Tokenizer {
 public:
  explicit ModelTokenizer(TokenizerData data) : data_(std::move(data)) {}

  Status prepare() {
    SLUICE_TRY(check());
    if (is_over_bytes() && !data_.pre_tokenizer.empty()) SLUICE_TRY(use_pre_tokenizer());
    SLUICE_ASSIGN(Normalizer normalizer, Normalizer::create(data_));
    normalizer_.emplace(std::move(normalizer));
    SLUICE_ASSIGN(splitter_, Splitter::create(data_.splits));
    collect_added_tokens();
    SLUICE_ASSIGN(model_, create_model());
    data_.merges = {};  // the model has them by id, in a third of the space
    for (NormalizeStep& step : data_.normalize) step.content = {};
    return {};
  }

  std::vector<TokenId> encode(std::string_view utf8, const EncodeOptions& options) const override {
    std::vector<TokenId> ids;
    Encoder(parts(), options).encode(utf8, ids);
    return ids;
  }
  std::unique_ptr<TokenStream> stream(const EncodeOptions& options) const override {
    return std::make_unique<Encoder>(parts(), options);
  }

  std::string piece(TokenId id, bool show_special) const override {
    if (id < 0 || static_cast<std::size_t>(id) >= size()) return {};
    const auto index = static_cast<std::size_t>(id);
    const std::string_view text = data_.tokens[index];
    if (special_[index] && !show_special) return {};
    if (written_out_[index]) return std::string(text);
    if (data_.model == TokenizerModel::kRankedBytes) return std::string(text);
    if (data_.model == TokenizerModel::kByteLevelBpe) {
      std::string bytes;
      return bytes_of_letters(text, bytes) ? bytes : std::string(text);
    }
    if (const auto byte = data_.byte_fallback ? byte_of_token(text) : std::nullopt) {
      return std::string(1, static_cast<char>(*byte));
    }
    return replace_marks(text);
  }

  std::string decode(const std::vector<TokenId>& ids, bool show_special) const override {
    std::string text;
    for (const TokenId id : ids) text += piece(id, show_special);
    if (strips_first_space() && text.starts_with(' ')) text.erase(0, 1);
    return data_.clean_spaces ? clean_spaces(std::move(text)) : text;
  }

  bool strips_first_space() const override { return !is_over_bytes() && data_.add_space_prefix; }
  std::size_t size() const override { return data_.tokens.size(); }
  bool ends_generation(TokenId id) const override {
    return std::find(data_.end_of_generation.begin(), data_.end_of_generation.end(), id) !=
           data_.end_of_generation.end();
  }
  const TokenizerData& data() const override { return data_; }

 private:
  EncoderParts parts() const {
    return {data_, *normalizer_, added_, added_normalized_, splitter_, *model_};
  }
  /// Any text is a text of bytes to the model, and spaces are not marked.
  bool is_over_bytes() const {
    return data_.model == TokenizerModel::kByteLevelBpe ||
           data_.model == TokenizerModel::kRankedBytes;
  }
  TokenKind kind(std::size_t id) const {
    return data_.kinds.empty() ? TokenKind::kNormal : data_.kinds[id];
  }

  Status check() const {
    const auto corrupt = [](const std::string& what) {
      return Status(ErrorCode::kCorrupt, "tokenizer: " + what);
    };
    const std::size_t count = data_.tokens.size();
    if (count == 0) return corrupt("the vocabulary is empty");
    if (count >= std::size_t{1} << 31) return corrupt("the vocabulary has more than 2^31 tokens");
    if (!data_.kinds.empty() && data_.kinds.size() != count) {
      return corrupt(std::to_string(data_.kinds.size()) + " kinds for " + std::to_string(count) +
                     " tokens");
    }
    const auto check_id = [&](std::optional<TokenId> id, const std::string& name) {
      const bool known = !id || (*id >= 0 && static_cast<std::size_t>(*id) < count);
      return known ? Status()
                   : corrupt(name + " " + std::to_string(*id) + " is not in the vocabulary");
    };
    SLUICE_TRY(check_id(data_.bos, "bos token"));
    SLUICE_TRY(check_id(data_.eos, "eos token"));
    SLUICE_TRY(check_id(data_.unknown, "unknown token"));
    SLUICE_TRY(check_id(data_.padding, "padding token"));
    for (const AddedToken& token : data_.added) {
      SLUICE_TRY(check_id(token.id, "added token \"" + token.text + "\""));
    }
    return {};
  }

  Status use_pre_tokenizer() {
    SLUICE_ASSIGN(PreTokenizer row, sluice::pre_tokenizer(data_.pre_tokenizer));
    data_.splits = std::move(row.splits);
    data_.ignore_merges |= row.ignore_merges;
    if (row.nfc) data_.normalize.push_back({NormalizeStep::Kind::kNfc});
    return {};
  }

  Result<std::unique_ptr<PieceModel>> create_model() {
    if (data_.model == TokenizerModel::kUnigram) return create_unigram(data_, of_the_model());
    vocabulary_.emplace(data_.tokens, mergeable());
    if (data_.model == TokenizerModel::kByteLevelBpe) {
      return create_byte_level_bpe(data_, *vocabulary_);
    }
    if (data_.model == TokenizerModel::kRankedBytes) return create_ranked_bytes_bpe(*vocabulary_);
    return create_sentencepiece_bpe(data_, *vocabulary_);
  }

  void collect_added_tokens() {
    special_.assign(size(), false);
    written_out_.assign(size(), false);
    for (const AddedToken& token : data_.added) {
      const auto id = static_cast<std::size_t>(token.id);
      written_out_[id] = true;
      special_[id] = token.special;
    }
    std::vector<AddedToken> raw, normalized;
    for (AddedToken token : data_.added) {
      if (token.normalized) {
        Normalizing progress(true);
        PatternScratch scratch;
        token.text = normalizer_->advance(token.text, true, progress, scratch);
        normalized.push_back(std::move(token));
      } else {
        raw.push_back(std::move(token));
      }
    }
    for (std::size_t id = 0; id < size(); ++id) {
      const TokenKind of = kind(id);
      if (written_out_[id] || (of != TokenKind::kControl && of != TokenKind::kUserDefined &&
                               of != TokenKind::kUnknown)) {
        continue;
      }
      AddedToken token;
      token.id = static_cast<TokenId>(id);
      token.text = data_.tokens[id];
      token.special = of != TokenKind::kUserDefined;
      special_[id] = token.special;
      // SentencePiece writes a user-defined token's spaces as "▁" and matches it in text written
      // so.
      token.normalized = !is_over_bytes() && token.text.find(kSpaceMark) != std::string::npos;
      written_out_[id] = !token.normalized;
      (token.normalized ? normalized : raw).push_back(std::move(token));
    }
    added_ = AddedTokens(std::move(raw));
    added_normalized_ = AddedTokens(std::move(normalized));
  }

  /// Which tokens merging may find. Where any text may be found, those with a meaning of their own
  /// must not.
  std::vector<bool> mergeable() const {
    const bool by_list = data_.model == TokenizerModel::kByteLevelBpe || data_.merges.size() > 0;
    return by_list ? std::vector<bool>() : of_the_model();
  }
  std::vector<bool> of_the_model() const {
    std::vector<bool> included;
    if (data_.kinds.empty()) return included;
    const bool unused = data_.model == TokenizerModel::kSentencePieceBpe;  // on the way to others
    const bool user_defined = data_.model != TokenizerModel::kRankedBytes;
    included.resize(size());
    for (std::size_t id = 0; id < size(); ++id) {
      const TokenKind of = kind(id);
      included[id] = of == TokenKind::kNormal || (user_defined && of == TokenKind::kUserDefined) ||
                     (unused && of == TokenKind::kUnused);
    }
    return included;
  }

  TokenizerData data_;
  std::optional<Normalizer> normalizer_;
  Splitter splitter_;
  AddedTokens added_;             // matched in the text as it comes
  AddedTokens added_normalized_;  // matched after normalising
  std::optional<Vocabulary> vocabulary_;
  std::unique_ptr<PieceModel> model_;
  std::vector<bool> special_;      // by id: hidden unless asked for
  std::vector<bool> written_out_;  // by id: stands for its own text
};

}  // namespace

Result<std::unique_ptr<Tokenizer>> Tokenizer::create(TokenizerData data) {
  if (data.model == TokenizerModel::kNone) {
    return Status(ErrorCode::kUnsupported,
                  data.unusable.empty() ? "the model carries no tokenizer" : data.unusable);
  }
  auto tokenizer = std::make_unique<ModelTokenizer>(std::move(data));
  SLUICE_TRY(tokenizer->prepare());
  return std::unique_ptr<Tokenizer>(std::move(tokenizer));
}

}  // namespace sluice
