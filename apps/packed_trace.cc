#include <fmt/format.h>

#include <algorithm>
#include <bitset>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "apps/routing_trace_file.h"

namespace sluice::apps {
namespace {

constexpr std::uint64_t kLargestFile = std::uint64_t{1} << 31;  // 2 GiB of experts
constexpr std::size_t kLongestLine = std::size_t{1} << 20;
constexpr std::uint32_t kMostExperts = 256;  // that a byte can name

Status corrupt(const std::filesystem::path& path, const std::string& what) {
  return Status(ErrorCode::kCorrupt, path.string() + ": " + what);
}

Result<std::vector<std::uint8_t>> read_file(const std::filesystem::path& path) {
  std::error_code error;
  const std::uint64_t size = std::filesystem::file_size(path, error);
  std::ifstream file(path, std::ios::binary);
  if (error || !file) {
    const int reason = error ? error.value() : errno;
    return Status(reason == ENOENT ? ErrorCode::kNotFound : ErrorCode::kIo,
                  fmt::format("{}: {}: a folder is read as a packed trace, of {}, {} and mostly {}",
                              path.string(), std::strerror(reason), kPackedIndex, kPackedExperts,
                              kPackedProbabilities));
  }
  if (size > kLargestFile) {
    return Status(ErrorCode::kUnsupported, fmt::format("{}: {} bytes; at most {} are read",
                                                       path.string(), size, kLargestFile));
  }
  std::vector<std::uint8_t> bytes(size);
  file.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(size));
  if (static_cast<std::uint64_t>(file.gcount()) != size) {
    return Status(ErrorCode::kIo,
                  fmt::format("{}: ends at byte {} of {}", path.string(), file.gcount(), size));
  }
  return bytes;
}

struct Index {
  std::uint64_t tokens = 0;   // of all sequences, which must follow one another
  std::uint32_t experts = 0;  // of a layer; 0: no line says
};

Result<Index> read_index(const std::filesystem::path& path) {
  SLUICE_ASSIGN(const std::vector<std::uint8_t> bytes, read_file(path));
  Index index;
  std::uint64_t& tokens = index.tokens;
  std::size_t number = 1;
  for (auto at = bytes.begin(); at != bytes.end(); ++number) {
    const auto end = std::find(at, bytes.end(), '\n');
    const auto wrong = [&](const char* what) {
      return corrupt(path, fmt::format("line {}: {}", number, what));
    };
    if (static_cast<std::size_t>(end - at) > kLongestLine) return wrong("is too long");
    // A line ends with its line feed, the last one too unless it is whole.
    if (at != end) {
      const auto line = nlohmann::json::parse(at, end, nullptr, /*allow_exceptions=*/false);
      if (!line.is_object()) return wrong("is not a JSON object");
      const auto offset = line.find("tok_offset"), count = line.find("n_tok");
      if (count == line.end() || !count->is_number_unsigned()) return wrong("has no \"n_tok\"");
      if (offset == line.end() || *offset != tokens) {
        return wrong("\"tok_offset\" is not the sum of the sequences before");
      }
      const auto more = count->get<std::uint64_t>();
      if (more > kLargestFile) return wrong("\"n_tok\" is out of range");
      tokens += more;
      if (const auto experts = line.find("n_expert"); experts != line.end()) {
        const auto said = experts->is_number_unsigned() ? experts->get<std::uint64_t>() : 0;
        if (said == 0 || said > kMostExperts) {
          return wrong("\"n_expert\" is not a number from 1 to 256");
        }
        if (index.experts != 0 && index.experts != said) {
          return wrong("\"n_expert\" is not that of the lines before");
        }
        index.experts = static_cast<std::uint32_t>(said);
      }
    }
    at = end == bytes.end() ? end : end + 1;
  }
  if (tokens == 0) return corrupt(path, "lists no token");
  return index;
}

struct Choices {
  std::vector<std::uint8_t> experts;
  std::vector<std::uint8_t> probabilities;  // empty where unknown

