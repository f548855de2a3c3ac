#include "apps/recorded_trace.h"

#include <fmt/format.h>

#include <bit>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <vector>

#include "apps/routing_trace_file.h"
#include "formats/checksum.h"

namespace sluice::apps {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers are read as they lie");

constexpr std::uint32_t kMostLayers = 4096, kMostExperts = 65536;
constexpr std::uint32_t kMostKeys = 1u << 22;
constexpr std::uint64_t kLargestExpert = std::uint64_t{1} << 40;
constexpr std::uint32_t kMostRows = 1u << 20;
constexpr std::size_t kMostOfVisit = std::size_t{1} << 26;  // choices

class Reader {
 public:
  Reader(const std::string& path, TraceSink& sink)
      : path_(path), sink_(sink), file_(path, std::ios::binary) {}

  Result<TraceFacts> read() {
    std::error_code error;
    size_ = std::filesystem::file_size(path_, error);
    if (!file_ || error) {
      return Status(ErrorCode::kIo, path_ + ": " + std::strerror(error ? error.value() : errno));
    }
    SLUICE_TRY(read_header());
    SLUICE_TRY(sink_.begin(shape_).with_context(path_));
    while (!whole_ && at_ < size_) {
      const std::uint64_t begin = at_;
      SLUICE_TRY(read_record());
      if (!torn_) continue;
      at_ = begin;
      break;
    }
    if (passes_ == 0) {
      return wrong(fmt::format(
          "there is no pass in it{}: record a run that computes something, such as 'sluice run "
          "MODEL -p TEXT -n 100 --trace-routing FILE'",
          whole_ ? "" : ", as in that of a run that was killed early"));
    }
    if (whole_) return TraceFacts{};
    return TraceFacts{
        .knows_bytes = true,
        .warning = fmt::format("{}: ends at byte {} without an end mark, as that of a run that was "
                               "killed: what it holds up to byte {} is used",
                               path_, size_, at_)};
  }

 private:
  /// What is at `offset` is wrong.
  Status wrong(std::uint64_t offset, const std::string& what) const {
    return Status(ErrorCode::kCorrupt, fmt::format("{}: at byte {}: {}", path_, offset, what));
  }
  Status wrong(const std::string& what) const { return wrong(at_, what); }

  /// False where the file ends before `count` numbers.
  template <typename Number>
  bool take(std::vector<Number>& numbers, std::size_t count) {
    if (count * sizeof(Number) > size_ - at_) return false;
    numbers.resize(count);
    return take_bytes(std::as_writable_bytes(std::span(numbers)));
  }
  template <typename Number>
  bool take(Number& number) {
    return sizeof number <= size_ - at_ &&
           take_bytes(std::as_writable_bytes(std::span(&number, 1)));
  }
  bool take_bytes(std::span<std::byte> bytes) {
    file_.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    at_ += bytes.size();
    sum_.add(bytes);
    return file_.good();
  }

  Status read_header() {
    std::uint32_t version = 0, layers = 0;
    std::vector<char> magic;
    const auto ends = [&] { return wrong("the file ends within its header"); };
    if (!take(magic, kTraceMagic.size()) || !take(version)) return ends();
    if (version != kTraceVersion) {
      return Status(ErrorCode::kUnsupported,
                    fmt::format("{}: version {}; {} is read", path_, version, kTraceVersion));
    }
    if (!take(layers) || !take(top_k_) || !take(id_bytes_)) return ends();
    if (layers == 0 || layers > kMostLayers) {
      return wrong(12, fmt::format("{} layers; 1 to {} are read", layers, kMostLayers));
    }
    if (id_bytes_ != 1 && id_bytes_ != 2) return wrong(20, "ids have neither 1 nor 2 bytes");
    for (std::uint32_t layer = 0; layer < layers; ++layer) {
      std::uint32_t number = 0, experts = 0;
      std::uint64_t bytes = 0;
      const std::uint64_t begin = at_;
      if (!take(number) || !take(experts) || !take(bytes)) return ends();
      if (experts == 0 || experts > kMostExperts) {
        return wrong(begin + 4, fmt::format("{} experts; 1 to {} are read", experts, kMostExperts));
      }
      if (top_k_ == 0 || top_k_ > experts) {
        return wrong(16, fmt::format("a row takes {} of {} experts", top_k_, experts));
      }
      if (bytes == 0 || bytes > kLargestExpert) {
        return wrong(begin + 8, fmt::format("an expert of {} bytes", bytes));
      }
      std::vector<std::uint64_t> slots;
      if (!take(slots, experts)) return ends();
      for (std::size_t i = 0; i < slots.size(); ++i) {
        if (slots[i] != 0 && slots[i] <= kLargestExpert) continue;
        return wrong(begin + 16 + 8 * i, fmt::format("a slot of {} bytes", slots[i]));
      }
      shape_.experts.push_back(experts);
      shape_.expert_bytes.push_back(bytes);
      shape_.slot_bytes.insert(shape_.slot_bytes.end(), slots.begin(), slots.end());
      if (shape_.slot_bytes.size() > kMostKeys) return wrong("too many experts");
    }
    SLUICE_TRY(read_sum());
    return torn_ ? ends() : Status();
  }

