#pragma once
// The names of routed experts' matrices: "blk.N.ffn_{gate,up,down}_exps.weight", each stacked
// [experts, rows, columns].

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sluice {

inline constexpr std::array<std::string_view, 3> kExpertMatrices = {"gate", "up", "down"};

std::string expert_tensor_name(std::uint32_t layer, std::string_view matrix);
/// The layer that such a name tells; none for any other name.
std::optional<std::uint32_t> layer_of_experts(std::string_view name);

}  // namespace sluice
