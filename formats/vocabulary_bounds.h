#pragma once
// How much a vocabulary may take: several times the largest known (Gemma's 262,144 tokens have 2
// MB, its 514,906 merges 6 MB), so that a file's claims cannot take the memory that a budget
// counts.

#include <cstdint>
#include <string>

namespace sluice {

/// Counts the texts of a table, tokens or merges, before they are kept.
class VocabularyBounds {
 public:
  static constexpr std::uint64_t kMostTexts = std::uint64_t{1} << 22;
  static constexpr std::uint64_t kLongestText = std::uint64_t{64} << 10;
  static constexpr std::uint64_t kMostBytes = std::uint64_t{32} << 20;

  /// What is wrong with a table of so many texts; empty where nothing is.
  static std::string refuse_count(std::uint64_t texts) {
    return texts <= kMostTexts ? "" : beyond(texts, "texts", kMostTexts);
  }
  /// Counts one more text; what is wrong with it, empty where nothing is.
  std::string refuse(std::uint64_t length) {
    if (length > kLongestText) return "a text of " + beyond(length, "bytes", kLongestText);
    bytes_ += length;
    if (bytes_ > kMostBytes) return "texts of " + beyond(bytes_, "bytes together", kMostBytes);
    return refuse_count(++texts_);
  }

 private:
  static std::string beyond(std::uint64_t value, const char* unit, std::uint64_t most) {
    return std::to_string(value) + " " + unit + ", where at most " + std::to_string(most) +
           " are read";
  }

  std::uint64_t texts_ = 0;
  std::uint64_t bytes_ = 0;
};

}  // namespace sluice
