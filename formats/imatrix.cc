#include "formats/imatrix.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <utility>

#include "formats/gguf_header.h"

namespace sluice {
namespace {

constexpr std::string_view kSums = ".in_sum2";
constexpr std::string_view kCounts = ".counts";
constexpr std::uint64_t kLongestName = 255;
constexpr std::uint64_t kLeastEntryBytes = 4 + 1 + 4 + 4 + 4;
constexpr std::string_view kRemedy =
    "make it again with 'sluice calibrate --imatrix' or llama-imatrix";

std::string in_quotes(std::string_view name) { return "'" + std::string(name) + "'"; }

/// "blk.3.ffn_up_exps.weight" → "blk.3.ffn_gate_up_exps.weight"; empty for other names.
std::string fused_name(std::string_view tensor) {
  for (const std::string_view part : {".ffn_gate_exps.", ".ffn_up_exps."}) {
    const std::size_t at = tensor.find(part);
    if (at == tensor.npos) continue;
    return std::string(tensor.substr(0, at)) + ".ffn_gate_up_exps." +
           std::string(tensor.substr(at + part.size()));
  }
  return {};
}

/// Sums of `experts` vectors → means. Where a count is 0, of all the others together.
void divide(std::vector<float>& sums, const std::vector<float>& counts, std::uint64_t columns) {
  std::vector<double> all(columns);
  double rows = 0;
  for (std::size_t expert = 0; expert < counts.size(); ++expert) {
    if (counts[expert] == 0) continue;
    rows += counts[expert];
    float* const of = sums.data() + expert * columns;
    for (std::size_t column = 0; column < columns; ++column) {
      all[column] += of[column];
      of[column] /= counts[expert];
    }
  }
  for (std::size_t expert = 0; expert < counts.size(); ++expert) {
    if (counts[expert] != 0) continue;
    std::transform(all.begin(), all.end(), sums.data() + expert * columns,
                   [&](double sum) { return rows == 0 ? 1.0f : static_cast<float>(sum / rows); });
  }
}

}  // namespace

Result<ImportanceMatrix> ImportanceMatrix::open(const std::string& path) {
  ImportanceMatrix matrix(path);
  SLUICE_ASSIGN(HeaderReader reader, HeaderReader::open(path));
  SLUICE_ASSIGN(const auto magic, reader.read<std::uint32_t>("magic"));
  SLUICE_ASSIGN(reader, HeaderReader::open(path));
  SLUICE_TRY(magic == kGgufMagic ? matrix.list_gguf(reader) : matrix.list_older(reader));
  // Where nothing was counted all columns would count alike, as without a matrix. As a rule the
  // first entry's counts settle that; what is wrong with them is `read`'s to say.
  for (const auto& [name, entry] : matrix.entries_) {
    if (entry.counts == 0) return matrix;
    const auto counts = matrix.read_numbers(name, "counts", entry.counts_offset, entry.counts);
    if (!counts.ok() || std::ranges::count(*counts, 0.0f) != std::ssize(*counts)) return matrix;
  }
  return Status(ErrorCode::kInvalidArgument,
                path + ": all its counts are 0: it was made of no text; " + std::string(kRemedy));
}

Status ImportanceMatrix::list_gguf(HeaderReader& reader) {
  SLUICE_ASSIGN(const GgufHeader header, read_gguf_header(reader));
  SLUICE_ASSIGN(GgufMetadata metadata, read_gguf_metadata(reader, header.pair_count));
  const auto type = metadata.take<std::string>("general.type");
  if (!type.ok()) return type.status().with_context(path_);
  if (type->value_or("model") != "imatrix") {
    return Status(ErrorCode::kInvalidArgument,
                  path_ + ": is a GGUF file of another kind (general.type is '" +
                      type->value_or("") + "', not 'imatrix'): name an importance matrix");
  }
  SLUICE_ASSIGN(const std::vector<GgufEntry> tensors,
                read_gguf_entries(reader, header.tensor_count, metadata));
  for (const GgufEntry& tensor : tensors) {
    std::string_view name = tensor.info.name;
    const bool sums = name.ends_with(kSums), counts = name.ends_with(kCounts);
    if (!sums && !counts) continue;  // statistics, for people
    const auto refuse = [&](std::string_view why) {
      return Status(ErrorCode::kCorrupt,
                    path_ + ": tensor " + in_quotes(name) + " " + std::string(why));
    };
    if (tensor.info.type != TensorType::kF32 || !tensor.foreign.empty())
      return refuse("is not F32");
    Entry& entry =
        entries_[std::string(name.substr(0, name.size() - (sums ? kSums : kCounts).size()))];
    std::uint64_t& count = sums ? entry.sums : entry.counts;
    if (count != 0) return refuse("appears twice");
    count = tensor.info.elements();
    (sums ? entry.sums_offset : entry.counts_offset) = tensor.info.ranges.front().offset;
  }
  for (const auto& [name, entry] : entries_) {
    if (entry.sums != 0 && entry.counts != 0 && entry.sums % entry.counts == 0) continue;
    return Status(ErrorCode::kCorrupt,
                  path_ + ": " + in_quotes(name) + " has " + std::to_string(entry.sums) +
                      " sums (" + std::string(kSums) + ") and " + std::to_string(entry.counts) +
                      " counts (" + std::string(kCounts) + "); " + std::string(kRemedy));
  }
  if (!entries_.empty()) return {};
  return Status(ErrorCode::kCorrupt, path_ + ": tells of no tensor; " + std::string(kRemedy));
}

Status ImportanceMatrix::list_older(HeaderReader& reader) {
  SLUICE_ASSIGN(const auto count, reader.read<std::int32_t>("number of entries"));
  if (count < 1 || static_cast<std::uint64_t>(count) > reader.remaining() / kLeastEntryBytes) {
    return Status(ErrorCode::kInvalidArgument,
                  path_ + ": is no importance matrix, neither in GGUF's form nor in the older one");
  }
  for (std::int32_t i = 0; i < count; ++i) SLUICE_TRY(list_older_entry(reader));
  if (reader.remaining() == 0) return {};
  SLUICE_TRY(reader.skip(sizeof(std::int32_t), "number of chunks"));
  if (reader.remaining() == 0) return {};
  SLUICE_ASSIGN(const auto length, reader.read<std::int32_t>("length of the text's name"));
  if (length >= 0 && static_cast<std::uint64_t>(length) == reader.remaining()) return {};
  return reader.corrupt("length of the text's name", "is not what is left of the file");
}

Status ImportanceMatrix::list_older_entry(HeaderReader& reader) {
  SLUICE_ASSIGN(const auto length, reader.read<std::int32_t>("length of a tensor's name"));
  if (length < 1 || static_cast<std::uint64_t>(length) > kLongestName) {
    return reader.corrupt("length of a tensor's name", std::to_string(length) + " is out of range");
  }
  std::string name;
  SLUICE_TRY(reader.read_text(name, static_cast<std::uint64_t>(length), "tensor's name"));
  if (name.find('\0') != name.npos) return reader.corrupt("tensor's name", "holds a NUL");
  const std::string of = " of " + in_quotes(name);
  SLUICE_ASSIGN(const auto chunks, reader.read<std::int32_t>("chunks" + of));
  if (chunks < 0) return reader.corrupt("chunks" + of, std::to_string(chunks) + " cannot be");
  SLUICE_ASSIGN(const auto values, reader.read<std::int32_t>("number of values" + of));
  if (values < 1) {
    return reader.corrupt("number of values" + of, std::to_string(values) + " is none");
  }
  const auto [entry, added] = entries_.try_emplace(std::move(name));
  if (!added) return reader.corrupt("tensor's name", in_quotes(entry->first) + " appears twice");
  entry->second.sums_offset = reader.position();
  entry->second.sums = static_cast<std::uint64_t>(values);
  entry->second.chunks = static_cast<float>(std::max(chunks, 1));  // of 0 they are means already
  return reader.skip(entry->second.sums * sizeof(float), "values" + of);
}

const ImportanceMatrix::Entry* ImportanceMatrix::find(std::string_view tensor) const {
  auto found = entries_.find(tensor);
  if (found == entries_.end()) found = entries_.find(fused_name(tensor));
  return found == entries_.end() ? nullptr : &found->second;
}

Result<Importance> ImportanceMatrix::read(std::string_view tensor, std::uint64_t experts,
                                          std::uint64_t columns) const {
  const Entry* const entry = find(tensor);
  if (entry == nullptr) {
    return Status(ErrorCode::kNotFound,
                  path_ + ": says nothing of " + in_quotes(tensor) + "; " + std::string(kRemedy));
  }
  // Divided, since a product of hostile numbers may overflow.
  if (experts == 0 || columns == 0 || entry->sums / columns != experts ||
      entry->sums % columns != 0 || (entry->counts > 1 && entry->counts != experts)) {
    return Status(ErrorCode::kInvalidArgument,
                  path_ + ": has " + std::to_string(entry->sums) + " numbers in " +
                      std::to_string(std::max<std::uint64_t>(entry->counts, 1)) + " parts for " +
                      in_quotes(tensor) + ", which takes " + std::to_string(columns) +
                      " for each of " + std::to_string(experts) + ": it is of another model");
  }
  Importance importance;
  importance.columns = columns;
  SLUICE_ASSIGN(importance.mean_squares,
                read_numbers(tensor, "sums", entry->sums_offset, entry->sums));
  if (entry->counts == 0) {
    SLUICE_TRY(check_sums(tensor, importance.mean_squares));
    for (float& value : importance.mean_squares) value /= entry->chunks;
    importance.counts.resize(experts);
    return importance;
  }
  SLUICE_ASSIGN(importance.counts,
                read_numbers(tensor, "counts", entry->counts_offset, entry->counts));
  for (const float count : importance.counts) {
    if (count == std::floor(count)) continue;
    return Status(ErrorCode::kCorrupt, path_ + ": counts of " + in_quotes(tensor) + ": " +
                                           std::to_string(count) + " is no number of rows");
  }
  if (std::ranges::any_of(importance.counts, [](float count) { return count > 0; })) {
    SLUICE_TRY(check_sums(tensor, importance.mean_squares));
  }
  importance.counts.resize(experts, importance.counts.front());
  divide(importance.mean_squares, importance.counts, columns);
  return importance;
}

/// By sums of zeros no column would count at all.
Status ImportanceMatrix::check_sums(std::string_view tensor,
                                    const std::vector<float>& sums) const {
  const auto none = [](float sum) { return sum < std::numeric_limits<float>::min(); };
  if (!std::ranges::all_of(sums, none)) return {};
  return {ErrorCode::kCorrupt, path_ + ": all sums of " + in_quotes(tensor) +
                                   " are 0, as of inputs that are all zeros; " +
                                   std::string(kRemedy)};
}

/// REQUIRES: when the file was opened, they lay in it.
Result<std::vector<float>> ImportanceMatrix::read_numbers(std::string_view tensor,
                                                          std::string_view what,
                                                          std::uint64_t offset,
                                                          std::uint64_t count) const {
  const std::string field = std::string(what) + " of " + in_quotes(tensor);
  SLUICE_ASSIGN(HeaderReader reader, HeaderReader::open(path_));
  SLUICE_TRY(reader.skip(offset, field));
  if (count > reader.remaining() / sizeof(float)) {
    return reader.corrupt(field, "the file became shorter");
  }
  std::vector<float> numbers(static_cast<std::size_t>(count));
  SLUICE_TRY(reader.read(std::as_writable_bytes(std::span(numbers)), field));
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    if (std::isfinite(numbers[i]) && numbers[i] >= 0) continue;
    return reader.corrupt(field, "number " + std::to_string(i) + " is " +
                                     std::to_string(numbers[i]) + "; " + std::string(kRemedy));
  }
  return numbers;
}

}  // namespace sluice
