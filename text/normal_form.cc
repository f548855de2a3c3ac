#include "text/normal_form.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <vector>

#include "text/utf8.h"

namespace sluice {
namespace {

// ASCII is in every form. In form C everything below U+0300 is, and composes with nothing before.
bool is_surely_normal(std::string_view text, NormalForm form) {
  const unsigned char limit = form.composed && !form.compatibility ? 0xCC : 0x80;
  return std::all_of(text.begin(), text.end(),
                     [&](char c) { return static_cast<unsigned char>(c) < limit; });
}

/// Appends the decomposition of one character.
void decompose(char32_t code_point, NormalForm form, std::vector<utf8proc_int32_t>& code_points) {
  std::array<utf8proc_int32_t, 32> parts;  // the longest, of U+FDFA, has eighteen
  int last_boundary = 0;
  const int options =
      UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | (form.compatibility ? UTF8PROC_COMPAT : 0);
  const utf8proc_ssize_t count =
      utf8proc_decompose_char(static_cast<utf8proc_int32_t>(code_point), parts.data(), parts.size(),
                              static_cast<utf8proc_option_t>(options), &last_boundary);
  if (count < 1 || count > static_cast<utf8proc_ssize_t>(parts.size())) {
    code_points.push_back(static_cast<utf8proc_int32_t>(code_point));
  } else {
    code_points.insert(code_points.end(), parts.begin(), parts.begin() + count);
  }
}

int combining_class(utf8proc_int32_t code_point) {
  return utf8proc_get_property(code_point)->combining_class;
}

/// utf8proc's own whole-text call sorts marks by exchanging neighbours, quadratic on a run of them;
/// here a run is sorted as a whole.
void sort_marks(std::vector<utf8proc_int32_t>& code_points) {
  for (auto at = code_points.begin(); at != code_points.end();) {
    if (combining_class(*at) == 0) {
      ++at;
      continue;
    }
    const auto end = std::find_if(at, code_points.end(),
                                  [](auto code_point) { return combining_class(code_point) == 0; });
    std::stable_sort(at, end,
                     [](auto a, auto b) { return combining_class(a) < combining_class(b); });
    at = end;
  }
}

/// All that composes with a character before it, or is sorted among its marks, is a mark, or a
/// vowel or final consonant of Hangul; what decomposes counts by its first part.
bool depends_on_what_is_before(char32_t code_point, NormalForm form,
                               std::vector<utf8proc_int32_t>& scratch) {
  if (code_point < 0xA0) return false;
  scratch.clear();
  decompose(code_point, form, scratch);
  const utf8proc_int32_t first = scratch.front();
  if (first < 0x300) return false;
  if (first >= 0x1160 && first <= 0x11FF) return true;
  const auto category = utf8proc_category(first);
  return category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_MC ||
         category == UTF8PROC_CATEGORY_ME;
}

}  // namespace

std::string to_normal_form(std::string_view text, NormalForm form) {
  if (is_surely_normal(text, form)) return std::string(text);
  std::vector<utf8proc_int32_t> code_points;
  code_points.reserve(text.size());
  for (std::string_view rest = text; !rest.empty();) {
    const Utf8Front front = utf8_front(rest);
    decompose(front.code_point, form, code_points);
    rest.remove_prefix(front.length);
  }
  sort_marks(code_points);
  if (form.composed) {
    const utf8proc_ssize_t length = utf8proc_normalize_utf32(
        code_points.data(), static_cast<utf8proc_ssize_t>(code_points.size()),
        static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
    code_points.resize(static_cast<std::size_t>(length));
  }
  std::string normal;
  normal.reserve(text.size());
  for (const utf8proc_int32_t code_point : code_points) {
    append_utf8(normal, static_cast<char32_t>(code_point));
  }
  return normal;
}

std::size_t settled_in_normal_form(std::string_view text, NormalForm form) {
  std::vector<utf8proc_int32_t> scratch;
  std::size_t at = text.size();
  while (at > 0) {
    at = character_floor(text, at - 1);
    const char32_t code_point = utf8_front(text.substr(at)).code_point;
    if (!depends_on_what_is_before(code_point, form, scratch)) break;
  }
  return at;
}

}  // namespace sluice
