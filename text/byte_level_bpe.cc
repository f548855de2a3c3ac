#include <array>
#include <optional>
#include <string>
#include <utility>

#include "text/byte_alphabet.h"
#include "text/piece_model.h"

namespace sluice {
namespace {

class ByteLevelBpe final : public PieceModel {
 public:
  ByteLevelBpe(const TokenizerData& data, const Vocabulary& vocabulary, MergeTable merges)
      : merges_(std::move(merges)),
        whole_pieces_(data.ignore_merges ? &vocabulary : nullptr),
        unknown_(data.unknown) {
    for (unsigned byte = 0; byte < 256; ++byte) {
      byte_ids_[byte] =
          vocabulary.find(letter_of_byte(static_cast<unsigned char>(byte))).value_or(-1);
    }
  }

  void encode(std::string_view piece, PieceScratch& scratch,
              std::vector<TokenId>& ids) const override {
    PairMerging& merging = scratch.merging;
    if (whole_pieces_ != nullptr) {
      if (const auto id = find_whole(piece)) {
        ids.push_back(*id);
        return;
      }
    }
    merging.symbols().clear();
    for (const char c : piece) {
      TokenId id = byte_ids_[static_cast<unsigned char>(c)];
      if (id < 0) {
        if (!unknown_) continue;  // the tokenizers package drops it too
        id = *unknown_;
      }
      merging.append(id, 1);
    }
    merging.run(
        [&](const Symbol& left, const Symbol& right) { return merges_.find(left.id, right.id); });
    for (const Symbol& symbol : merging.symbols()) {
      if (symbol.length > 0) ids.push_back(symbol.id);
    }
  }

 private:
  std::optional<TokenId> find_whole(std::string_view piece) const {
    if (piece.size() > whole_pieces_->longest()) return std::nullopt;
    std::string letters;
    for (const char c : piece) letters += letter_of_byte(static_cast<unsigned char>(c));
    return whole_pieces_->find(letters);
  }

  MergeTable merges_;
  const Vocabulary* whole_pieces_;
  std::optional<TokenId> unknown_;
  std::array<TokenId, 256> byte_ids_{};  // -1: the byte has no token
};

}  // namespace

Result<std::unique_ptr<PieceModel>> create_byte_level_bpe(const TokenizerData& data,
                                                          const Vocabulary& vocabulary) {
  SLUICE_ASSIGN(MergeTable merges, MergeTable::create(data.merges, vocabulary));
  return std::unique_ptr<PieceModel>(
      std::make_unique<ByteLevelBpe>(data, vocabulary, std::move(merges)));
}

}  // namespace sluice
