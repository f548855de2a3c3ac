#pragma once
// What Python's str knows about characters: templates count, cut, fold and strip by code points.
// All texts here are well-formed UTF-8; whoever brings a text in has checked it.

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::jinja {

/// The first place in `text` that is no well-formed UTF-8, if there is one.
std::optional<std::size_t> find_ill_formed(std::string_view text);

struct CodePoint {
  char32_t value = 0;
  std::size_t length = 1;  // bytes
};
/// The character that begins at byte `offset`. REQUIRES: offset < text.size().
CodePoint code_point_at(std::string_view text, std::size_t offset);
/// The character that ends before byte `end`. REQUIRES: 0 < end <= text.size().
CodePoint code_point_before(std::string_view text, std::size_t end);

std::size_t code_point_count(std::string_view text);
/// The byte at which character `index` begins, or text.size().
std::size_t byte_offset(std::string_view text, std::size_t index);
/// One text for each character.
std::vector<std::string_view> characters(std::string_view text);

bool is_space(char32_t code_point);
bool is_printable(char32_t code_point);  // as repr() has it
bool is_identifier_start(char32_t code_point);
bool is_identifier_part(char32_t code_point);

/// Case mappings as Unicode has them in full, the final sigma included.
std::string upper(std::string_view text);
std::string lower(std::string_view text);
std::string capitalize(std::string_view text);
std::string title(std::string_view text);
std::string swap_case(std::string_view text);

/// Every character is of the class, and there is one. kLower and kUpper: there is a cased one, and
/// all cased ones are.
enum class TextClass {
  kAlpha,
  kDigit,
  kDecimal,
  kNumeric,
  kAlphanumeric,
  kSpace,
  kLower,
  kUpper,
  kAscii
};
bool is_all(TextClass text_class, std::string_view text);

enum class Side { kLeft, kRight, kBoth };
/// `text` without the `characters` (white space, if nothing is given) at its ends.
std::string_view strip(std::string_view text, Side side = Side::kBoth,
                       std::optional<std::string_view> characters = {});

/// At most `limit` cuts, from the left or the right. An empty separator stands for runs of white
/// space.
std::vector<std::string_view> split(std::string_view text, std::string_view separator,
                                    std::size_t limit, bool from_right);
std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends = false);

/// `&`, `<`, `>` and quotes as HTML has them.
std::string escape_html(std::string_view text);

}  // namespace sluice::jinja
