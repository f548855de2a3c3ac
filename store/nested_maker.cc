#include "store/nested_maker.h"

#include <algorithm>
#include <cstring>
#include <future>
#include <system_error>
#include <thread>

#include "base/quant_blocks.h"
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

}  // namespace

Status NestedMaker::make_planes(const Work& work) const {
  const StoreNestedLayer& layer = plan_.nested_layers[work.expert->layer];
  const TensorInfo& tensor = layer.tensors[work.matrix];
  const NestedForm& form = *layer.forms[work.matrix];
  const std::size_t rows = tensor.shape[1], columns = tensor.shape[2];
  std::span<const float> importance;
  if (!columns_[work.matrix].mean_squares.empty()) {
    importance = columns_[work.matrix].of(work.expert->expert);
  }
  NestedMatrix made;
  NestedParts parts{.form = &form, .rows = rows, .columns = columns};
  std::vector<std::byte> scale_bytes;
  Status status;
  if (form.fitted) {
    const std::vector<float> floats = floats_of(tensor, work.source, work.scales, status);
    if (status.ok()) status = fit_nested(floats, rows, columns, importance, made);
    parts.scales = reinterpret_cast<const std::byte*>(made.scales.data());
  } else {
    std::vector<std::byte> laid_out;
    if (tensor.stored) {
      laid_out.resize(relaid_bytes(tensor));
      status = relay_range(tensor, work.source, work.scales, laid_out);
    }
    SourceCodes source(form, tensor.stored ? laid_out : work.source);
    if (status.ok()) {
      status = nest_codes(form, source.codes, source.scales, rows, columns, importance, made);
    }
    scale_bytes = std::move(source.scale_bytes);
    parts.scales = scale_bytes.data();
  }
  if (!status.ok()) {
    return status.with_context("tensor " + tensor.name + ", expert " +
                               std::to_string(work.expert->expert));
  }
  parts.header = made.header;
  parts.codes = made.codes.data();
  parts.offsets = made.offsets.data();
  for (std::size_t group = 0; group < form.group_count; ++group) {
    write_nested_group(parts, group, work.out + layer.at[work.matrix][group]);
  }
  return {};
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

Status NestedMaker::make(std::size_t first, std::span<const std::span<std::byte>> out,
                         const std::atomic<bool>* cancel) {
  for (std::size_t done = 0; done < out.size();) {
    // Those of one layer share what is known of its columns.
    const std::uint32_t layer_index = plan_.nested[first + done].layer;
    const StoreNestedLayer& layer = plan_.nested_layers[layer_index];
    SLUICE_TRY(read_importance(layer_index));
    std::vector<Work> works;
    std::vector<RangeRead> reads;
    for (; done < out.size() && plan_.nested[first + done].layer == layer_index; ++done) {
      std::memset(out[done].data(), 0, out[done].size());  // the gaps between groups
      for (std::size_t i = 0; i < 3; ++i) {
        const StoreNestedExpert& expert = plan_.nested[first + done];
        const TensorInfo& tensor = layer.tensors[i];
        Work& work = works.emplace_back();
        work = {&expert, i, {}, {}, out[done].data()};
        const auto add = [&](const FileRange& from, std::vector<std::byte>& bytes) {
          bytes.resize(from.bytes);
          reads.push_back({files_[from.file], from.offset, bytes});
        };
        add(tensor.slice(expert.expert), work.source);
        if (tensor.stored && !tensor.stored->scales.empty()) {
          add(tensor.stored->scales[expert.expert], work.scales);
        }
      }
    }
    SLUICE_TRY(read_ranges(reader_, reads, cancel));
    std::atomic<std::size_t> next = 0;
    const auto work_on = [&]() -> Status {
      for (std::size_t i = next++; i < works.size(); i = next++) {
        if (cancel != nullptr && *cancel) return {ErrorCode::kCancelled, "stopped"};
        SLUICE_TRY(make_planes(works[i]));
      }
      return {};
    };
    std::vector<std::future<Status>> helpers;
    for (unsigned i = 1;
         i < std::min<std::size_t>(std::thread::hardware_concurrency(), works.size()); ++i) {
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
    SLUICE_TRY(status);
  }
  return {};
}

}  // namespace sluice
