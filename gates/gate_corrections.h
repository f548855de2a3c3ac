#pragma once
// What `calibrate` found out about a model, as it lies in a file beside it and in memory: the
// corrections of its gates (gate_fit.h), and how sensitive its layers are to skipping
// (skip_sensitivity.h).
//
// The file is one of safetensors: for each correction "gates.before_attention.1.7.weight" (how far
// it looks, whose router it foretells) F16 [experts, hidden] and "….bias" F32 [experts]; where they
// were measured "skip.sensitivities" F32 [layers]; and at the file's end "checksums" I64 [2]: of
// the routers that they were fitted to, and of all the file's bytes before. A file of another
// model, or one that came to harm, is told by these.

#include <span>
#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/status.h"
#include "formats/checkpoint.h"
#include "gates/fitted_gate.h"

namespace sluice {

class GateCorrections {
 public:
  /// Where `calibrate` writes and a model looks: beside the file, or in the folder.
  static std::string default_path(const Checkpoint& checkpoint);
  /// The bytes of the file. `sensitivities` `[layers]`, or none.
  static std::string to_file(std::span<const FittedGate> fitted,
                             std::span<const float> sensitivities, const ModelDescription& model,
                             const std::vector<LayerWeights>& weights);
  /// The most that a file of this model can have.
  static std::uint64_t most_bytes(const ModelDescription& model);

  GateCorrections() = default;
  /// Errors name the file, and what to do: it is of another model, damaged, or not such a file.
  static Result<GateCorrections> read(const std::string& path, const ModelDescription& model,
                                      const std::vector<LayerWeights>& weights);

  /// What `sensitivities` would be, without a look at the model's weights: so of another model with
  /// as many layers, too. kInvalidArgument where they were not measured.
  static Result<std::vector<float>> read_sensitivities(const std::string& path,
                                                       const ModelDescription& model);

  /// Hands the gate its own. Borrowed.
  void apply(RouterGate& gate) const;
  bool empty() const { return gates_.empty(); }
  std::size_t count() const { return gates_.size(); }
  /// [layers], each above 0; empty where they were not measured.
  const std::vector<float>& sensitivities() const { return sensitivities_; }

 private:
  struct Gate {
    GateInput input;
    std::uint32_t ahead, layer;
    GateCorrection correction;
  };
  AlignedBuffer memory_;  // the file
  std::vector<Gate> gates_;
  std::vector<float> sensitivities_;
};

}  // namespace sluice
