#pragma once
// Gathers the tensors of a checkpoint from whatever headers name them, and refuses what cannot be:
// two of one name, experts that are missing or unlike each other, ranges that overlap.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "formats/checkpoint.h"
#include "formats/coded_tensors.h"

namespace sluice {

/// Element count and bytes of a tensor, checked: every dimension at least 1, rows a multiple of the
/// format's block, no overflow. The message says what is wrong, not where: the caller knows the
/// field and the offset.
Result<std::uint64_t> checked_tensor_bytes(const TensorFormat& format,
                                           const std::vector<std::uint64_t>& shape);

class TensorCollector {
 public:
  /// REQUIRES: the tensor has one range. kCorrupt when the name is taken.
  Status add(TensorInfo tensor);
  /// One expert's matrix, kept apart by the file, of the stacked tensor `stacked_name`; `part.name`
  /// is the file's own name.
  Status add_expert(const std::string& stacked_name, std::uint64_t expert, TensorInfo part);
  /// Scales of the tensor `codes_name`, or of one of its experts.
  Status add_scales(const std::string& codes_name, std::optional<std::uint64_t> expert,
                    TensorInfo part);
  /// A tensor in a format that this build lacks. Several experts may name the same stacked tensor.
  void add_unreadable(const std::string& name, std::string_view format);

  /// Moves all tensors into the checkpoint. kCorrupt names the tensors that contradict each other.
  /// Codes without scales become unreadable.
  Status finish(Checkpoint& checkpoint, const ScaleBlock& block = std::nullopt);

 private:
  struct Part {
    std::uint64_t expert;
    FileRange range;
  };
  struct Stack {
    TensorInfo first;  // of the experts, with the file's own name
    std::vector<Part> parts;
  };
  static Status add_to(Stack& stack, std::uint64_t expert, TensorInfo part);
  static Result<TensorInfo> stack_up(const std::string& name, Stack& stack);
  Status stack_experts();
  Status attach_all_scales(const ScaleBlock& block);
  Status check_overlaps() const;

  std::map<std::string, TensorInfo, std::less<>> tensors_;
  std::map<std::string, Stack, std::less<>> stacks_;
  std::map<std::string, TensorInfo, std::less<>> scales_;    // by the name of what they scale
  std::map<std::string, Stack, std::less<>> expert_scales_;  // the same, an expert each
  std::map<std::string, std::string, std::less<>> unreadable_;
};

}  // namespace sluice
