#include "text/clean_spaces.h"

#include <array>
#include <utility>

namespace sluice {
namespace {

// One replacement after the other over the whole text: a later one sees what an earlier one left.
constexpr std::array<std::pair<std::string_view, std::string_view>, 10> kReplacements = {{
    {" .", "."},
    {" ?", "?"},
    {" !", "!"},
    {" ,", ","},
    {" ' ", "'"},
    {" n't", "n't"},
    {" 'm", "'m"},
    {" 's", "'s"},
    {" 've", "'ve"},
    {" 're", "'re"},
}};
constexpr std::string_view kCharacters = " .?!,'ntmsver";  // all that occur above

}  // namespace

std::string clean_spaces(std::string text) {
  for (const auto& [from, to] : kReplacements) {
    std::size_t at = text.find(from);
    if (at == std::string::npos) continue;
    std::string cleaned;
    std::size_t done = 0;
    for (; at != std::string::npos; at = text.find(from, done)) {
      cleaned.append(text, done, at - done).append(to);
      done = at + from.size();
    }
    text = std::move(cleaned.append(text, done));
  }
  return text;
}

// Every replacement begins at a space and only removes spaces: behind a character that occurs in
// none, nothing before matters, and nothing is open until the next space.
std::size_t cleanable_length(std::string_view text) {
  const std::size_t last_other = text.find_last_not_of(kCharacters);
  const std::size_t tail = last_other == std::string_view::npos ? 0 : last_other + 1;
  const std::size_t space = text.find(' ', tail);
  return space == std::string_view::npos ? text.size() : space;
}

}  // namespace sluice
