#include "store/nested_maker.h"

#include <algorithm>
#include <cstring>
#include <future>
#include <system_error>
#include <thread>

#include "base/quant_blocks.h"
#include "formats/checked_ranges.h"
#include "formats/stored_layout.h"
#include "io/read_range.h"
#include "store/nested_fit.h"

namespace sluice {
namespace {

std::vector<float> floats_of(const TensorInfo& tensor, std::span<const std::byte> source,
                             std::span<const std::byte> scales, Status& status) {
  std::vector<float> floats(tensor.shape[1] * tensor.shape[2]);
  if (tensor.stored) {
    status = decode_range(tensor, source, scales, floats);
  } else {
    tensor_format(tensor.type).decode(source.data(), floats.data(), floats.size());
  }
  return floats;
}

/// MXFP4's sixteen codes in the order of their numbers: they are a sign and a magnitude.
std::uint8_t rank_of_fp4(unsigned code) {
  return static_cast<std::uint8_t>(code < 8 ? 8 + code : 15 - code);
}

/// An integer source's blocks apart: codes as the form counts them, the scales of their groups, and
/// the bytes that these are made of.
struct SourceCodes {
  SourceCodes(const NestedForm& form, std::span<const std::byte> source) {
    const TensorFormat& format = tensor_format(form.source);
    const std::size_t blocks = source.size() / format.block_bytes;
    const std::size_t groups = form.block / format.group;
    codes.resize(blocks * form.block);
    scales.resize(blocks * groups);
    scale_bytes.resize(blocks * form.scale_bytes);
    std::vector<std::int8_t> numbers(form.block);
    std::vector<float> mins(groups);
    for (std::size_t i = 0; i < blocks; ++i) {
      const std::byte* const block = source.data() + i * format.block_bytes;
      format.unpack(block, numbers.data(), scales.data() + i * groups, mins.data());
      std::uint8_t* const out = codes.data() + i * form.block;
      for (std::size_t k = 0; k < form.block; ++k) {
        out[k] = static_cast<std::uint8_t>(numbers[k] - form.first);
      }
      // Numbers do not tell the zero with a sign from the one without.
      if (form.source == TensorType::kMXFP4) rank(block, out);
      std::memcpy(scale_bytes.data() + i * form.scale_bytes, block + form.scales_at,
                  form.scale_bytes);
    }
  }
  static void rank(const std::byte* from, std::uint8_t* out) {
    const auto& block = *reinterpret_cast<const MXFP4Block*>(from);
    for (std::size_t k = 0; k < 16; ++k) {
      out[k] = rank_of_fp4(block.nibbles[k] & 15);
      out[k + 16] = rank_of_fp4(block.nibbles[k] >> 4);
    }
  }
  std::vector<std::uint8_t> codes;
  std::vector<float> scales;
  std::vector<std::byte> scale_bytes;
};

/// Groups of a matrix: group i at out + at[i], as many as `at` has.
Status nest_matrix(const TensorInfo& tensor, const NestedForm& form,
                   std::span<const std::byte> bytes, std::span<const std::byte> scales,
                   std::span<const float> importance, std::span<const std::uint64_t> at,
                   std::byte* out) {
  const std::size_t rows = tensor.shape[1], columns = tensor.shape[2];
  NestedMatrix made;
  NestedParts parts{.form = &form, .rows = rows, .columns = columns};
  std::vector<std::byte> scale_bytes;
  Status status;
  if (form.fitted) {
    const std::vector<float> floats = floats_of(tensor, bytes, scales, status);
    if (status.ok()) status = fit_nested(floats, rows, columns, importance, made);
    parts.scales = reinterpret_cast<const std::byte*>(made.scales.data());
  } else {
    std::vector<std::byte> laid_out;
    if (tensor.stored) {
      laid_out.resize(relaid_bytes(tensor));
      status = relay_range(tensor, bytes, scales, laid_out);
    }
    SourceCodes source(form, tensor.stored ? laid_out : bytes);
    if (status.ok()) {
      status = nest_codes(form, source.codes, source.scales, rows, columns, importance, made);
    }
    scale_bytes = std::move(source.scale_bytes);
    parts.scales = scale_bytes.data();
  }
  SLUICE_TRY(status);
  parts.header = made.header;
  parts.codes = made.codes.data();
  parts.offsets = made.offsets.data();
  for (std::size_t group = 0; group < at.size(); ++group) {
    write_nested_group(parts, group, out + at[group]);
  }
  return {};
}

/// Where groups lie that follow one another, and behind them where they end.
std::array<std::uint64_t, kMostNestedGroups + 1> places_of(const NestedForm& form, std::size_t rows,
                                                           std::size_t columns) {
  std::array<std::uint64_t, kMostNestedGroups + 1> at{};
  for (std::size_t group = 0; group < form.group_count; ++group) {
    at[group + 1] = at[group] + form.group_bytes(group, rows, columns);
  }
  return at;
}

NestedView view_of(const NestedForm& form, unsigned width, std::span<const std::uint64_t> places) {
  NestedView view{.form = &form, .width = static_cast<std::uint8_t>(width), .at = {}};
  std::ranges::copy(places.first(form.group_count), view.at.begin());
  return view;
}

}  // namespace

std::span<const float> NestedMaker::importance_of(const Work& work) const {
  const Importance& columns = columns_[work.matrix];
  if (columns.mean_squares.empty()) return {};
  return columns.of(work.expert->expert);
}

Status NestedMaker::make_planes(const Work& work, std::byte* out) const {
  const StoreNestedLayer& layer = layer_of(*work.expert);
  const NestedForm& form = *layer.forms[work.matrix];
  return nest_matrix(
      layer.tensors[work.matrix], form, work.source, work.scales, importance_of(work),
      std::span(layer.at[work.matrix]).first(form.groups_within(work.expert->width)), out);
}

Result<NestedErrors> NestedMaker::errors_of(const Work& work) const {
  const StoreNestedLayer& layer = layer_of(*work.expert);
  const TensorInfo& tensor = layer.tensors[work.matrix];
  const NestedForm& form = *layer.forms[work.matrix];
  const std::span<const float> importance = importance_of(work);
  if (tensor.nested) {
    const auto at = places_of(form, tensor.shape[1], tensor.shape[2]);
    return nested_errors(view_of(form, tensor.nested->width(work.expert->expert), at), work.source,
                         tensor.shape[1], tensor.shape[2], importance);
  }
  SLUICE_ASSIGN(const RowsOfMatrix some, some_rows(tensor, work.source, work.scales));
  const std::vector<std::uint64_t>& shape = some.tensor.shape;
  const auto at = places_of(form, shape[1], shape[2]);
  std::vector<std::byte> planes(at[form.group_count]);
  SLUICE_TRY(nest_matrix(some.tensor, form, some.bytes, {}, importance,
                         std::span(at).first(form.group_count), planes.data()));
  return nested_errors(view_of(form, form.bits, at), planes, some, importance);
}

Status NestedMaker::read_importance(std::uint32_t layer) {
  if (importance_ == nullptr || importance_of_ == layer) return {};
  for (std::size_t i = 0; i < 3; ++i) {
    const TensorInfo& tensor = plan_.nested_layers[layer].tensors[i];
    columns_[i] = {};
    if (!importance_->has(tensor.name)) continue;
    SLUICE_ASSIGN(columns_[i], importance_->read(tensor.name, tensor.shape[0], tensor.shape[2]));
  }
  importance_of_ = layer;
  return {};
}

/// How many experts from plan.nested[first] on, at most so many, are of one layer.
std::size_t NestedMaker::of_one_layer(std::size_t first, std::size_t most) const {
  std::size_t count = 1;
  while (count < most && plan_.nested[first + count].layer == plan_.nested[first].layer) ++count;
  return count;
}

Status NestedMaker::make(std::size_t first, std::span<const std::span<std::byte>> out,
                         const std::atomic<bool>* cancel) {
  for (const std::span<std::byte> groups : out) {
    std::memset(groups.data(), 0, groups.size());  // the gaps between them
  }
  for (std::size_t done = 0, count = 0; done < out.size(); done += count) {
    count = of_one_layer(first + done, out.size() - done);
    if (layer_of(plan_.nested[first + done]).tensors[0].nested) {
      SLUICE_TRY(copy_planes(first + done, out.subspan(done, count), cancel));
      continue;
    }
    const auto use = [&](const Work& work) { return make_planes(work, out[work.index].data()); };
    SLUICE_TRY(each_matrix(first + done, count, done, use, cancel));
  }
  return {};
}

Status NestedMaker::measure(std::size_t first, std::span<ExpertErrors> out,
                            const std::atomic<bool>* cancel) {
  for (std::size_t done = 0, count = 0; done < out.size(); done += count) {
    count = of_one_layer(first + done, out.size() - done);
    const auto use = [&](const Work& work) -> Status {
      SLUICE_ASSIGN(out[work.index][work.matrix], errors_of(work));
      return {};
    };
    SLUICE_TRY(each_matrix(first + done, count, done, use, cancel));
  }
  return {};
}

Status NestedMaker::copy_planes(std::size_t first, std::span<const std::span<std::byte>> out,
                                const std::atomic<bool>* cancel) {
  SourceReads reads;
  for (std::size_t i = 0; i < out.size(); ++i) {
    const StoreNestedExpert& expert = plan_.nested[first + i];
    const StoreNestedLayer& layer = layer_of(expert);
    for (std::size_t matrix = 0; matrix < layer.tensors.size(); ++matrix) {
      const NestedRanges& there = *layer.tensors[matrix].nested;
      for (std::size_t group = 0; group < there.form->groups_within(expert.width); ++group) {
        const FileRange& from = there.group(expert.expert, group);
        reads.push_back({from, out[i].subspan(layer.at[matrix][group], from.bytes)});
      }
    }
  }
  return read(reads, cancel);
}

Status NestedMaker::read(const SourceReads& reads, const std::atomic<bool>* cancel) {
  std::vector<RangeRead> ranges;
  std::vector<RangeInMemory> brought;
  for (const auto& [from, to] : reads) {
    ranges.push_back({files_[from.file], from.offset, to});
    brought.push_back({from, to.data()});
  }
  SLUICE_TRY(read_ranges(reader_, ranges, cancel));
  return CheckedRanges(plan_.checked, reader_, files_, cancel).check(std::move(brought));
}

Status NestedMaker::each_matrix(std::size_t first, std::size_t count, std::size_t done,
                                const Use& use, const std::atomic<bool>* cancel) {
  // Those of one layer share what is known of its columns.
  SLUICE_TRY(read_importance(plan_.nested[first].layer));
  std::vector<Work> works;
  SourceReads reads;
  for (std::size_t i = 0; i < 3 * count; ++i) {
    const StoreNestedExpert& expert = plan_.nested[first + i / 3];
    const TensorInfo& tensor = layer_of(expert).tensors[i % 3];
    Work& work = works.emplace_back();
    work = {&expert, i % 3, done + i / 3, {}, {}};
    const auto add = [&](std::span<const FileRange> from, std::vector<std::byte>& bytes) {
      std::uint64_t all = 0;
      for (const FileRange& range : from) all += range.bytes;
      bytes.resize(all);
      std::span<std::byte> left = bytes;
      for (const FileRange& range : from) {
        reads.push_back({range, left.first(range.bytes)});
        left = left.subspan(range.bytes);
      }
    };
    if (tensor.nested) {
      const NestedRanges& there = *tensor.nested;
      add(std::span(there.groups)
              .subspan(expert.expert * there.form->group_count, there.group_count(expert.expert)),
          work.source);
      continue;
    }
    const FileRange slice = tensor.slice(expert.expert);
    add({&slice, 1}, work.source);
    if (tensor.stored && !tensor.stored->scales.empty()) {
      add({&tensor.stored->scales[expert.expert], 1}, work.scales);
    }
  }
  SLUICE_TRY(read(reads, cancel));
  std::atomic<std::size_t> next = 0;
  const auto work_on = [&]() -> Status {
    for (std::size_t i = next++; i < works.size(); i = next++) {
      if (cancel != nullptr && *cancel) return {ErrorCode::kCancelled, "stopped"};
      const Status used = use(works[i]);
      if (used.ok()) continue;
      return used.with_context("tensor " +
                               layer_of(*works[i].expert).tensors[works[i].matrix].name +
                               ", expert " + std::to_string(works[i].expert->expert));
    }
    return {};
  };
  std::vector<std::future<Status>> helpers;
  for (unsigned i = 1; i < std::min<std::size_t>(std::thread::hardware_concurrency(), works.size());
       ++i) {
    try {
      helpers.push_back(std::async(std::launch::async, work_on));
    } catch (const std::system_error&) {
      break;  // this thread does it all
    }
  }
  Status status = work_on();
  for (std::future<Status>& helper : helpers) {
    const Status theirs = helper.get();
    if (status.ok()) status = theirs;
  }
  return status;
}

}  // namespace sluice
