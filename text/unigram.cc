#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "text/byte_fallback.h"
#include "text/piece_model.h"
#include "text/prefix_index.h"
#include "text/utf8.h"

namespace sluice {
namespace {

/// What a character that is no token costs more than the least likely token.
constexpr double kUnknownPenalty = 10;
constexpr TokenId kNoToken = -1;

class Unigram final : public PieceModel {
 public:
  Unigram(const TokenizerData& data, std::vector<TokenId> ids)
      : scores_(data.log_probabilities), fallback_(data), index_(data.tokens, ids) {
    double least = 0;
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const double score = score_of(ids[i]);
      least = i == 0 ? score : std::min(least, score);
    }
    unknown_score_ = least - kUnknownPenalty;
  }

  void encode(std::string_view piece, PieceScratch& scratch,
              std::vector<TokenId>& ids) const override {
    advance(piece, true, scratch, ids);
  }

  // Where no token of the text reaches across, all ways meet: what lies before is certain then, and
  // the lattice begins anew. The score goes on: sums of other terms would round otherwise, and
  // tokens in another order are as likely but for that.
  std::size_t advance(std::string_view text, bool final, PieceScratch& scratch,
                      std::vector<TokenId>& ids) const override {
    Lattice& lattice = scratch.lattice;
    std::size_t cut = 0;    // where all ways last met
    std::size_t reach = 0;  // where the longest token so far ends
    lattice.nodes.assign(1, {.score = lattice.score});
    for (std::size_t at = 0;;) {
      if (at >= reach && at > cut) {
        emit(text.substr(cut, at - cut), lattice, ids);
        cut = at;
      }
      if (at == text.size()) break;
      const Utf8Front front = utf8_front(text.substr(at));
      const std::size_t width = front.state == Utf8Front::State::kWhole ? front.length : 1;
      bool single = false;  // the character is a token
      const auto offer = [&](std::size_t length, TokenId id, double score) {
        const std::size_t node = at - cut;
        if (lattice.nodes.size() <= node + length) lattice.nodes.resize(node + length + 1);
        const double sum = lattice.nodes[node].score + score;
        Lattice::Node& end = lattice.nodes[node + length];
        if (end.length == 0 || sum > end.score) {
          end = {sum, id, static_cast<std::uint32_t>(length)};
        }
        reach = std::max(reach, at + length);
        single |= length == width;
      };
      const bool open = index_.for_each(text.substr(at), [&](std::size_t length, TokenId id) {
        offer(length, id, score_of(id));
      });
      if (open && !final) break;  // there may be longer tokens
      if (!single) offer(width, kNoToken, unknown_score_);
      at += width;
    }
    if (final) lattice.restart();
    return cut;
  }

 private:
  double score_of(TokenId id) const { return scores_[static_cast<std::size_t>(id)]; }

  /// The best way through all of `text`, which the lattice then forgets.
  void emit(std::string_view text, Lattice& lattice, std::vector<TokenId>& ids) const {
    std::vector<Lattice::Node>& way = lattice.way;
    way.clear();
    for (std::size_t end = text.size(); end > 0; end -= way.back().length) {
      way.push_back(lattice.nodes[end]);
    }
    std::size_t at = 0;
    for (auto node = way.rbegin(); node != way.rend(); ++node) {
      if (node->id == kNoToken) {
        fallback_.emit(text.substr(at, node->length), lattice.after_unknown, ids);
      } else {
        ids.push_back(node->id);
        lattice.after_unknown = false;
      }
      at += node->length;
    }
    lattice.score = way.front().score;
    lattice.nodes.assign(1, {.score = lattice.score});
  }

  const std::vector<double>& scores_;
  ByteFallback fallback_;
  PrefixIndex index_;
  double unknown_score_ = 0;
};

}  // namespace

Result<std::unique_ptr<PieceModel>> create_unigram(const TokenizerData& data,
                                                   const std::vector<bool>& included) {
  const std::size_t count = data.log_probabilities.size();
  if (count > data.tokens.size()) {
    return Status(ErrorCode::kCorrupt, "tokenizer: " + std::to_string(count) + " scores for " +
                                           std::to_string(data.tokens.size()) + " tokens");
  }
  std::vector<TokenId> ids;
  for (std::size_t id = 0; id < count; ++id) {
    if (!std::isfinite(data.log_probabilities[id])) {
      return Status(ErrorCode::kCorrupt,
                    "tokenizer: the score of token " + std::to_string(id) + " is not finite");
    }
    if ((included.empty() || included[id]) && !data.tokens[id].empty()) {
      ids.push_back(static_cast<TokenId>(id));
    }
  }
  return std::unique_ptr<PieceModel>(std::make_unique<Unigram>(data, std::move(ids)));
}

}  // namespace sluice
