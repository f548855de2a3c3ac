#include "text/normalizer.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "text/utf8.h"

namespace sluice {
namespace {

// Everything below U+0300 is in normal form C and does not compose with what is before it.
bool is_surely_nfc(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0xCC; });
}

/// All that composes with a character before it is a mark, or a vowel or final consonant of Hangul.
bool composes_with_nothing_before(char32_t code_point) {
  if (code_point < 0x300) return true;
  if (code_point >= 0x1160 && code_point <= 0x11FF) return false;
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(code_point));
  return category != UTF8PROC_CATEGORY_MN && category != UTF8PROC_CATEGORY_MC &&
         category != UTF8PROC_CATEGORY_ME;
}

/// Canonical decomposition. utf8proc's own whole-text call sorts marks by exchanging neighbours,
/// quadratic on a run of them; here a run is sorted as a whole.
std::vector<utf8proc_int32_t> decompose(std::string_view text) {
  std::vector<utf8proc_int32_t> code_points;
  code_points.reserve(text.size());
  while (!text.empty()) {
    const Utf8Front front = utf8_front(text);
    text.remove_prefix(front.length);
    std::array<utf8proc_int32_t, 16> parts;  // canonical decompositions have at most four
    int last_boundary = 0;
    const utf8proc_ssize_t count = utf8proc_decompose_char(
        static_cast<utf8proc_int32_t>(front.code_point), parts.data(), parts.size(),
        static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE), &last_boundary);
    if (count < 1 || count > static_cast<utf8proc_ssize_t>(parts.size())) {
      code_points.push_back(static_cast<utf8proc_int32_t>(front.code_point));
      continue;
    }
    code_points.insert(code_points.end(), parts.begin(), parts.begin() + count);
  }
  const auto combining_class = [](utf8proc_int32_t code_point) {
    return utf8proc_get_property(code_point)->combining_class;
  };
  for (auto at = code_points.begin(); at != code_points.end();) {
    if (combining_class(*at) == 0) {
      ++at;
      continue;
    }
    const auto end = std::find_if(
        at, code_points.end(), [&](auto code_point) { return combining_class(code_point) == 0; });
    std::stable_sort(at, end,
                     [&](auto a, auto b) { return combining_class(a) < combining_class(b); });
    at = end;
  }
  return code_points;
}

}  // namespace

std::string to_nfc(std::string_view text) {
  if (is_surely_nfc(text)) return std::string(text);
  std::vector<utf8proc_int32_t> code_points = decompose(text);
  const utf8proc_ssize_t length = utf8proc_normalize_utf32(
      code_points.data(), static_cast<utf8proc_ssize_t>(code_points.size()),
      static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  std::string composed;
  composed.reserve(text.size());
  for (utf8proc_ssize_t i = 0; i < length; ++i) {
    append_utf8(composed, static_cast<char32_t>(code_points[static_cast<std::size_t>(i)]));
  }
  return composed;
}

std::size_t Normalizer::settled(std::string_view text) const {
  if (!nfc_) return text.size();
  std::size_t at = text.size();
  while (at > 0) {
    at = character_floor(text, at - 1);
    if (composes_with_nothing_before(utf8_front(text.substr(at)).code_point)) break;
  }
  return at;
}

std::string Normalizer::with_marks(std::string_view text, bool prefix) const {
  const bool has_prefix = text.starts_with(' ') || text.starts_with(kSpaceMark);
  std::string marked;
  marked.reserve(text.size() + text.size() / 2);
  if (prefix && prefix_ && !(metaspace_ && has_prefix)) marked += kSpaceMark;
  for (const char c : text) {
    if (c == ' ') {
      marked += kSpaceMark;
    } else {
      marked += c;
    }
  }
  return marked;
}

std::string Normalizer::normalize(std::string_view text, bool prefix) const {
  std::string normal = nfc_ ? to_nfc(text) : std::string(text);
  return marks_spaces_ && !metaspace_ ? with_marks(normal, prefix) : normal;
}

std::string Normalizer::mark(std::string text, bool prefix) const {
  if (marks_spaces_) return metaspace_ ? with_marks(text, prefix) : text;
  if (prefix && prefix_ && !text.starts_with(' ')) text.insert(0, 1, ' ');
  return text;
}

}  // namespace sluice
