#include "apps/weight_survey.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <future>
#include <optional>
#include <span>
#include <thread>
#include <utility>

#include "apps/cancel.h"
#include "base/aligned_buffer.h"
#include "base/cancellation.h"
#include "base/size.h"
#include "base/system_memory.h"
#include "engine/model.h"
#include "formats/stored_layout.h"
#include "io/read_range.h"

namespace sluice::apps {
namespace {

constexpr std::uint64_t kPieceNumbers = 1 << 18;  // that a thread decodes at a time
constexpr std::uint64_t kBatchBytes = 16 << 20;   // that are read together, where memory allows
constexpr std::uint64_t kSector = 4096;

/// Some rows of a weight; or a whole range of it, where its numbers have to be re-laid; or all
/// groups of planes of an expert's matrix.
struct Piece {
  std::uint64_t bytes() const {
    std::uint64_t sum = 0;
    for (const FileRange& part : parts) sum += part.bytes;
    return sum;
  }

  std::size_t weight = 0;        // index of its SurveyedWeight
  std::vector<FileRange> parts;  // a range, and the scales beside it if there are any; or groups
  std::uint64_t numbers = 0;     // that are decoded at once
};

/// A tensor that is there twice is looked at as its source has it.
bool only_planes(const TensorInfo& tensor) { return tensor.nested && tensor.ranges.empty(); }

/// Each expert's part can be told from the others'.
bool is_stacked(const TensorInfo& tensor) {
  if (only_planes(tensor)) return true;
  const bool experts = tensor.name.ends_with("_exps.weight") || tensor.name.ends_with("_exps.bias");
  if (!experts || tensor.shape.size() < 2) return false;
  const std::size_t ranges = tensor.ranges.size();
  return ranges == tensor.shape.front() || (ranges == 1 && !tensor.stored);
}

std::uint64_t columns_of(const TensorInfo& tensor) {
  return tensor.shape.empty() ? 1 : std::max<std::uint64_t>(1, tensor.shape.back());
}

std::vector<SurveyedWeight> list_weights(const Checkpoint& checkpoint) {
  std::vector<SurveyedWeight> weights;
  for (const auto& [name, tensor] : checkpoint.tensors) {
    const bool stacked = is_stacked(tensor);
    const std::uint64_t units = stacked ? tensor.shape.front() : 1;
    for (std::uint64_t unit = 0; unit < units; ++unit) {
      weights.push_back({.tensor = &tensor,
                         .expert = static_cast<std::uint32_t>(unit),
                         .stacked = stacked,
                         .statistics = {}});
    }
  }
  return weights;
}

/// In memory: each part lies as far in its first sector as on disk.
std::uint64_t room_of(const Piece& piece) {
  return piece.bytes() + 2 * kSector * piece.parts.size();
}

/// Cuts the weights into pieces, one after the other: a list of them would be long.
class PieceCutter {
 public:
  explicit PieceCutter(const std::vector<SurveyedWeight>& weights) : weights_(weights) {}

  /// Nothing at the end.
  std::optional<Piece> front() const {
    if (weight_ == weights_.size()) return std::nullopt;
    const SurveyedWeight& weight = weights_[weight_];
    const TensorInfo& tensor = *weight.tensor;
    Piece piece{.weight = weight_, .parts = {}, .numbers = 0};
    if (only_planes(tensor)) {
      for (std::size_t i = 0; i < tensor.nested->group_count(weight.expert); ++i) {
        piece.parts.push_back(tensor.nested->group(weight.expert, i));
      }
      piece.numbers = columns_of(tensor);
      return piece;
    }
    const FileRange range = this->range();
    if (tensor.stored) {
      piece.parts = {range};
      const auto& scales = tensor.stored->scales;
      if (!scales.empty()) piece.parts.push_back(scales[range_index()]);
      piece.numbers = tensor.elements() / tensor.ranges.size();
    } else {
      const std::uint64_t bytes = std::min(range.bytes - done_, most_bytes(tensor));
      piece.parts = {{range.file, range.offset + done_, bytes}};
      piece.numbers = bytes / row_bytes(tensor) * columns_of(tensor);
    }
    return piece;
  }

  /// REQUIRES: front() is something.
  void pop() {
    const SurveyedWeight& weight = weights_[weight_];
    if (!weight.tensor->stored && !only_planes(*weight.tensor)) {
      done_ += most_bytes(*weight.tensor);
      if (done_ < range().bytes) return;
    }
    done_ = 0;
    if (!weight.stacked && ++range_ < weight.tensor->ranges.size()) return;
    range_ = 0;
    ++weight_;
  }

