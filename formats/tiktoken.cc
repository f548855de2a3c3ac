#include "formats/tiktoken.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "formats/base64.h"
#include "formats/header_reader.h"

namespace sluice {
namespace {

constexpr std::uint64_t kLargestFile = std::uint64_t{64} << 20;
constexpr std::uint32_t kLargestRank = std::uint32_t{1} << 28;

struct Entry {
  std::uint32_t rank;
  std::size_t line;
  std::string bytes;
};

class TableReader {
 public:
  explicit TableReader(const std::string& path) : path_(path) {}

  Result<StringTable> read() {
    std::size_t size = 0;
    SLUICE_ASSIGN(const AlignedBuffer buffer, read_whole_file(path_, kLargestFile, &size));
    std::string_view text(reinterpret_cast<const char*>(buffer.data()), size);
    for (std::size_t line = 1; !text.empty(); ++line) {
      const std::size_t end = std::min(text.find('\n'), text.size());
      std::string_view content = text.substr(0, end);
      if (content.ends_with('\r')) content.remove_suffix(1);
      if (!content.empty()) SLUICE_TRY(read_line(content, line));
      text.remove_prefix(std::min(end + 1, text.size()));
    }
    return arrange();
  }

 private:
  Status corrupt(std::size_t line, const std::string& what) const {
    return Status(ErrorCode::kCorrupt, path_ + ": line " + std::to_string(line) + ": " + what);
  }

  Status read_line(std::string_view content, std::size_t line) {
    const std::size_t space = content.find(' ');
    if (space == content.npos) return corrupt(line, "not a token and its rank");
    auto bytes = decode_base64(content.substr(0, space));
    if (!bytes || bytes->empty()) return corrupt(line, "the token is not base64");
    const std::string_view digits = content.substr(space + 1);
    std::uint32_t rank = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), rank);
    if (error != std::errc() || end != digits.data() + digits.size() || rank > kLargestRank) {
      return corrupt(line, "the rank is not a number up to " + std::to_string(kLargestRank));
    }
    entries_.push_back({rank, line, *std::move(bytes)});
    return {};
  }

  /// Two entries that are the same by `key`, as an error.
  template <typename Key>
  Status check_unique(const Key& key, std::string_view what) {
    std::ranges::stable_sort(entries_, {}, key);
    const auto twin = std::ranges::adjacent_find(entries_, {}, key);
    if (twin == entries_.end()) return {};
    return corrupt((twin + 1)->line, "the " + std::string(what) + " is that of line " +
                                         std::to_string(twin->line) + " too");
  }

  Result<StringTable> arrange() {
    if (entries_.empty()) return Status(ErrorCode::kCorrupt, path_ + ": no tokens");
    SLUICE_TRY(check_unique(&Entry::bytes, "token"));
    SLUICE_TRY(check_unique(&Entry::rank, "rank"));  // and in the order of ranks from here on
    const Entry& last = entries_.back();
    if (last.rank >= entries_.size() + kMostIdGaps) {
      return corrupt(last.line, "rank " + std::to_string(last.rank) + " though there are only " +
                                    std::to_string(entries_.size()) + " tokens");
    }
    StringTable table;
    for (const Entry& entry : entries_) {
      while (table.size() < entry.rank) table.push_back({});
      table.push_back(entry.bytes);
    }
    return table;
  }

  const std::string& path_;
  std::vector<Entry> entries_;
};

}  // namespace

Result<StringTable> read_tiktoken_table(const std::string& path) {
  return TableReader(path).read();
}

}  // namespace sluice
