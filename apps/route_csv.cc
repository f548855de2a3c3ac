#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "apps/gzip_lines.h"
#include "apps/routing_trace_file.h"

namespace sluice::apps {
namespace {

constexpr std::uint32_t kMostLayers = 4096, kMostExperts = 65536;
constexpr std::uint32_t kMostKeys = 1u << 22;
constexpr std::uint64_t kLargestExpert = std::uint64_t{1} << 40;
constexpr std::size_t kMostOfPass = std::size_t{1} << 26;  // choices
constexpr std::uint32_t kMostIdleLines = 1u << 16;
constexpr std::string_view kColumns =
    "turn,phase,step,layer,slot,expert,weight,residency,expert_bytes";

template <typename Number>
bool parse(std::string_view text, Number& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

/// What stands behind "name=" in a header line.
std::optional<std::string_view> setting(std::string_view line, std::string_view name) {
  for (std::size_t at = 0; at < line.size();) {
    const std::size_t end = std::min(line.find(' ', at), line.size());
    const std::string_view word = line.substr(at, end - at);
    if (word.size() > name.size() && word.starts_with(name) && word[name.size()] == '=') {
      return word.substr(name.size() + 1);
    }
    at = end + 1;
  }
  return std::nullopt;
}

struct Row {
  std::uint32_t turn = 0, phase = 0, step = 0, layer = 0, slot = 0, expert = 0;
  float weight = 0;
  std::uint64_t bytes = 0;  // that were read
};

/// Makes visits of lines; errors are sentences without file and line.
class RouteCsv {
 public:
  explicit RouteCsv(TraceSink& sink) : sink_(sink) {}

  Status line(std::string_view line) {
    const char first = line.empty() ? '#' : line.front();
    const bool names = first >= 'a' && first <= 'z';
    if (first != '#' && !names) {
      idle_ = 0;
      return row(line);
    }
    if (++idle_ > kMostIdleLines) {
      return wrong(fmt::format("{} lines without a row of routing", kMostIdleLines));
    }
    if (names && line != kColumns) {
      return wrong(
          fmt::format("the columns are '{}'; those of a .route.csv are '{}'", line, kColumns));
    }
    return names || line.empty() ? Status() : header(line);
  }

  Status finish() {
    if (!begun_) return wrong("there is no row of routing");
    return end_pass();
  }

 private:
  static Status wrong(std::string what) { return {ErrorCode::kCorrupt, std::move(what)}; }

  Status header(std::string_view line) {
    if (begun_) return {};  // a remark
    if (const auto count = setting(line, "n_expert")) {
      if (!parse(*count, experts_) || experts_ == 0 || experts_ > kMostExperts) {
        return wrong(fmt::format("n_expert is not a number from 1 to {}", kMostExperts));
      }
    }
    const auto bytes = setting(line, "expert_bytes");
    if (!bytes) return {};
    const auto layer = setting(line, "layer");
    std::uint32_t number = 0;
    if (!layer || !parse(*layer, number) || number < numbers_.size() || number >= kMostLayers) {
      return wrong("expert_bytes without a layer in rising order");
    }
    std::uint64_t size = 0;
    if (!parse(*bytes, size) || size > kLargestExpert) {
      return wrong(fmt::format("expert_bytes is not a number up to {}", kLargestExpert));
    }
    numbers_.resize(number + 1, kDense);
    if (size == 0) return {};  // a dense layer
    numbers_[number] = static_cast<std::uint32_t>(expert_bytes_.size());
    expert_bytes_.push_back(size);
    return {};
  }

  Status row(std::string_view line) {
    SLUICE_ASSIGN(const Row row, parse_row(line));
    if (!begun_) SLUICE_TRY(begin());
    if (row.layer >= numbers_.size() || numbers_[row.layer] == kDense) {
      return wrong(fmt::format("layer {} is not in the header", row.layer));
    }
    if (row.expert >= experts_) {
      return wrong(fmt::format("expert {} of {}", row.expert, experts_));
    }
    const std::uint64_t size = expert_bytes_[numbers_[row.layer]];
    if (row.bytes != 0 && row.bytes != size) {
      return wrong(
          fmt::format("expert_bytes is {}: neither 0, for what was not read, nor the {} of "
                      "layer {}",
                      row.bytes, size, row.layer));
    }
    const Pass pass{row.turn, row.phase, row.phase == 0 ? 0 : row.step};
    if (!pass_.empty() && pass != current_) SLUICE_TRY(end_pass());
    current_ = pass;
    add(numbers_[row.layer], row);
    if (++choices_ <= kMostOfPass) return {};
    return {ErrorCode::kUnsupported, fmt::format("a pass of more than {} choices", kMostOfPass)};
  }

  Status begin() {
    if (experts_ == 0 || expert_bytes_.empty()) {
      return wrong("a row before the header has said n_expert and layers with expert_bytes");
    }
    if (experts_ * expert_bytes_.size() > kMostKeys) return wrong("too many experts");
    begun_ = true;
    return sink_.begin({.experts = std::vector<std::uint32_t>(expert_bytes_.size(), experts_),
                        .expert_bytes = expert_bytes_,
                        .slot_bytes = {}});
  }

  static Result<Row> parse_row(std::string_view line) {
    std::array<std::string_view, 9> fields;
    for (std::size_t i = 0; i < fields.size(); ++i) {
      const std::size_t end = std::min(line.find(','), line.size());
      const bool last = i + 1 == fields.size();
      if (last != (end == line.size())) {
        return wrong(fmt::format("a row has {} fields", fields.size()));
      }
      fields[i] = line.substr(0, end);
      if (!last) line.remove_prefix(end + 1);
    }
    Row row;
    std::uint32_t residency = 0;
    const bool numbers =
        parse(fields[0], row.turn) && parse(fields[1], row.phase) && parse(fields[2], row.step) &&
        parse(fields[3], row.layer) && parse(fields[4], row.slot) && parse(fields[5], row.expert) &&
        parse(fields[6], row.weight) && parse(fields[7], residency) && parse(fields[8], row.bytes);
    if (!numbers || row.phase > 1 || !std::isfinite(row.weight)) {
      return wrong("a field is not the number that stands there");
    }
    if (row.weight < 0) return wrong(fmt::format("a weight of {}: no router gives any", fields[6]));
    return row;
  }

  void add(std::uint32_t layer, const Row& row) {
    Visit* visit = nullptr;
    for (Visit& other : pass_) {
      if (other.layer == layer) visit = &other;
    }
    if (visit == nullptr) {
      visit = &pass_.emplace_back();
      visit->layer = layer;
    }
    if (visit->row_ends.empty() || visit->step != row.step) visit->row_ends.emplace_back();
    visit->step = row.step;
    visit->chosen.push_back({static_cast<std::uint16_t>(row.expert), row.weight});
    visit->row_ends.back() = static_cast<std::uint32_t>(visit->chosen.size());
  }

  /// Layers in the order in which the pass came to them, each once, whatever the order of rows.
  Status end_pass() {
    for (const Visit& visit : pass_) {
      SLUICE_TRY(sink_.visit({.layer = visit.layer,
                              .decode = current_.phase == 1,
                              .chosen = visit.chosen,
                              .row_ends = visit.row_ends}));
    }
    pass_.clear();
    choices_ = 0;
    return {};
  }

  static constexpr std::uint32_t kDense = ~std::uint32_t{0};
  struct Pass {
    std::uint32_t turn = 0, phase = 0, step = 0;
    bool operator==(const Pass&) const = default;
  };
  struct Visit {
    std::uint32_t layer = 0;
    std::uint32_t step = 0;  // of the last row
    std::vector<RoutedExpert> chosen;
    std::vector<std::uint32_t> row_ends;
  };

  TraceSink& sink_;
  bool begun_ = false;
  std::uint32_t idle_ = 0;                   // lines since the last row
  std::vector<std::uint64_t> expert_bytes_;  // [layers of experts]
  std::uint32_t experts_ = 0;
  std::vector<std::uint32_t> numbers_;  // [the model's layers] turn in the cycle, or kDense
  std::vector<Visit> pass_;
  std::size_t choices_ = 0;  // of the pass
  Pass current_;
};

}  // namespace

Result<TraceFacts> read_route_csv(const std::string& path, TraceSink& sink) {
  SLUICE_ASSIGN(GzipLines lines, GzipLines::open(path));
  RouteCsv csv(sink);
  for (std::size_t number = 1;; ++number) {
    const auto at_line = [&] { return fmt::format("{}:{}", path, number); };
    const auto line = lines.next();
    if (!line.ok()) return line.status().with_context(at_line());
    if (number == 1 && !line->text.starts_with("# route_trace")) {
      return Status(ErrorCode::kUnsupported,
                    path +
                        ": not a routing trace: --trace-routing did not write it, a .route.csv "
                        "begins with \"# route_trace\", and a packed trace is given as its "
                        "folder");
    }
    if (!line->more) {
      const Status status = csv.finish();
      if (!status.ok()) return status.with_context(at_line());
      return TraceFacts{};
    }
    if (!line->whole) {
      return Status(ErrorCode::kCorrupt, at_line() + (line->text.size() == GzipLines::kLongest
                                                          ? ": the line is too long"
                                                          : ": the file ends within a line"));
    }
    std::string_view text = line->text;
    if (text.ends_with('\r')) text.remove_suffix(1);
    const Status status = csv.line(text);
    if (!status.ok()) return status.with_context(at_line());
  }
}

}  // namespace sluice::apps
