#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <unordered_map>
#include <utility>

#include "text/byte_fallback.h"
#include "text/normalizer.h"
#include "text/piece_model.h"
#include "text/utf8.h"

namespace sluice {
namespace {

/// The characters of `piece`, in turn; of ill-formed text single bytes.
template <typename Take>
void for_each_character(std::string_view piece, const Take& take) {
  while (!piece.empty()) {
    const Utf8Front front = utf8_front(piece);
    const std::size_t length = front.state == Utf8Front::State::kWhole ? front.length : 1;
    take(piece.substr(0, length));
    piece.remove_prefix(length);
  }
}

constexpr TokenId kNoToken = -1;

/// Which characters stand before or after others within tokens: between two characters that no
/// token joins, nothing merges.
class Neighbours {
 public:
  explicit Neighbours(const StringTable& tokens) {
    for (std::size_t id = 0; id < tokens.size(); ++id) {
      std::optional<char32_t> previous;
      for_each_character(tokens[id], [&](std::string_view character) {
        const char32_t next = utf8_front(character).code_point;
        if (previous) {
          note(*previous, stands_before_);
          note(next, stands_after_);
        }
        previous = next;
      });
    }
  }

  bool may_join(char32_t left, char32_t right) const {
    return contains(stands_before_, left) && contains(stands_after_, right);
  }

 private:
  /// Of the basic plane; characters beyond it are taken to be in any.
  static constexpr char32_t kCharacters = 0x10000;
  using Set = std::vector<bool>;

  static void note(char32_t character, Set& set) {
    if (character < kCharacters) set[character] = true;
  }
  static bool contains(const Set& set, char32_t character) {
    return character >= kCharacters || set[character];
  }

  Set stands_before_ = Set(kCharacters);
  Set stands_after_ = Set(kCharacters);
};

/// Whether no token has "▁" after anything but "▁": then nothing merges across the start of a word,
/// and words can be merged one by one, which keeps the working memory in the cache.
bool words_stay_apart(const TokenizerData& data, const Vocabulary& vocabulary) {
  if (!vocabulary.find(kSpaceMark))
    return false;  // or else runs of unknown characters would span words
  for (std::size_t id = 0; id < data.tokens.size(); ++id) {
    const std::string_view text = data.tokens[id];
    for (std::size_t at = text.find(kSpaceMark, 1); at != text.npos;
         at = text.find(kSpaceMark, at + 1)) {
      if (!text.substr(0, at).ends_with(kSpaceMark)) return false;
    }
  }
  return true;
}

class SentencePieceBpe : public PieceModel {
 public:
  void encode(std::string_view piece, PieceScratch& scratch,
              std::vector<TokenId>& ids) const final {
    PairMerging& merging = scratch.merging;
    while (words_apart_ && !piece.empty()) {
      std::size_t end = piece.find(kSpaceMark, 1);
      while (end != piece.npos && piece.substr(0, end).ends_with(kSpaceMark)) {
        end = piece.find(kSpaceMark, end + 1);
      }
      if (end == piece.npos) break;
      encode_words(piece.substr(0, end), merging, ids);
      piece.remove_prefix(end);
    }
    encode_words(piece, merging, ids);
  }

  std::size_t settled(std::string_view piece) const final {
    std::size_t at = piece.size();
    for (std::size_t end = at; at > 0; end = at) {
      at = character_floor(piece, at - 1);
      const std::size_t before = at > 0 ? character_floor(piece, at - 1) : 0;
      if (at > 0 && stay_apart(piece.substr(before, at - before), piece.substr(at, end - at)))
        break;
    }
    return at;
  }

 protected:
  SentencePieceBpe(const TokenizerData& data, const Vocabulary& vocabulary)
      : vocabulary_(vocabulary),
        fallback_(data),
        neighbours_(data.tokens),
        words_apart_(!data.ignore_merges && words_stay_apart(data, vocabulary)),
        // A whole piece may be a token, and an unused token falls apart as it last came about.
        characters_apart_(!data.ignore_merges &&
                          std::find(data.kinds.begin(), data.kinds.end(), TokenKind::kUnused) ==
                              data.kinds.end()) {}

  /// One piece, or the part of it that is a word with the spaces before it.
  virtual void encode_words(std::string_view piece, PairMerging& merging,
                            std::vector<TokenId>& ids) const = 0;

  void load(std::string_view piece, PairMerging& merging) const {
    merging.symbols().clear();
    for_each_character(piece, [&](std::string_view character) {
      merging.append(vocabulary_.find(character).value_or(kNoToken), character.size());
    });
  }

  const Vocabulary& vocabulary_;
  const ByteFallback fallback_;

 private:
  /// Neighbouring characters that no merging brings together, in any text.
  bool stay_apart(std::string_view left, std::string_view right) const {
    if (words_apart_ && right == kSpaceMark && left != kSpaceMark) return true;
    // A run of unknown characters is one unknown token.
    const bool known = is_known(left) || is_known(right);
    return characters_apart_ && known &&
           !neighbours_.may_join(utf8_front(left).code_point, utf8_front(right).code_point);
  }
  bool is_known(std::string_view character) const {
    return vocabulary_.find(character).has_value() || fallback_.has_bytes(character);
  }

