#include "text/utf8.h"

namespace sluice {

Utf8Front utf8_front(std::string_view bytes) {
  using State = Utf8Front::State;
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const unsigned char first = at(0);
  if (first < 0x80) return {State::kWhole, 1, first};
  if (first < 0xC2 || first > 0xF4) return {State::kIllFormed, 1, 0};
  const std::uint8_t length = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  // Only the second byte's range depends on the first: it is what bars overlong forms, surrogates
  // and code points that are too large.
  unsigned char low = 0x80, high = 0xBF;
  if (first == 0xE0) low = 0xA0;
  if (first == 0xED) high = 0x9F;
  if (first == 0xF0) low = 0x90;
  if (first == 0xF4) high = 0x8F;
  char32_t code_point = first & (0x7Fu >> length);
  for (std::uint8_t i = 1; i < length; ++i) {
    if (i == bytes.size()) return {State::kIncomplete, i, 0};
    if (at(i) < low || at(i) > high) return {State::kIllFormed, i, 0};
    code_point = (code_point << 6) | (at(i) & 0x3Fu);
    low = 0x80;
    high = 0xBF;
  }
  return {State::kWhole, length, code_point};
}

Utf8Run utf8_run(std::string_view bytes) {
  Utf8Run run;
  run.well_formed = utf8_front(bytes).state == Utf8Front::State::kWhole;
  while (run.length < bytes.size()) {
    const Utf8Front front = utf8_front(bytes.substr(run.length));
    if ((front.state == Utf8Front::State::kWhole) != run.well_formed) break;
    run.length += front.length;
  }
  return run;
}

std::size_t character_floor(std::string_view text, std::size_t at) {
  for (std::size_t back = 1; back < 4 && back <= at; ++back) {
    const Utf8Front front = utf8_front(text.substr(at - back));
    if (front.state == Utf8Front::State::kIllFormed) continue;
    return front.length > back || front.state == Utf8Front::State::kIncomplete ? at - back : at;
  }
  return at;
}

void append_utf8(std::string& text, char32_t code_point) {
  const auto tail = [&](int shift) {
    text.push_back(static_cast<char>(0x80 | ((code_point >> shift) & 0x3F)));
  };
  if (code_point < 0x80) {
    text.push_back(static_cast<char>(code_point));
  } else if (code_point < 0x800) {
    text.push_back(static_cast<char>(0xC0 | (code_point >> 6)));
    tail(0);
  } else if (code_point < 0x10000) {
    text.push_back(static_cast<char>(0xE0 | (code_point >> 12)));
    tail(6);
    tail(0);
  } else {
    text.push_back(static_cast<char>(0xF0 | (code_point >> 18)));
    tail(12);
    tail(6);
    tail(0);
  }
}

}  // namespace sluice