  std::uint16_t probability(std::size_t i) const {
    return static_cast<std::uint16_t>(probabilities[2 * i] + 256 * probabilities[2 * i + 1]);
  }

  /// The first of the leading `count` choices that a router would not have made if it took `top_k`
  /// each time: an expert twice, or a likelier one after one that is less so.
  std::optional<std::size_t> misfit(std::size_t top_k, std::size_t count) const {
    for (std::size_t row = 0; row < count; row += top_k) {
      std::bitset<256> seen;
      for (std::size_t i = row; i < row + top_k; ++i) {
        if (seen[experts[i]]) return i;
        seen.set(experts[i]);
        if (i > row && !probabilities.empty() && probability(i) > probability(i - 1)) return i;
      }
    }
    return std::nullopt;
  }
};

}  // namespace

Result<TraceFacts> read_packed_trace(const std::string& folder, TraceSink& sink) {
  const std::filesystem::path root(folder);
  const std::filesystem::path experts_path = root / kPackedExperts,
                              probs_path = root / kPackedProbabilities;
  SLUICE_ASSIGN(const Index index, read_index(root / kPackedIndex));
  const std::uint64_t tokens = index.tokens;
  Choices choices;
  SLUICE_ASSIGN(choices.experts, read_file(experts_path));
  const std::size_t count = choices.experts.size();
  if (count == 0 || count % tokens != 0) {
    return corrupt(experts_path,
                   fmt::format("{} bytes are not as many for each of the {} tokens of index.jsonl",
                               count, tokens));
  }
  if (std::error_code ignored; std::filesystem::exists(probs_path, ignored)) {
    SLUICE_ASSIGN(choices.probabilities, read_file(probs_path));
    if (choices.probabilities.size() != 2 * count) {
      return corrupt(probs_path, fmt::format("{} bytes, where {} experts have {}",
                                             choices.probabilities.size(), count, 2 * count));
    }
  }
  // Found on the first tokens and asked of all: damage further on is an error, not another shape.
  const std::size_t of_a_token = count / tokens;
  const std::size_t sample = of_a_token * std::min<std::size_t>(tokens, 64);
  std::size_t top_k = std::min<std::size_t>(of_a_token, 256);
  while (of_a_token % top_k != 0 || choices.misfit(top_k, sample)) --top_k;  // 1 fits
  const std::size_t layers = of_a_token / top_k;
  if (const auto at = choices.misfit(top_k, count)) {
    return corrupt(experts_path,
                   fmt::format("byte {}: not the order of a router that takes {}", *at, top_k));
  }

  const auto most = std::max_element(choices.experts.begin(), choices.experts.end());
  const std::uint32_t experts = index.experts != 0 ? index.experts : *most + 1u;
  if (*most >= experts) {
    return corrupt(experts_path, fmt::format("byte {}: expert {} of the {} that index.jsonl says",
                                             most - choices.experts.begin(), *most, experts));
  }
  SLUICE_TRY(sink.begin({.experts = std::vector<std::uint32_t>(layers, experts),
                         .expert_bytes = std::vector<std::uint64_t>(layers, 1),
                         .slot_bytes = {}})
                 .with_context(folder));
  std::vector<RoutedExpert> chosen(top_k);
  const std::uint32_t end = static_cast<std::uint32_t>(top_k);
  for (std::size_t row = 0; row < count; row += top_k) {
    for (std::size_t rank = 0; rank < top_k; ++rank) {
      const std::size_t i = row + rank;
      chosen[rank] = {choices.experts[i], 1};
      if (choices.probabilities.empty()) continue;
      chosen[rank].score = share_of(choices.probability(i));
    }
    SLUICE_TRY(sink.visit({.layer = static_cast<std::uint32_t>(row / top_k % layers),
                           .decode = true,
                           .chosen = chosen,
                           .row_ends = {&end, 1}})
                   .with_context(folder));
  }
  return TraceFacts{.knows_bytes = false, .knows_experts = index.experts != 0, .warning = {}};
}

}  // namespace sluice::apps
