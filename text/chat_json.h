#pragma once
// Conversations as people and programs write them: JSON that means here what it means in Python.

#include <nlohmann/json.hpp>
#include <string_view>

#include "base/status.h"

namespace sluice {

/// kCorrupt: no JSON, integers beyond 64 bits, or more than 128 lists within lists.
Result<nlohmann::ordered_json> parse_chat_json(std::string_view text);

/// An object with "messages", each of which is an object with a "role", and with what else a
/// template reads. `text` has that (an object "variables" stands for what is in it), or a list of
/// messages alone. kCorrupt says what is wrong where.
Result<nlohmann::ordered_json> parse_conversation(std::string_view text);
/// The same of what is parsed already.
Result<nlohmann::ordered_json> conversation_of(nlohmann::ordered_json parsed);

}  // namespace sluice
