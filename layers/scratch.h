#pragma once
// The memory that one forward pass works in: allocated once, its size known before, so that the
// budget can count it.

#include <cstdint>
#include <span>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/compute.h"
#include "base/device_backend.h"
#include "base/status.h"
#include "layers/kv_cache.h"
#include "layers/model_description.h"

namespace sluice {

/// What decides its size, besides the model.
struct ScratchShape {
  std::size_t rows = 0;             // at most, in a pass
  bool eight_bit = true;            // activations have an 8-bit form
  std::size_t attention_bytes = 0;  // what Operations::attention asks for
  bool experts = true;              // routed experts have a part in it
};

/// What Operations::attention asks for, for the layer that needs most.
std::size_t attention_bytes(const ModelDescription& model, KvType kv_type,
                            const Operations& operations, std::size_t context, unsigned threads);

/// Sizes for at most `rows` rows in a pass; where layers differ, for the widest, and empty where no
/// layer has a use for it. Arrays are float32 unless said otherwise.
struct Scratch {
  static constexpr std::size_t kLogitRows =
      8;  // logits are made a few rows at a time: a vocabulary is long

  std::size_t max_rows = 0;
  float* residual = nullptr;  // [rows, hidden]
  Activations normed;         // [rows, hidden]

  // Attention.
  float* projected = nullptr;  // [rows, floats]: queries with their gates or before the latent's
                               // part is made, or q, k and v of a delta net
  float* q = nullptr;          // [rows, heads * head_dim]
  float* k = nullptr;          // [rows, kv_heads * head_dim]
  float* v = nullptr;          // [rows, kv_heads * value_dim]
  float* gate = nullptr;       // [rows, heads * value_dim]
  Activations attended;        // [rows, heads * value_dim]
  std::span<std::byte> attention_memory;
  std::vector<float*> cosines;  // [ropes] of [rows, rotary_dim / 2]
  std::vector<float*> sines;
  Activations narrow_query;   // [rows, q_rank]
  Activations plain_query;    // [rows * heads, plain_dim]
  Activations latent_values;  // [rows * heads, kv_rank]
  struct HeadRows {
    std::size_t heads = 0;
    std::uint32_t* rows = nullptr;  // [heads, rows]: number row * heads + head
  };
  std::vector<HeadRows> head_rows;  // of the two above: for each number of heads that layers have
  float* alpha = nullptr;           // [rows, value_heads]
  float* beta = nullptr;            // [rows, value_heads]
  float* block_output = nullptr;  // [rows, hidden]: what attention or the FFN adds to the residual

  // Feed-forward.
  Activations router_input;               // [rows, hidden]
  float* scores = nullptr;                // [rows, experts]
  std::uint32_t* expert_ids = nullptr;    // [rows, top_k]
  float* expert_weights = nullptr;        // [rows, top_k]
  std::uint32_t* grouped_rows = nullptr;  // [rows * top_k]: rows in the order of their experts
  std::uint32_t* output_place = nullptr;  // [rows, top_k]: where in expert_outputs a row's expert
                                          // wrote; CombineTask::kLeftOut where none did
  Activations expert_input;         // [rows * top_k, hidden]: rows times their experts' weights
  Activations expert_hidden;        // [rows * top_k, expert_ffn]
  float* expert_outputs = nullptr;  // [rows * top_k, hidden]
  Activations dense_hidden;         // [rows, widest dense or shared FFN]
  float* dense_output = nullptr;    // [rows, hidden], of a network beside the experts
  float* shared_output = nullptr;   // [rows, hidden]
  float* shared_weight = nullptr;   // [rows]

  std::uint32_t* logit_rows = nullptr;       // [kLogitRows]: of the pass, those of
  float* logits = nullptr;                   // [kLogitRows, vocabulary]
  std::vector<std::uint32_t> positions;      // [rows]
  std::vector<AttentionRow> attention_rows;  // [rows]
  std::vector<float*> states;                // [rows], of a delta net

  /// What the model's router reads, once that is made.
  Activations read_by_router(const ModelDescription& model) const;

  static std::size_t bytes(const ModelDescription& model, const ScratchShape& shape);
  /// Pinned memory of the device, if there is one: it outlives the scratch.
  static Result<Scratch> create(const ModelDescription& model, const ScratchShape& shape,
                                DeviceBackend* device = nullptr);
  /// In the device's own memory, without what stays the same (head_rows).
  static Result<Scratch> create_on(DeviceBackend& device, const ModelDescription& model,
                                   const ScratchShape& shape);

 private:
  template <typename Carver>
  void carve(Carver& carver, const ModelDescription& model, const ScratchShape& shape);
  template <typename Carver>
  void carve_experts(Carver& carver, const ModelDescription& model, const ScratchShape& shape);
  void number_heads();
  void lay_out(std::byte* memory, const ModelDescription& model, const ScratchShape& shape);
  AlignedBuffer memory_;
  DeviceBuffer of_device_;  // in its place
};

/// Rows [first, first + rows) of `all`.
Activations slice_rows(const Activations& all, std::size_t first, std::size_t rows);
/// The same memory as rows of `columns`, at most as wide as it was made for.
Activations narrowed(const Activations& all, std::size_t columns);

}  // namespace sluice
