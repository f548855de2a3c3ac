#include "apps/printable.h"

#include <fmt/format.h>

#include <iterator>

#include "text/utf8.h"

namespace sluice::apps {
namespace {

bool is_control(char32_t c) { return c < 0x20 || (c >= 0x7F && c < 0xA0); }

bool is_reordering(char32_t c) {
  return c == 0x061C || c == 0x200E || c == 0x200F || (c >= 0x2028 && c <= 0x202E) ||
         (c >= 0x2066 && c <= 0x2069);
}

}  // namespace

std::string printable(std::string_view text) {
  std::string line;
  while (!text.empty()) {
    const Utf8Front front = utf8_front(text);
    const std::string_view character = text.substr(0, front.length);
    text.remove_prefix(front.length);
    const bool whole = front.state == Utf8Front::State::kWhole;
    if (whole && is_reordering(front.code_point)) {
      fmt::format_to(std::back_inserter(line), "\\u{:04x}",
                     static_cast<unsigned>(front.code_point));
    } else if (whole && !is_control(front.code_point)) {
      line += character;
    } else {
      for (const char byte : character) {
        fmt::format_to(std::back_inserter(line), "\\x{:02x}", static_cast<unsigned char>(byte));
      }
    }
  }
  return line;
}

}  // namespace sluice::apps
