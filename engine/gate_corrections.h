#pragma once
// The corrections of a model's gates (gate_fit.h), as they lie in a file beside it and in memory.
//
// The file is one of safetensors: for each correction "gates.before_attention.1.7.weight" (how far
// it looks, whose router it foretells) F16 [experts, hidden] and "….bias" F32 [experts], and
// at the file's end "checksums" I64 [2]: of the routers that they were fitted to, and of all the
// file's bytes before. A file of another model, or one that came to harm, is told by these.

#include <span>
#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/status.h"
#include "engine/fitted_gate.h"
#include "formats/checkpoint.h"

namespace sluice {

class GateCorrections {
 public:
  /// Where `calibrate` writes and a model looks: beside the file, or in the folder.
  static std::string default_path(const Checkpoint& checkpoint);
  /// The bytes of the file.
  static std::string to_file(std::span<const FittedGate> fitted, const ModelDescription& model,
                             const std::vector<LayerWeights>& weights);
  /// The most that a file of this model can have.
  static std::uint64_t most_bytes(const ModelDescription& model);

  GateCorrections() = default;
  /// Errors name the file, and what to do: it is of another model, damaged, or not such a file.
  static Result<GateCorrections> read(const std::string& path, const ModelDescription& model,
                                      const std::vector<LayerWeights>& weights);

  /// Hands the gate its own. Borrowed.
  void apply(RouterGate& gate) const;
  bool empty() const { return gates_.empty(); }
  std::size_t count() const { return gates_.size(); }

 private:
  struct Gate {
    GateInput input;
    std::uint32_t ahead, layer;
    GateCorrection correction;
  };
  AlignedBuffer memory_;  // the file
  std::vector<Gate> gates_;
};

}  // namespace sluice
