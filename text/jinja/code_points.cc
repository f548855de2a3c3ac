#include "text/jinja/code_points.h"

#include <utf8proc.h>

#include <algorithm>

#include "text/jinja/special_casing.h"
#include "text/utf8.h"

namespace sluice::jinja {
namespace {

utf8proc_category_t category(char32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

bool is_letter(char32_t c) {
  const auto found = category(c);
  return found >= UTF8PROC_CATEGORY_LU && found <= UTF8PROC_CATEGORY_LO;
}

// Letters by their category, and what has a counterpart in the other case without being one (Roman
// numerals …).
bool is_upper(char32_t c) {
  return category(c) == UTF8PROC_CATEGORY_LU ||
         (!is_letter(c) && utf8proc_isupper(static_cast<utf8proc_int32_t>(c)) != 0);
}
bool is_lower(char32_t c) {
  return category(c) == UTF8PROC_CATEGORY_LL ||
         (!is_letter(c) && utf8proc_islower(static_cast<utf8proc_int32_t>(c)) != 0);
}
bool is_cased(char32_t c) {
  return is_upper(c) || is_lower(c) || category(c) == UTF8PROC_CATEGORY_LT;
}

bool is_superscript_digit(char32_t c) {
  return c == 0xB2 || c == 0xB3 || c == 0xB9 || c == 0x2070 || (c >= 0x2074 && c <= 0x2079) ||
         (c >= 0x2080 && c <= 0x2089) || (c >= 0x2460 && c <= 0x2468);
}

void append_all(std::string& out, std::u32string_view characters) {
  for (const char32_t c : characters) append_utf8(out, c);
}

void append_upper(std::string& out, char32_t c) {
  if (const SpecialCasing* special = special_casing(c)) return append_all(out, special->upper);
  append_utf8(out, static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c))));
}

void append_title(std::string& out, char32_t c) {
  if (const SpecialCasing* special = special_casing(c)) return append_all(out, special->title);
  append_utf8(out, static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(c))));
}

/// Characters that do not count when what is around a sigma is looked at: marks, modifiers, and
/// signs within words.
bool is_case_ignorable(char32_t c) {
  switch (category(c)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
      return true;
    default:
      return std::u32string_view(U"'.:\u00B7\u0387\u055F\u05F4\u2018\u2019\u2024\u2027").find(c) !=
             std::u32string_view::npos;
  }
}

/// The sigma at `at` ends a word: there is a letter before it, and none after it.
bool is_final_sigma(std::string_view text, std::size_t at) {
  const auto near = [](char32_t c) { return !is_case_ignorable(c); };
  bool before = false;
  for (std::size_t end = at; end > 0;) {
    const CodePoint c = code_point_before(text, end);
    end -= c.length;
    if (near(c.value)) {
      before = is_cased(c.value);
      break;
    }
  }
  if (!before) return false;
  for (std::size_t i = at + utf8_length(text[at]); i < text.size();) {
    const CodePoint c = code_point_at(text, i);
    i += c.length;
    if (near(c.value)) return !is_cased(c.value);
  }
  return true;
}

/// The character at `at` of the text.
void append_lower(std::string& out, std::string_view text, std::size_t at) {
  const char32_t c = code_point_at(text, at).value;
  if (c == U'\u0130') {  // a capital I with a dot keeps it
    append_all(out, U"i\u0307");
  } else if (c == U'\u03A3' && is_final_sigma(text, at)) {
    append_utf8(out, U'\u03C2');
  } else {
    append_utf8(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
  }
}

template <typename Visitor>
void for_each(std::string_view text, Visitor visit) {
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint c = code_point_at(text, i);
    visit(c.value, i);
    i += c.length;
  }
}

bool is_line_end(char32_t c) {
  return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 ||
         c == 0x2029;
}

bool is_of(TextClass text_class, char32_t c) {
  const bool decimal = category(c) == UTF8PROC_CATEGORY_ND;
  const bool digit = decimal || is_superscript_digit(c);
  const bool numeric =
      digit || category(c) == UTF8PROC_CATEGORY_NL || category(c) == UTF8PROC_CATEGORY_NO;
  switch (text_class) {
    case TextClass::kAlpha:
      return is_letter(c);
    case TextClass::kDigit:
      return digit;
    case TextClass::kDecimal:
      return decimal;
    case TextClass::kNumeric:
      return numeric;
    case TextClass::kAlphanumeric:
      return is_letter(c) || numeric;
    case TextClass::kSpace:
      return is_space(c);
    case TextClass::kLower:
      return is_lower(c) || !is_cased(c);
    case TextClass::kUpper:
      return is_upper(c) || !is_cased(c);
    case TextClass::kAscii:
      return c < 0x80;
  }
  return false;
}

}  // namespace

std::optional<std::size_t> find_ill_formed(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const Utf8Front front = utf8_front(text.substr(i));
    if (front.state != Utf8Front::State::kWhole) return i;
    i += front.length;
  }
  return {};
}

CodePoint code_point_at(std::string_view text, std::size_t offset) {
  const Utf8Front front = utf8_front(text.substr(offset));
  return {front.code_point, std::max<std::size_t>(front.length, 1)};
}

CodePoint code_point_before(std::string_view text, std::size_t end) {
  std::size_t begin = end - 1;
  while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
  return {code_point_at(text, begin).value, end - begin};
}

