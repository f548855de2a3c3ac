#include "formats/cbor.h"

#include <cstdint>
#include <string>
#include <vector>

namespace sluice {
namespace {

constexpr std::size_t kDeepest = 32;
constexpr std::uint64_t kMostValues = std::uint64_t{4} << 20;

/// Walks over a value without recursion: the library's reader calls itself for each level and each
/// piece of a text, as deep as the bytes say.
class Scanner {
 public:
  explicit Scanner(std::span<const std::byte> bytes) : bytes_(bytes) {}

  Status scan() {
    std::uint64_t values = 0;
    std::vector<std::uint64_t> left = {1};  // of each open list or map
    while (!left.empty()) {
      if (left.back() == 0) {
        left.pop_back();
        continue;
      }
      left.back() -= 1;
      if (++values > kMostValues) return corrupt("too many values");
      if (left.size() > kDeepest) return corrupt("nested too deeply");
      SLUICE_ASSIGN(const std::uint64_t inside, skip_item());
      if (inside > 0) left.push_back(inside);
    }
    return at_ == bytes_.size() ? Status() : corrupt("something behind the value");
  }

 private:
  enum Major : unsigned { kUnsigned, kNegative, kBytes, kText, kList, kMap, kTag, kOther };

  Status corrupt(const std::string& what) const {
    return Status(ErrorCode::kCorrupt, "CBOR at byte " + std::to_string(at_) + ": " + what);
  }

  /// One past an item's head, and past its bytes; how many values it has inside.
  Result<std::uint64_t> skip_item() {
    if (at_ == bytes_.size()) return corrupt("ends too early");
    const auto first = std::to_integer<unsigned>(bytes_[at_]);
    const unsigned major = first >> 5, low = first & 31;
    if (major == kOther) {
      // false, true and null; half, single and double.
      const std::size_t more = low >= 20 && low <= 22   ? 0
                               : low >= 25 && low <= 27 ? std::size_t{1} << (low - 24)
                                                        : bytes_.size();
      if (more >= bytes_.size() - at_) return corrupt("no value that can stand here");
      at_ += 1 + more;
      return std::uint64_t{0};
    }
    if (low > 27 || major == kTag) return corrupt("no value that can stand here");
    const std::size_t length = low < 24 ? 0 : std::size_t{1} << (low - 24);
    if (length >= bytes_.size() - at_) return corrupt("ends too early");
    std::uint64_t argument = low;
    if (length > 0) argument = 0;
    for (std::size_t i = 1; i <= length; ++i) {
      argument = argument << 8 | std::to_integer<std::uint64_t>(bytes_[at_ + i]);
    }
    const std::uint64_t behind = bytes_.size() - at_ - 1 - length;
    // Every value inside takes a byte at least.
    const std::uint64_t most = major == kMap ? behind / 2 : behind;
    if (major != kUnsigned && major != kNegative && argument > most) {
      return corrupt("longer than what holds it");
    }
    at_ += 1 + length;
    switch (major) {
      case kBytes:
      case kText:
        at_ += argument;
        return std::uint64_t{0};
      case kList:
        return argument;
      case kMap:
        return 2 * argument;
      default:
        return std::uint64_t{0};
    }
  }

  std::span<const std::byte> bytes_;
  std::size_t at_ = 0;
};

}  // namespace

Result<nlohmann::json> read_cbor(std::span<const std::byte> bytes) {
  SLUICE_TRY(Scanner(bytes).scan());
  const auto* const first = reinterpret_cast<const std::uint8_t*>(bytes.data());
  try {
    return nlohmann::json::from_cbor(first, first + bytes.size());
  } catch (const nlohmann::json::exception& error) {
    return Status(ErrorCode::kCorrupt, std::string("CBOR: ") + error.what());
  }
}

}  // namespace sluice
