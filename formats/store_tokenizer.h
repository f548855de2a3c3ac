#pragma once
// A tokenizer as the "tokenizer" of a store's index and back.

#include <nlohmann/json.hpp>

#include "base/tokenizer_data.h"
#include "formats/index_field.h"

namespace sluice {

nlohmann::json encode_tokenizer(const TokenizerData& tokenizer);
/// What is wrong is noted in the field's failure; the result is then of no use.
TokenizerData decode_tokenizer(const IndexField& field);

}  // namespace sluice
