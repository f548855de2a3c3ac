#include "gates/gate_corrections.h"

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

/// The file in memory, whose own checksum is right.
class CalibrationFile {
 public:
  static Result<CalibrationFile> read(const std::string& path, const ModelDescription& model) {
    const auto with_remedy = [](ErrorCode code, std::string_view why) {
      return Status(code,
                    fmt::format("{}: make it again with 'sluice calibrate', or remove it", why));
    };
    CalibrationFile file(path);
    auto whole = read_whole_file(path, GateCorrections::most_bytes(model), &file.size_);
    if (whole.status().code() == ErrorCode::kNotFound) return whole.status();
    if (!whole.ok()) return with_remedy(whole.status().code(), whole.status().message());
    file.memory_ = std::move(*whole);
    FileRange sums;
    const Status listed = read_safetensors(path, 0, [&](SafetensorsTensor tensor) -> Status {
      if (tensor.info.name == kChecksums) {
        sums = tensor.info.ranges[0];
      } else if (!tensor.foreign) {
        std::string name = tensor.info.name;
        file.tensors_.emplace(std::move(name), std::move(tensor.info));
      }
      return {};
    });
    if (!listed.ok()) return with_remedy(ErrorCode::kCorrupt, listed.message());
    std::array<std::int64_t, 2> expected{};
    if (sums.bytes != sizeof expected || sums.offset + sums.bytes != file.size_) {
      return file.refuse(ErrorCode::kCorrupt, "is no calibration");
    }
    std::memcpy(expected.data(), file.data() + sums.offset, sizeof expected);
    const auto* const text = reinterpret_cast<const char*>(file.data());
    if (expected[1] != checksum_of_file({text, sums.offset})) {
      return file.refuse(ErrorCode::kCorrupt, "is damaged");
    }
    file.routers_ = expected[0];
    return file;
  }

  Status refuse(ErrorCode code, std::string_view why) const {
    return Status(code, fmt::format("{}: {}: make it again with 'sluice calibrate', or remove it",
                                    path_, why));
  }
  const std::byte* data() const { return memory_.data(); }
  /// The checksum of those that it was made for.
  std::int64_t routers() const { return routers_; }
  /// Null where there is no such tensor.
  const TensorInfo* find(const std::string& name, TensorType type,
                         const std::vector<std::uint64_t>& shape) const {
    const auto found = tensors_.find(name);
    if (found == tensors_.end() || found->second.type != type || found->second.shape != shape ||
        found->second.ranges[0].offset + found->second.ranges[0].bytes > size_ ||
        found->second.ranges[0].offset % alignof(float) != 0) {
      return nullptr;
    }
    return &found->second;
  }
  /// Empty where they were not measured.
  std::vector<float> sensitivities(const ModelDescription& model) const {
    const TensorInfo* const tensor =
        find(std::string(kSensitivities), TensorType::kF32, {model.layers.size()});
    if (tensor == nullptr) return {};
    std::vector<float> values(model.layers.size());
    std::memcpy(values.data(), data() + tensor->ranges[0].offset, values.size() * sizeof(float));
    const auto sound = [](float value) { return std::isfinite(value) && value > 0; };
    if (!std::ranges::all_of(values, sound)) values.clear();
    return values;
  }
  AlignedBuffer take_memory() { return std::move(memory_); }

 private:
  explicit CalibrationFile(std::string path) : path_(std::move(path)) {}

  std::string path_;
  AlignedBuffer memory_;
  std::size_t size_ = 0;
  std::map<std::string, TensorInfo> tensors_;
  std::int64_t routers_ = 0;
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

Result<std::vector<float>> GateCorrections::read_sensitivities(const std::string& path,
                                                               const ModelDescription& model) {
  SLUICE_ASSIGN(const CalibrationFile file, CalibrationFile::read(path, model));
  std::vector<float> sensitivities = file.sensitivities(model);
  if (!sensitivities.empty()) return sensitivities;
  return file.refuse(ErrorCode::kInvalidArgument,
                     "does not tell how sensitive each of this model's layers is");
}

Result<GateCorrections> GateCorrections::read(const std::string& path,
                                              const ModelDescription& model,
                                              const std::vector<LayerWeights>& weights) {
  SLUICE_ASSIGN(CalibrationFile file, CalibrationFile::read(path, model));
  if (file.routers() != checksum_of_routers(weights)) {
    return file.refuse(ErrorCode::kInvalidArgument, "was made for another model");
  }
  GateCorrections corrections;
  corrections.sensitivities_ = file.sensitivities(model);
  const std::uint64_t experts = model.router.experts, hidden = model.hidden;
  for (const GateInput input : {GateInput::kLayerInput, GateInput::kRouterInput}) {
    for (std::uint32_t ahead = 1; ahead <= kFarthest; ++ahead) {
      for (std::uint32_t layer = 0; layer < model.layers.size(); ++layer) {
        const std::string name = name_of(input, ahead, layer);
        const TensorInfo* const matrix =
            file.find(name + ".weight", TensorType::kF16, {experts, hidden});
        const TensorInfo* const bias = file.find(name + ".bias", TensorType::kF32, {experts});
        if (matrix == nullptr || bias == nullptr) continue;
        corrections.gates_.push_back(
            {input,
             ahead,
             layer,
             {.matrix = {.format = &tensor_format(TensorType::kF16),
                         .data = file.data() + matrix->ranges[0].offset,
                         .rows = experts,
                         .columns = hidden},
              .bias = reinterpret_cast<const float*>(file.data() + bias->ranges[0].offset)}});
      }
    }
  }
  corrections.memory_ = file.take_memory();
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
