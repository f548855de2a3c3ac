#pragma once
// Tensor names in which GGUF files differ: old ones, ones that mean different things in different
// architectures, and what a text model does without.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sluice {

struct GgufName {
  std::string name;                     // empty: nothing that inference needs
  std::optional<std::uint64_t> expert;  // `name` is the stack of all experts, this is one of them
};

/// The name under which the rest of Sluice knows the tensor.
GgufName translate_gguf_name(std::string_view name, std::string_view architecture);

}  // namespace sluice
