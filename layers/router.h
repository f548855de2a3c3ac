#pragma once
// Which experts a row goes to, and how much each weighs.

#include <cstdint>
#include <span>
#include <vector>

namespace sluice {

enum class RouterScore : std::uint8_t { kSoftmax, kSigmoid, kSparsemixer };

/// From which groups of experts is chosen.
enum class RouterGroups : std::uint8_t {
  kNone,
  kBest,     // the groups with the best expert
  kBestTwo,  // the groups whose two best experts are best together
  kOneEach,  // each group's best expert
};

/// What the router reads.
enum class RouterInput : std::uint8_t {
  kFfnNorm,     // what the experts read
  kLayerInput,  // the residual before attention
  kOwnNorm,     // the residual after attention, normalised without weights, times a vector
};

struct RouterDescription {
  std::uint32_t experts = 0;
  std::uint32_t top_k = 0;
  RouterScore score = RouterScore::kSoftmax;
  bool selection_bias = false;  // added to the scores for the choice, not for the weights
  RouterGroups groups = RouterGroups::kNone;
  std::uint32_t group_count = 1;
  std::uint32_t groups_used = 1;
  float jitter = 0;                  // of kSparsemixer
  bool renormalise = false;          // the chosen weights sum to 1
  float scale = 1.0f;                // of the weights
  bool weights_scale_input = false;  // of the experts, instead of their outputs
  RouterInput input = RouterInput::kFfnNorm;
};

/// Makes the choice. Not thread-safe; allocates nothing after construction.
class Router {
 public:
  explicit Router(const RouterDescription& router)
      : router_(router), group_scores_(router.group_count) {}

  /// For one row. `scores` `[experts]` are the router's outputs and become the experts' scores;
  /// `selection_bias` is `[experts]`, or null. Best first; of equal ones the lower id.
  void choose(std::span<float> scores, const float* selection_bias, std::uint32_t* ids,
              float* weights);
  /// What `choose` would have weighed these experts with, had it taken them, and no others, in this
  /// order. `scores` are as it leaves them.
  void weigh(std::span<const float> scores, std::span<const std::uint32_t> ids,
             float* weights) const;

  /// Sees to it that `allows` speaks of a row of these scores, which `choose` has left.
  void rank_groups(std::span<const float> scores, const float* selection_bias);
  /// Whether the rule of groups admits an expert in the place of one that was chosen.
  bool allows(std::uint32_t expert, std::uint32_t chosen) const;

 private:
  void score(std::span<float> scores) const;
  bool group_is_used(std::size_t group) const;
  void choose_to_mix(std::span<const float> logits, std::uint32_t* ids) const;
  float mixing_weight(std::span<const float> logits, std::span<const std::uint32_t> before,
                      std::uint32_t expert) const;

  const RouterDescription router_;
  std::vector<float> group_scores_;  // [group_count]
};

}  // namespace sluice
