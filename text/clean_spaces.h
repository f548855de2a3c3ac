#pragma once
// Transformers' clean_up_tokenization_spaces: no space before a full stop or within "do n't".

#include <cstddef>
#include <string>
#include <string_view>

namespace sluice {

std::string clean_spaces(std::string text);

/// The length of a front of `text` whose cleaning does not depend on what follows it, nor what
/// follows on it.
std::size_t cleanable_length(std::string_view text);

}  // namespace sluice
