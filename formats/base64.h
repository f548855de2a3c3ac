#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace sluice {

/// The bytes that `text` stands for (RFC 4648, standard alphabet); nullopt where it is not base64:
/// other characters, a length that no bytes have, bits set past the last byte. The padding may be
/// left out.
std::optional<std::string> decode_base64(std::string_view text);

}  // namespace sluice
