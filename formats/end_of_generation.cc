#include "formats/end_of_generation.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace sluice {
namespace {

constexpr auto kEndsOfTurn = std::to_array<std::string_view>({
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|eot|>",
    "<|eom|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|end_of_turn|>",
    "<end_of_turn>",
    "<turn|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<EOT>",
    "<eos>",
    "[EOS]",
    "[e~[",
    "<｜end▁of▁sentence｜>",
});

}  // namespace

void complete_end_of_generation(TokenizerData& data) {
  std::vector<TokenId>& ends = data.end_of_generation;
  if (data.eos) ends.push_back(*data.eos);
  bool harmony = false;
  std::optional<TokenId> end_of_message;
  for (const AddedToken& token : data.added) {
    if (!token.special || std::ranges::find(kEndsOfTurn, token.text) == kEndsOfTurn.end()) continue;
    if (token.text == "<|return|>") harmony = true;
    if (token.text == "<|end|>") {
      end_of_message = token.id;
    } else {
      ends.push_back(token.id);
    }
  }
  // Where <|return|> exists, <|end|> closes one message of several in an answer.
  if (end_of_message && !harmony) ends.push_back(*end_of_message);
  const auto size = static_cast<TokenId>(data.tokens.size());
  if (size > 0) std::erase_if(ends, [&](TokenId id) { return id < 0 || id >= size; });
  std::ranges::sort(ends);
  ends.erase(std::unique(ends.begin(), ends.end()), ends.end());
}

}  // namespace sluice
