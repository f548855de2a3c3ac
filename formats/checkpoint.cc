#include "formats/checkpoint.h"

#include <algorithm>
#include <exception>
#include <filesystem>
#include <iterator>
#include <new>
#include <system_error>
#include <utility>

#include "formats/checksum.h"
#include "formats/gguf.h"
#include "formats/hugging_face.h"
#include "formats/store_format.h"

namespace sluice {
namespace {

/// The setting under `key` as T, with `convert` given the variant to try other kinds.
template <typename T, typename Convert>
Result<std::optional<T>> look_up(const Checkpoint& checkpoint, std::string_view key,
                                 std::string_view kind, Convert convert) {
  const auto found = checkpoint.settings.find(key);
  if (found == checkpoint.settings.end()) return std::optional<T>();
  if (const T* value = std::get_if<T>(&found->second)) return std::optional<T>(*value);
  if (std::optional<T> converted = convert(found->second)) return converted;
  std::string message = "setting '";
  message.append(key).append("' is not ").append(kind);
  return Status(ErrorCode::kCorrupt, std::move(message));
}

template <typename T>
std::optional<T> no_other(const Setting&) {
  return std::nullopt;
}

}  // namespace

std::uint64_t TensorInfo::elements() const {
  std::uint64_t product = 1;
  for (const std::uint64_t extent : shape) product *= extent;
  return product;
}

std::uint64_t TensorInfo::bytes() const {
  std::uint64_t sum = 0;
  for (const FileRange& range : ranges) sum += range.bytes;
  return sum;
}

std::size_t NestedRanges::group_count(std::uint64_t expert) const {
  std::size_t count = 0;
  while (count < form->group_count && group(expert, count).bytes != 0) ++count;
  return count;
}

FileRange TensorInfo::slice(std::uint64_t index) const {
  if (ranges.size() > 1) return ranges[index];
  const FileRange& whole = ranges.front();
  const std::uint64_t bytes = whole.bytes / shape.front();
  return {whole.file, whole.offset + index * bytes, bytes};
}

std::string Checkpoint::source_of(std::string_view setting) const {
  const auto name = setting_names.find(setting);
  return name == setting_names.end() ? settings_file : settings_file + ": '" + name->second + "'";
}

const CheckedBlock* Checkpoint::block_of(const FileRange& range) const {
  const auto after = std::ranges::upper_bound(
      blocks, std::pair(range.file, range.offset), {},
      [](const CheckedBlock& block) { return std::pair(block.file, block.offset); });
  if (after == blocks.begin()) return nullptr;
  const CheckedBlock& block = *std::prev(after);
  const bool inside = block.file == range.file && range.offset - block.offset <= block.bytes &&
                      range.bytes <= block.bytes - (range.offset - block.offset);
  return inside ? &block : nullptr;
}

Status Checkpoint::damaged(const CheckedBlock& block) const {
  return damaged_block(files[block.file], block.offset, block.bytes);
}

const TensorInfo* Checkpoint::find(std::string_view name) const {
  const auto found = tensors.find(name);
  return found == tensors.end() ? nullptr : &found->second;
}

Result<const TensorInfo*> Checkpoint::require(std::string_view name) const {
  if (const TensorInfo* tensor = find(name)) return tensor;
  std::string message = files.empty() ? std::string() : files.front() + ": ";
  message.append("tensor '").append(name);
  if (const auto found = unreadable.find(name); found != unreadable.end()) {
    message.append("' is in format ").append(found->second).append(", which cannot be read yet");
    return Status(ErrorCode::kUnsupported, std::move(message));
  }
  return Status(ErrorCode::kNotFound, message.append("' is missing"));
}

Result<std::optional<std::int64_t>> Checkpoint::integer(std::string_view key) const {
  return look_up<std::int64_t>(*this, key, "an integer", no_other<std::int64_t>);
}

Result<std::optional<double>> Checkpoint::real(std::string_view key) const {
  return look_up<double>(*this, key, "a number",
                         [](const Setting& setting) -> std::optional<double> {
                           const auto* whole = std::get_if<std::int64_t>(&setting);
                           return whole ? std::optional(static_cast<double>(*whole)) : std::nullopt;
                         });
}

Result<std::optional<bool>> Checkpoint::boolean(std::string_view key) const {
  return look_up<bool>(*this, key, "true or false", no_other<bool>);
}

Result<std::optional<std::string>> Checkpoint::text(std::string_view key) const {
  return look_up<std::string>(*this, key, "a text", no_other<std::string>);
}

Result<std::optional<std::vector<std::int64_t>>> Checkpoint::integers(std::string_view key) const {
  using List = std::vector<std::int64_t>;
  return look_up<List>(*this, key, "a list of integers", no_other<List>);
}

Result<std::optional<std::vector<double>>> Checkpoint::reals(std::string_view key) const {
  using List = std::vector<double>;
  return look_up<List>(
      *this, key, "a list of numbers", [](const Setting& setting) -> std::optional<List> {
        const auto* whole = std::get_if<std::vector<std::int64_t>>(&setting);
        return whole ? std::optional(List(whole->begin(), whole->end())) : std::nullopt;
      });
}

Result<Checkpoint> open_checkpoint(const std::string& path, CheckpointParts parts) {
  try {
    std::error_code ignored;
    if (std::filesystem::is_directory(path, ignored)) return open_hugging_face(path, parts);
    if (is_store(path)) return open_store(path, parts);
    auto opened = open_gguf(path, parts);
    if (opened.ok() || std::filesystem::path(path).extension() != ".slc") return opened;
    // Whoever named it so takes it for one.
    return Status(opened.status().code(),
                  opened.status().message() +
                      "; nor does it begin as a store does: it is none, or its first bytes are "
                      "damaged: pack it again");
  } catch (const std::bad_alloc&) {
    return Status(ErrorCode::kBudget, path + ": not enough memory to read the header");
  } catch (const std::exception& failure) {
    return Status(ErrorCode::kInternal, path + ": " + failure.what());
  }
}

}  // namespace sluice
