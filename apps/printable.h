#pragma once
// Text from files on a terminal: names and metadata may hold anything.

#include <string>
#include <string_view>

namespace sluice::apps {

/// `text` as one line that commands no terminal: control characters (C0, C1, DEL), what reorders
/// text (Unicode's bidirectional controls, line and paragraph separators) and bytes that are not
/// UTF-8 become "\x1b" or "\u202e". A backslash stays as it is.
std::string printable(std::string_view text);

}  // namespace sluice::apps