 private:
  static std::uint64_t row_bytes(const TensorInfo& tensor) {
    return tensor_format(tensor.type).bytes(columns_of(tensor));
  }
  static std::uint64_t most_bytes(const TensorInfo& tensor) {
    return std::max<std::uint64_t>(1, kPieceNumbers / columns_of(tensor)) * row_bytes(tensor);
  }
  std::size_t range_index() const {
    return weights_[weight_].stacked ? weights_[weight_].expert : range_;
  }
  FileRange range() const {
    const SurveyedWeight& weight = weights_[weight_];
    return weight.stacked ? weight.tensor->slice(weight.expert) : weight.tensor->ranges[range_];
  }

  const std::vector<SurveyedWeight>& weights_;
  std::size_t weight_ = 0;
  std::size_t range_ = 0;   // of a weight that is not stacked
  std::uint64_t done_ = 0;  // bytes of the range
};

/// What all pieces come to.
struct Sizes {
  explicit Sizes(const std::vector<SurveyedWeight>& weights) {
    PieceCutter cutter(weights);
    for (auto piece = cutter.front(); piece; cutter.pop(), piece = cutter.front()) {
      bytes += piece->bytes();
      most_room = std::max(most_room, room_of(*piece));
      most_numbers = std::max(most_numbers, piece->numbers);
    }
  }

  std::uint64_t bytes = 0;
  std::uint64_t most_room = 0;     // of a piece
  std::uint64_t most_numbers = 0;  // of a piece
};

/// Pieces that are read together and then looked at by all threads.
class Batch {
 public:
  Status allocate(std::uint64_t bytes) {
    SLUICE_ASSIGN(memory_, AlignedBuffer::allocate(bytes));
    return {};
  }

  /// Takes pieces from the front as far as there is room, and reads them.
  Status read(PieceCutter& pieces, BlockReader& reader, const std::vector<FileIndex>& files) {
    placed_.clear();
    reads_.clear();
    std::byte* at = memory_.data();
    for (auto piece = pieces.front(); piece; pieces.pop(), piece = pieces.front()) {
      if (room_of(*piece) > static_cast<std::uint64_t>(memory_.data() + memory_.size() - at)) break;
      Placed placed{.weight = piece->weight, .numbers = piece->numbers};
      for (const FileRange& part : piece->parts) placed.parts.push_back(place(part, files, at));
      placed_.push_back(std::move(placed));
    }
    return read_ranges(reader, reads_);
  }

  bool empty() const { return placed_.empty(); }

  /// What each piece looks like. The first error of any.
  Status look(const std::vector<SurveyedWeight>& weights, unsigned threads) {
    std::atomic<std::size_t> next{0};
    std::vector<Status> statuses(threads);
    const auto work = [&](Status& status) {
      auto numbers = AlignedBuffer::allocate(most_numbers() * sizeof(float));
      status = numbers.status();
      for (std::size_t i = next++; i < placed_.size() && status.ok(); i = next++) {
        Placed& placed = placed_[i];
        status =
            look(*weights[placed.weight].tensor, placed, {numbers->as<float>(), placed.numbers});
      }
    };
    {
      std::vector<std::jthread> others;
      for (unsigned i = 1; i < threads; ++i) others.emplace_back(work, std::ref(statuses[i]));
      work(statuses[0]);
    }
    for (const Status& status : statuses) SLUICE_TRY(status);
    return {};
  }

  /// Adds what was found; returns the bytes that it was found in.
  std::uint64_t add_to(std::vector<SurveyedWeight>& weights) const {
    std::uint64_t bytes = 0;
    for (const Placed& placed : placed_) {
      weights[placed.weight].statistics.append(placed.found);
      for (const auto& part : placed.parts) bytes += part.size();
    }
    return bytes;
  }

 private:
  struct Placed {
    std::size_t weight = 0;
    std::uint64_t numbers = 0;
    std::vector<std::span<std::byte>> parts = {};
    WeightStatistics found = {};
  };

  /// As far into its first sector as on disk, so that nothing has to be copied.
  std::span<std::byte> place(const FileRange& range, const std::vector<FileIndex>& files,
                             std::byte*& at) {
    const std::span<std::byte> bytes(at + range.offset % kSector, range.bytes);
    reads_.push_back({files[range.file], range.offset, bytes});
    at += (range.offset % kSector + range.bytes + kSector - 1) / kSector * kSector;
    return bytes;
  }

