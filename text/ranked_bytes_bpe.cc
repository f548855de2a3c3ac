#include <array>
#include <string>

#include "text/piece_model.h"

namespace sluice {
namespace {

class RankedBytesBpe final : public PieceModel {
 public:
  explicit RankedBytesBpe(const Vocabulary& vocabulary) : vocabulary_(vocabulary) {}

  Status find_bytes() {
    for (unsigned byte = 0; byte < 256; ++byte) {
      const char text = static_cast<char>(byte);
      const auto id = vocabulary_.find(std::string_view(&text, 1));
      if (!id) {
        return Status(ErrorCode::kCorrupt,
                      "tokenizer: the byte " + std::to_string(byte) + " has no token");
      }
      byte_ids_[byte] = *id;
    }
    return {};
  }

  void encode(std::string_view piece, PieceScratch& scratch,
              std::vector<TokenId>& ids) const override {
    if (const auto id = find(piece)) {
      ids.push_back(*id);
      return;
    }
    PairMerging& merging = scratch.merging;
    merging.symbols().clear();
    for (const char c : piece) merging.append(byte_ids_[static_cast<unsigned char>(c)], 1);
    merging.run([&](const Symbol& left, const Symbol& right) {
      const auto id = find(piece.substr(left.begin, left.length + right.length));
      return id ? Merge{static_cast<std::uint32_t>(*id), *id} : Merge{};
    });
    for (const Symbol& symbol : merging.symbols()) {
      if (symbol.length > 0) ids.push_back(symbol.id);
    }
  }

 private:
  std::optional<TokenId> find(std::string_view text) const {
    return text.size() <= vocabulary_.longest() ? vocabulary_.find(text) : std::nullopt;
  }

  const Vocabulary& vocabulary_;
  std::array<TokenId, 256> byte_ids_{};
};

}  // namespace

Result<std::unique_ptr<PieceModel>> create_ranked_bytes_bpe(const Vocabulary& vocabulary) {
  auto model = std::make_unique<RankedBytesBpe>(vocabulary);
  SLUICE_TRY(model->find_bytes());
  return std::unique_ptr<PieceModel>(std::move(model));
}

}  // namespace sluice