  /// Sets torn_ where the file ends within it.
  Status read_sum() {
    const std::uint64_t expected = sum_.value();
    std::uint64_t said = 0;
    torn_ = !take(said);
    sum_.restart();
    if (torn_ || said == expected) return {};
    return wrong(at_ - sizeof said, "what comes before is not what was written: it is damaged");
  }

  /// Sets torn_ where the file ends within it.
  Status read_record() {
    std::uint16_t mark = 0;
    torn_ = !take(mark);
    if (torn_) return {};
    if (mark == kPassMark) return read_pass();
    if (mark == kEndMark) return read_end();
    if (mark == kSumMark) return read_sum();
    if (mark >= shape_.experts.size()) {
      return wrong(at_ - 2, fmt::format("layer {} of {}", mark, shape_.experts.size()));
    }
    if (mark < next_layer_) {
      return wrong(at_ - 2,
                   passes_ == 0 ? "a visit before the first pass" : "a layer's visit out of order");
    }
    next_layer_ = mark + 1u;
    return read_visit(mark);
  }

  Status read_pass() {
    std::uint8_t decode = 0;
    const std::uint64_t begin = at_;
    torn_ = !take(rows_) || !take(decode);
    if (torn_) return {};
    if (rows_ == 0 || rows_ > kMostRows) {
      return wrong(begin, fmt::format("a pass of {} rows; 1 to {} are read", rows_, kMostRows));
    }
    if (decode > 1) return wrong(begin + 4, "neither prefill nor decode");
    decode_ = decode == 1;
    std::vector<std::uint32_t> places;  // which token where is of no use here
    torn_ = !take(places, std::size_t{2} * rows_);
    if (torn_) return {};
    row_ends_.resize(rows_);
    for (std::uint32_t row = 0; row < rows_; ++row) row_ends_[row] = (row + 1) * top_k_;
    passes_ += 1;
    next_layer_ = 0;
    return {};
  }

  Status read_visit(std::uint32_t layer) {
    const std::size_t count = std::size_t{rows_} * top_k_;
    if (count > kMostOfVisit) return wrong(fmt::format("a visit of {} choices", count));
    const std::uint64_t begin = at_;
    torn_ = !(id_bytes_ == 1 ? take(narrow_, count) : take(wide_, count)) || !take(shares_, count);
    if (torn_) return {};
    chosen_.resize(count);
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint16_t expert = id_bytes_ == 1 ? narrow_[i] : wide_[i];
      if (expert >= shape_.experts[layer]) {
        return wrong(begin + i * id_bytes_, fmt::format("layer {}: expert {} of {}", layer, expert,
                                                        shape_.experts[layer]));
      }
      for (std::size_t other = i / top_k_ * top_k_; other < i; ++other) {
        if (chosen_[other].expert != expert) continue;
        return wrong(begin + i * id_bytes_,
                     fmt::format("layer {}: a row takes expert {} twice", layer, expert));
      }
      chosen_[i] = {expert, share_of(shares_[i])};
    }
    return sink_
        .visit({.layer = layer, .decode = decode_, .chosen = chosen_, .row_ends = row_ends_})
        .with_context(path_);
  }

  Status read_end() {
    std::uint64_t passes = 0;
    torn_ = !take(passes);
    if (torn_) return {};
    if (passes != passes_) {
      return wrong(at_ - 8, fmt::format("{} passes are said and {} are there", passes, passes_));
    }
    SLUICE_TRY(read_sum());
    if (torn_) return {};
    if (at_ != size_) return wrong("something follows the end");
    whole_ = true;
    return {};
  }

  const std::string& path_;
  TraceSink& sink_;
  std::ifstream file_;
  std::uint64_t size_ = 0, at_ = 0;
  RunningChecksum sum_;  // of what was taken since the last sum
  TraceShape shape_;
  std::uint32_t top_k_ = 0, id_bytes_ = 0;
  bool torn_ = false, whole_ = false;
  std::uint64_t passes_ = 0;
  std::uint32_t rows_ = 0;
  bool decode_ = false;
  std::uint32_t next_layer_ = kMostLayers + 1;  // of the pass; none before the first
  std::vector<std::uint8_t> narrow_;            // ids of a visit
  std::vector<std::uint16_t> wide_, shares_;
  std::vector<RoutedExpert> chosen_;
  std::vector<std::uint32_t> row_ends_;
};

}  // namespace

Result<TraceFacts> read_recorded_trace(const std::string& path, TraceSink& sink) {
  return Reader(path, sink).read();
}

}  // namespace sluice::apps