  std::uint64_t most_numbers() const {
    std::uint64_t most = 0;
    for (const Placed& placed : placed_) most = std::max(most, placed.numbers);
    return most;
  }

  static Status look(const TensorInfo& tensor, Placed& placed, std::span<float> numbers) {
    if (only_planes(tensor)) {
      look_at_planes(tensor, placed, numbers);
      return {};
    }
    if (tensor.stored) {
      const bool scaled = placed.parts.size() > 1;
      SLUICE_TRY(decode_range(tensor, placed.parts[0],
                              scaled ? placed.parts[1] : std::span<std::byte>(), numbers));
    } else {
      tensor_format(tensor.type).decode(placed.parts[0].data(), numbers.data(), numbers.size());
    }
    placed.found.add(numbers, columns_of(tensor));
    return {};
  }

  /// With all bits that there are. `row` `[columns]`.
  static void look_at_planes(const TensorInfo& tensor, Placed& placed, std::span<float> row) {
    const NestedForm& form = *tensor.nested->form;
    const std::byte* const first = placed.parts[0].data();
    NestedView view{.form = &form,
                    .width = static_cast<std::uint8_t>(form.width(placed.parts.size())),
                    .at = {}};
    for (std::size_t i = 0; i < placed.parts.size(); ++i) {
      view.at[i] = static_cast<std::uint64_t>(placed.parts[i].data() - first);
    }
    for (std::size_t i = 0; i < tensor.shape[1]; ++i) {
      decode_nested_row(view, first, row.size(), i, row.data());
      placed.found.add(row, row.size());
    }
  }

  AlignedBuffer memory_;
  std::vector<Placed> placed_;
  std::vector<RangeRead> reads_;
};

/// How the memory that is left is spent.
struct Spending {
  std::uint64_t batch = 0;  // bytes, twice
  unsigned threads = 1;
};

Result<Spending> spend(const Sizes& pieces, Runtime& runtime) {
  constexpr std::uint64_t kReserve = 4 << 20;  // stacks, and memory of the reader
  SLUICE_ASSIGN(const ProcessMemory now, process_memory());
  // A re-laid piece takes its stored form, perhaps a copy in between, and its numbers.
  const std::uint64_t thread = pieces.most_numbers * 2 * sizeof(float);
  const std::uint64_t least = pieces.most_room + kSector;
  const std::uint64_t needed = now.resident + kReserve + 2 * least + thread;
  if (runtime.ram() < needed) {
    return Status(ErrorCode::kBudget,
                  fmt::format("--ram {} is too small to look at the largest matrix: it takes {}",
                              format_size(runtime.ram()), format_size(needed)));
  }
  const std::uint64_t spare = runtime.ram() - needed;
  Spending spending;
  spending.batch = least + std::min(kBatchBytes, spare / 4);
  spending.threads = static_cast<unsigned>(std::clamp<std::uint64_t>(
      1 + spare / 4 / std::max<std::uint64_t>(thread, 1), 1, runtime.threads()));
  return spending;
}

}  // namespace

std::string SurveyedWeight::name() const {
  return stacked ? fmt::format("{}, expert {}", tensor->name, expert) : tensor->name;
}

Result<std::vector<SurveyedWeight>> survey_weights(const Checkpoint& checkpoint, Runtime& runtime,
                                                   const SurveyProgress& progress) {
  SLUICE_ASSIGN(const std::vector<FileIndex> files, open_files(checkpoint, runtime.reader()));
  std::vector<SurveyedWeight> weights = list_weights(checkpoint);
  const Sizes sizes(weights);
  SLUICE_ASSIGN(const Spending spending, spend(sizes, runtime));
  Batch looked_at, coming;
  SLUICE_TRY(looked_at.allocate(spending.batch));
  SLUICE_TRY(coming.allocate(spending.batch));
  PieceCutter left(weights);
  std::uint64_t done = 0;
  SLUICE_TRY(looked_at.read(left, runtime.reader(), files));
  while (!looked_at.empty()) {
    auto looking =
        std::async(std::launch::async, [&] { return looked_at.look(weights, spending.threads); });
    const Status read = coming.read(left, runtime.reader(), files);
    SLUICE_TRY(looking.get());
    SLUICE_TRY(read);
    done += looked_at.add_to(weights);
    progress(done, sizes.bytes);
    SLUICE_TRY(check_cancelled(&cancel_requested()));
    std::swap(looked_at, coming);
  }
  return weights;
}

}  // namespace sluice::apps
