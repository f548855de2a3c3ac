#include "text/byte_alphabet.h"

#include <array>
#include <cstdint>

#include "text/utf8.h"

namespace sluice {
namespace {

constexpr bool stands_for_itself(unsigned byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xFF && byte != 0xAD);
}

constexpr unsigned kLetters = 0x100 + 68;  // code points that can stand for a byte lie below it

struct Alphabet {
  std::array<std::array<char, 2>, 256> letters{};
  std::array<std::uint8_t, 256> lengths{};
  std::array<std::int16_t, kLetters> bytes{};  // -1: stands for none

  constexpr Alphabet() {
    for (auto& byte : bytes) byte = -1;
    unsigned next = 0x100;
    for (unsigned byte = 0; byte < 256; ++byte) {
      const unsigned letter = stands_for_itself(byte) ? byte : next++;
      bytes[letter] = static_cast<std::int16_t>(byte);
      if (letter < 0x80) {
        letters[byte] = {static_cast<char>(letter), 0};
        lengths[byte] = 1;
      } else {
        letters[byte] = {static_cast<char>(0xC0 | (letter >> 6)),
                         static_cast<char>(0x80 | (letter & 0x3F))};
        lengths[byte] = 2;
      }
    }
  }
};

constexpr Alphabet kAlphabet;

}  // namespace

std::string_view letter_of_byte(unsigned char byte) {
  return {kAlphabet.letters[byte].data(), kAlphabet.lengths[byte]};
}

bool bytes_of_letters(std::string_view text, std::string& bytes) {
  bytes.clear();
  while (!text.empty()) {
    const Utf8Front front = utf8_front(text);
    if (front.state != Utf8Front::State::kWhole || front.code_point >= kLetters) return false;
    const int byte = kAlphabet.bytes[front.code_point];
    if (byte < 0) return false;
    bytes.push_back(static_cast<char>(byte));
    text.remove_prefix(front.length);
  }
  return true;
}

}  // namespace sluice
