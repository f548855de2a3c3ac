#include "engine/gate_corrections.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "base/half.h"
#include "formats/checksum.h"
#include "formats/header_reader.h"
#include "formats/safetensors.h"

namespace sluice {
namespace {

constexpr std::uint32_t kFarthest = 4;  // layers ahead
constexpr std::string_view kChecksums = "checksums";
constexpr std::string_view kSensitivities = "skip.sensitivities";
constexpr std::array<std::string_view, 2> kInputs{"before_attention", "across_layers"};
static_assert(static_cast<int>(GateInput::kLayerInput) == 0 &&
              static_cast<int>(GateInput::kRouterInput) == 1);

std::string name_of(GateInput input, std::uint32_t ahead, std::uint32_t layer) {
  return fmt::format("gates.{}.{}.{}", kInputs[static_cast<std::size_t>(input)], ahead, layer);
}

std::int64_t checksum_of_file(std::string_view bytes) {
  return std::bit_cast<std::int64_t>(checksum(bytes));
}

std::int64_t checksum_of_routers(const std::vector<LayerWeights>& weights) {
  std::uint64_t sum = 0;
  for (const LayerWeights& layer : weights) {
    const WeightMatrix& matrix = layer.router.matrix;
    if (matrix.format == nullptr) continue;
    sum = XXH3_64bits_withSeed(matrix.data, matrix.bytes(), sum);
  }
  return std::bit_cast<std::int64_t>(sum);
}

void append(std::string& bytes, const void* data, std::size_t size) {
  bytes.append(static_cast<const char*>(data), size);
}

/// Fills data and header side by side.
class Writer {
 public:
  void add(const std::string& name, std::string_view type, const std::vector<std::size_t>& shape,
           std::string_view bytes) {
    header_[name] = {{"dtype", type},
                     {"shape", shape},
                     {"data_offsets", {data_.size(), data_.size() + bytes.size()}}};
    data_ += bytes;
  }
  std::string file() const {
    std::string header = header_.dump();
    header.append((64 - (header.size() + 8) % 64) % 64, ' ');  // data begins on a cache line
    const std::uint64_t length = header.size();
    std::string file;
    append(file, &length, sizeof length);
    return file + header + data_;
  }

