#pragma once
// How Hugging Face checkpoints call their tensors, and what GGUF, and so the rest of Sluice, calls
// the same.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sluice {

/// Where a tensor of a Hugging Face checkpoint belongs.
struct TranslatedName {
  std::string name;                     // empty: nothing that inference needs
  std::optional<std::uint64_t> expert;  // `name` is the stack of all experts, this is one of them
};

/// "model.layers.3.mlp.experts.7.up_proj.weight", or the same with a prefix of a multimodal model →
/// "blk.3.ffn_up_exps.weight", 7. `architecture` is GGUF's name, for the rows that hold for one
/// only. nullopt where no row fits.
std::optional<TranslatedName> translate_tensor_name(std::string_view hf_name,
                                                    std::string_view architecture);

}  // namespace sluice
