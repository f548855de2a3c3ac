#pragma once
// Walking UTF-8. Well-formed means Unicode's table 3-7: no overlong forms, surrogates or code
// points past U+10FFFF.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace sluice {

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD

/// What stands at the front of some bytes.
struct Utf8Front {
  enum class State : std::uint8_t {
    kWhole,       // `length` bytes are one character
    kIncomplete,  // the bytes end within a character whose first `length` bytes are all there is
    kIllFormed,   // `length` bytes, at least one, cannot begin any character
  };
  State state = State::kIllFormed;
  std::uint8_t length = 0;
  char32_t code_point = 0;  // of a whole character
};

/// REQUIRES: bytes is not empty. An ill-formed front is the longest that one U+FFFD stands for by
/// Unicode's recommendation ("maximal subpart"), as other decoders have it.
Utf8Front utf8_front(std::string_view bytes);

/// Bytes from the front that are all well-formed, or all ill-formed (an unfinished end is
/// ill-formed).
struct Utf8Run {
  std::size_t length = 0;
  bool well_formed = true;
};
/// REQUIRES: bytes is not empty.
Utf8Run utf8_run(std::string_view bytes);

/// The last position up to `at` that is not within a character; a character that the end of the
/// text may have cut counts. REQUIRES: at <= text.size().
std::size_t character_floor(std::string_view text, std::size_t at);

/// REQUIRES: code_point is a Unicode scalar value.
void append_utf8(std::string& text, char32_t code_point);

/// The bytes of a character by its first byte. REQUIRES: well-formed text.
inline std::size_t utf8_length(char first) {
  const auto byte = static_cast<unsigned char>(first);
  return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

}  // namespace sluice