 private:
  nlohmann::ordered_json header_ = nlohmann::ordered_json::object();
  std::string data_;
};

}  // namespace

std::string GateCorrections::default_path(const Checkpoint& checkpoint) {
  const std::filesystem::path settings(checkpoint.settings_file);
  if (settings.filename() != "config.json") return checkpoint.settings_file + ".calibration";
  return (settings.parent_path() / "sluice.calibration").string();
}

std::string GateCorrections::to_file(std::span<const FittedGate> fitted,
                                     std::span<const float> sensitivities,
                                     const ModelDescription& model,
                                     const std::vector<LayerWeights>& weights) {
  Writer writer;
  if (!sensitivities.empty()) {
    const auto* const floats = reinterpret_cast<const char*>(sensitivities.data());
    writer.add(std::string(kSensitivities), "F32", {sensitivities.size()},
               {floats, sensitivities.size_bytes()});
  }
  std::string halves;
  for (const FittedGate& gate : fitted) {
    const std::string name = name_of(gate.input, gate.ahead, gate.layer);
    halves.clear();
    for (const float value : gate.matrix) {
      const std::uint16_t half = float_to_half(value);
      append(halves, &half, sizeof half);
    }
    writer.add(name + ".weight", "F16", {model.router.experts, model.hidden}, halves);
    const auto* const bias = reinterpret_cast<const char*>(gate.bias.data());
    writer.add(name + ".bias", "F32", {model.router.experts},
               {bias, gate.bias.size() * sizeof(float)});
  }
  std::array<std::int64_t, 2> sums{checksum_of_routers(weights), 0};
  writer.add(std::string(kChecksums), "I64", {sums.size()},
             {reinterpret_cast<const char*>(sums.data()), sizeof sums});
  std::string file = writer.file();
  const std::size_t before = file.size() - sizeof sums;
  sums[1] = checksum_of_file({file.data(), before});
  std::memcpy(file.data() + before, sums.data(), sizeof sums);
  return file;
}

std::uint64_t GateCorrections::most_bytes(const ModelDescription& model) {
  constexpr std::uint64_t kHeader = 512;  // of a gate
  const std::uint64_t gate =
      std::uint64_t{model.router.experts} * (model.hidden * sizeof(std::uint16_t) + sizeof(float));
  return 4096 + model.layers.size() * sizeof(float) +
         kInputs.size() * kFarthest * model.layers.size() * (gate + kHeader);
}

Result<GateCorrections> GateCorrections::read(const std::string& path,
                                              const ModelDescription& model,
                                              const std::vector<LayerWeights>& weights) {
  const auto with_remedy = [](ErrorCode code, std::string_view why) {
    return Status(code,
                  fmt::format("{}: make it again with 'sluice calibrate', or remove it", why));
  };
  const auto refuse = [&](ErrorCode code, std::string_view why) {
    return with_remedy(code, fmt::format("{}: {}", path, why));
  };
  GateCorrections corrections;
  std::size_t size = 0;
  auto whole = read_whole_file(path, most_bytes(model), &size);
  if (whole.status().code() == ErrorCode::kNotFound) return whole.status();
  if (!whole.ok()) return with_remedy(whole.status().code(), whole.status().message());
  corrections.memory_ = std::move(*whole);

  std::map<std::string, TensorInfo> tensors;
  FileRange sums;
  const Status listed = read_safetensors(path, 0, [&](SafetensorsTensor tensor) -> Status {
    if (tensor.info.name == kChecksums) {
      sums = tensor.info.ranges[0];
    } else if (!tensor.foreign) {
      std::string name = tensor.info.name;
      tensors.emplace(std::move(name), std::move(tensor.info));
    }
    return {};
  });
  if (!listed.ok()) return with_remedy(ErrorCode::kCorrupt, listed.message());

  const std::byte* const file = corrections.memory_.data();
  const auto take = [&](const std::string& name, TensorType type,
                        const std::vector<std::uint64_t>& shape) -> const TensorInfo* {
    const auto found = tensors.find(name);
    if (found == tensors.end() || found->second.type != type || found->second.shape != shape ||
        found->second.ranges[0].offset + found->second.ranges[0].bytes > size ||
        found->second.ranges[0].offset % alignof(float) != 0) {
      return nullptr;
    }
    return &found->second;
  };

  std::array<std::int64_t, 2> expected{};
  if (sums.bytes != sizeof expected || sums.offset + sums.bytes != size) {
    return refuse(ErrorCode::kCorrupt, "is no calibration");
  }
  std::memcpy(expected.data(), file + sums.offset, sizeof expected);
  if (expected[1] != checksum_of_file({reinterpret_cast<const char*>(file), sums.offset})) {
    return refuse(ErrorCode::kCorrupt, "is damaged");
  }
  if (expected[0] != checksum_of_routers(weights)) {
    return refuse(ErrorCode::kInvalidArgument, "was made for another model");
  }

  if (const TensorInfo* const tensor =
          take(std::string(kSensitivities), TensorType::kF32, {model.layers.size()})) {
    std::vector<float> values(model.layers.size());
    std::memcpy(values.data(), file + tensor->ranges[0].offset, values.size() * sizeof(float));
    const auto sound = [](float value) { return std::isfinite(value) && value > 0; };
    if (std::ranges::all_of(values, sound)) corrections.sensitivities_ = std::move(values);
  }
  const std::uint64_t experts = model.router.experts, hidden = model.hidden;
  for (const GateInput input : {GateInput::kLayerInput, GateInput::kRouterInput}) {
    for (std::uint32_t ahead = 1; ahead <= kFarthest; ++ahead) {
      for (std::uint32_t layer = 0; layer < model.layers.size(); ++layer) {
        const std::string name = name_of(input, ahead, layer);
        const TensorInfo* const matrix =
            take(name + ".weight", TensorType::kF16, {experts, hidden});
        const TensorInfo* const bias = take(name + ".bias", TensorType::kF32, {experts});
        if (matrix == nullptr || bias == nullptr) continue;
        corrections.gates_.push_back(
            {input,
             ahead,
             layer,
             {.matrix = {.format = &tensor_format(TensorType::kF16),
                         .data = file + matrix->ranges[0].offset,
                         .rows = experts,
                         .columns = hidden},
              .bias = reinterpret_cast<const float*>(file + bias->ranges[0].offset)}});
      }
    }
  }
  return corrections;
}

void GateCorrections::apply(RouterGate& gate) const {
  for (const Gate& one : gates_) {
    if (one.input == gate.input() && one.ahead == gate.ahead()) {
      gate.correct(one.layer, one.correction);
    }
  }
}

}  // namespace sluice
