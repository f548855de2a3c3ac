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

 private:
  void score(std::span<float> scores) const;
  void score_groups(std::span<const float> scores, const float* selection_bias);
  bool group_is_used(std::size_t group) const;
  void mix(std::span<const float> logits, std::uint32_t* ids, float* weights) const;

  const RouterDescription router_;
  std::vector<float> group_scores_;  // [group_count]
};

}  // namespace sluice
