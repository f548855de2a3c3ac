#pragma once
// GPT-2's way to write any byte as a printable character, so that a vocabulary is a list of words:
// printable Latin-1 stands for itself, the other 68 bytes for U+0100 and up in order ("Ġ" is a
// space).

#include <string>
#include <string_view>

namespace sluice {

/// The character that stands for a byte, as UTF-8 of one or two bytes.
std::string_view letter_of_byte(unsigned char byte);

/// The bytes that `text` stands for. False, and `bytes` unspecified, where a character stands for
/// no byte.
bool bytes_of_letters(std::string_view text, std::string& bytes);

}  // namespace sluice