std::size_t code_point_count(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

std::size_t byte_offset(std::string_view text, std::size_t index) {
  std::size_t offset = 0;
  for (; index > 0 && offset < text.size(); --index) offset += utf8_length(text[offset]);
  return std::min(offset, text.size());
}

std::vector<std::string_view> characters(std::string_view text) {
  std::vector<std::string_view> all;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = code_point_at(text, i).length;
    all.push_back(text.substr(i, length));
    i += length;
  }
  return all;
}

bool is_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
         c == 0x205F || c == 0x3000;
}

bool is_printable(char32_t c) {
  if (c == U' ') return true;
  switch (category(c)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return false;
    default:
      return true;
  }
}

bool is_identifier_start(char32_t c) {
  return c == U'_' || is_letter(c) || category(c) == UTF8PROC_CATEGORY_NL;
}

bool is_identifier_part(char32_t c) {
  const auto found = category(c);
  return is_identifier_start(c) || found == UTF8PROC_CATEGORY_ND || found == UTF8PROC_CATEGORY_MN ||
         found == UTF8PROC_CATEGORY_MC || found == UTF8PROC_CATEGORY_PC;
}

std::string upper(std::string_view text) {
  std::string out;
  for_each(text, [&](char32_t c, std::size_t) { append_upper(out, c); });
  return out;
}

std::string lower(std::string_view text) {
  std::string out;
  for_each(text, [&](char32_t, std::size_t at) { append_lower(out, text, at); });
  return out;
}

std::string capitalize(std::string_view text) {
  std::string out;
  for_each(text, [&](char32_t c, std::size_t at) {
    at == 0 ? append_title(out, c) : append_lower(out, text, at);
  });
  return out;
}

std::string title(std::string_view text) {
  std::string out;
  bool in_word = false;
  for_each(text, [&](char32_t c, std::size_t at) {
    in_word ? append_lower(out, text, at) : append_title(out, c);
    in_word = is_cased(c);
  });
  return out;
}

std::string swap_case(std::string_view text) {
  std::string out;
  for_each(text, [&](char32_t c, std::size_t at) {
    if (is_upper(c)) {
      append_lower(out, text, at);
    } else if (is_lower(c)) {
      append_upper(out, c);
    } else {
      append_utf8(out, c);  // a titlecase letter is neither, and stays
    }
  });
  return out;
}

bool is_all(TextClass text_class, std::string_view text) {
  bool all = true;
  bool cased = false;
  for_each(text, [&](char32_t c, std::size_t) {
    all = all && is_of(text_class, c);
    cased = cased || is_cased(c);
  });
  if (text_class == TextClass::kLower || text_class == TextClass::kUpper) return all && cased;
  return all && (!text.empty() || text_class == TextClass::kAscii);
}

std::string_view strip(std::string_view text, Side side, std::optional<std::string_view> stripped) {
  const auto goes = [&](std::string_view character) {
    return stripped ? stripped->find(character) != std::string_view::npos
                    : is_space(code_point_at(character, 0).value);
  };
  while (side != Side::kRight && !text.empty()) {
    const std::size_t length = code_point_at(text, 0).length;
    if (!goes(text.substr(0, length))) break;
    text.remove_prefix(length);
  }
  while (side != Side::kLeft && !text.empty()) {
    const std::size_t length = code_point_before(text, text.size()).length;
    if (!goes(text.substr(text.size() - length))) break;
    text.remove_suffix(length);
  }
  return text;
}

namespace {

std::vector<std::string_view> split_at_spaces(std::string_view text, std::size_t limit,
                                              bool from_right) {
  std::vector<std::string_view> parts;
  const Side near = from_right ? Side::kRight : Side::kLeft;
  for (text = strip(text, near); !text.empty(); text = strip(text, near)) {
    if (parts.size() == limit) {
      parts.push_back(text);  // with the white space at its far end
      break;
    }
    std::size_t length = 0;
    while (length < text.size()) {
      const CodePoint c =
          from_right ? code_point_before(text, text.size() - length) : code_point_at(text, length);
      if (is_space(c.value)) break;
      length += c.length;
    }
    parts.push_back(from_right ? text.substr(text.size() - length) : text.substr(0, length));
    from_right ? text.remove_suffix(length) : text.remove_prefix(length);
  }
  return parts;
}

}  // namespace

std::vector<std::string_view> split(std::string_view text, std::string_view separator,
                                    std::size_t limit, bool from_right) {
  std::vector<std::string_view> parts;
  if (separator.empty()) {
    parts = split_at_spaces(text, limit, from_right);
  } else {
    while (parts.size() < limit) {
      const std::size_t at = from_right ? text.rfind(separator) : text.find(separator);
      if (at == std::string_view::npos) break;
      const std::size_t after = at + separator.size();
      parts.push_back(from_right ? text.substr(after) : text.substr(0, at));
      text = from_right ? text.substr(0, at) : text.substr(after);
    }
    parts.push_back(text);
  }
  if (from_right) std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends) {
  std::vector<std::string_view> lines;
  std::size_t begin = 0;
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint c = code_point_at(text, i);
    const std::size_t end = i;
    i += c.length;
    if (!is_line_end(c.value)) continue;
    if (c.value == U'\r' && i < text.size() && text[i] == '\n') ++i;
    lines.push_back(text.substr(begin, (keep_ends ? i : end) - begin));
    begin = i;
  }
  if (begin < text.size()) lines.push_back(text.substr(begin));
  return lines;
}

std::string escape_html(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&#34;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

}  // namespace sluice::jinja