  Neighbours neighbours_;
  bool words_apart_;
  bool characters_apart_;
};

/// Merges from a list, as in tokenizer.json.
class RankedSentencePieceBpe final : public SentencePieceBpe {
 public:
  RankedSentencePieceBpe(const TokenizerData& data, const Vocabulary& vocabulary, MergeTable merges,
                         bool ignore_merges)
      : SentencePieceBpe(data, vocabulary),
        merges_(std::move(merges)),
        ignore_merges_(ignore_merges) {}

  void encode_words(std::string_view piece, PairMerging& merging,
                    std::vector<TokenId>& ids) const override {
    if (ignore_merges_ && piece.size() <= vocabulary_.longest()) {
      if (const auto id = vocabulary_.find(piece)) {
        ids.push_back(*id);
        return;
      }
    }
    load(piece, merging);
    merging.run(
        [&](const Symbol& left, const Symbol& right) { return merges_.find(left.id, right.id); });
    bool after_unknown = false;
    for (const Symbol& symbol : merging.symbols()) {
      if (symbol.length == 0) continue;
      if (symbol.id == kNoToken) {
        fallback_.emit(piece.substr(symbol.begin, symbol.length), after_unknown, ids);
      } else {
        ids.push_back(symbol.id);
        after_unknown = false;
      }
    }
  }

 private:
  MergeTable merges_;
  bool ignore_merges_;
};

/// Merges into whatever is a token, the best score first.
class ScoredSentencePieceBpe final : public SentencePieceBpe {
 public:
  ScoredSentencePieceBpe(const TokenizerData& data, const Vocabulary& vocabulary)
      : SentencePieceBpe(data, vocabulary), data_(data), ranks_(data.scores.size()) {
    std::vector<std::uint32_t> order(data.scores.size());
    std::iota(order.begin(), order.end(), 0u);
    std::stable_sort(order.begin(), order.end(),
                     [&](auto a, auto b) { return data.scores[a] > data.scores[b]; });
    std::uint32_t rank = 0;  // equal scores share one
    for (std::size_t i = 0; i < order.size(); ++i) {
      if (i > 0 && data.scores[order[i]] < data.scores[order[i - 1]]) ++rank;
      ranks_[order[i]] = rank;
    }
  }

  void encode_words(std::string_view piece, PairMerging& merging,
                    std::vector<TokenId>& ids) const override {
    load(piece, merging);
    Halves halves;
    merging.run([&](const Symbol& left, const Symbol& right) {
      const std::string_view text = piece.substr(left.begin, left.length + right.length);
      if (text.size() > vocabulary_.longest()) return Merge{};
      const auto id = vocabulary_.find(text);
      if (!id) return Merge{};
      if (is_unused(*id)) halves[*id] = left.length;
      return Merge{ranks_[static_cast<std::size_t>(*id)], *id};
    });
    bool after_unknown = false;
    for (const Symbol& symbol : merging.symbols()) {
      if (symbol.length == 0) continue;
      emit(piece.substr(symbol.begin, symbol.length), symbol.id, halves, after_unknown, ids);
    }
  }

 private:
  using Halves =
      std::unordered_map<TokenId, std::uint32_t>;  // unused token → bytes of its left half

  bool is_unused(TokenId id) const {
    return !data_.kinds.empty() && data_.kinds[static_cast<std::size_t>(id)] == TokenKind::kUnused;
  }

  /// An unused token may only be a step on the way to a longer one: left over, it falls apart
  /// again.
  void emit(std::string_view text, TokenId id, const Halves& halves, bool& after_unknown,
            std::vector<TokenId>& ids) const {
    if (id == kNoToken) {
      fallback_.emit(text, after_unknown, ids);
      return;
    }
    const auto half = is_unused(id) ? halves.find(id) : halves.end();
    if (half == halves.end()) {
      ids.push_back(id);
      after_unknown = false;
      return;
    }
    for (const std::string_view part : {text.substr(0, half->second), text.substr(half->second)}) {
      emit(part, vocabulary_.find(part).value_or(kNoToken), halves, after_unknown, ids);
    }
  }

  const TokenizerData& data_;
  std::vector<std::uint32_t> ranks_;  // by id
};

}  // namespace

Result<std::unique_ptr<PieceModel>> create_sentencepiece_bpe(const TokenizerData& data,
                                                             const Vocabulary& vocabulary) {
  if (data.merges.size() > 0) {
    SLUICE_ASSIGN(MergeTable merges, MergeTable::create(data.merges, vocabulary));
    return std::unique_ptr<PieceModel>(std::make_unique<RankedSentencePieceBpe>(
        data, vocabulary, std::move(merges), data.ignore_merges));
  }
  if (data.scores.size() != data.tokens.size()) {
    return Status(ErrorCode::kCorrupt, "tokenizer: " + std::to_string(data.scores.size()) +
                                           " scores for " + std::to_string(data.tokens.size()) +
                                           " tokens, and no merges");
  }
  if (std::any_of(data.scores.begin(), data.scores.end(), [](float s) { return std::isnan(s); })) {
    return Status(ErrorCode::kCorrupt, "tokenizer: a score is not a number");
  }
  return std::unique_ptr<PieceModel>(std::make_unique<ScoredSentencePieceBpe>(data, vocabulary));
}

}  // namespace sluice
