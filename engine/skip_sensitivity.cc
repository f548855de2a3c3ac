#include "engine/skip_sensitivity.h"

#include <algorithm>
#include <cmath>

#include "engine/route_relaxation.h"

namespace sluice {
namespace {

/// Of a row's weights, to find out what leaving them out does: as much as users may ask for.
constexpr float kShare = 0.25f;
/// What a short text makes of a layer is not believed beyond this factor.
constexpr double kFarthest = 16;

/// −log of the probability of `target`.
double loss_of(std::span<const float> logits, TokenId target) {
  const float peak = *std::ranges::max_element(logits);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(double{logit} - peak);
  return std::log(sum) + peak - logits[static_cast<std::size_t>(target)];
}

/// Of every token but the first of each window.
Result<std::vector<double>> read(Session& session, std::span<const TokenId> text,
                                 const PassOptions& options) {
  std::vector<double> losses;
  while (text.size() > 1) {
    const auto window = text.first(std::min<std::size_t>(text.size(), session.context()));
    session.truncate(0);
    const LogitsSink sink = [&](std::size_t row, std::span<const float> logits) {
      if (row + 1 < window.size()) losses.push_back(loss_of(logits, window[row + 1]));
    };
    SLUICE_TRY(session.eval(window, Session::Logits::kAll, sink, options));
    text = text.subspan(window.size());
  }
  session.truncate(0);
  return losses;
}

}  // namespace

Result<std::vector<float>> measure_skip_sensitivities(Session& session,
                                                      std::span<const TokenId> text,
                                                      const std::atomic<bool>* cancel) {
  const ModelDescription& model = session.model().description();
  std::vector<double> felt(model.layers.size());  // 0: not known
  SLUICE_ASSIGN(const std::vector<double> exact, read(session, text, {.cancel = cancel}));
  double sum = 0, known = 0;
  for (std::size_t layer = 0; layer < felt.size(); ++layer) {
    if (!model.layers[layer].sparse) continue;
    std::vector<float> limits(felt.size());
    limits[layer] = kShare;
    RouteRelaxation relaxation(model.router, std::move(limits), 0);
    SLUICE_ASSIGN(const std::vector<double> changed,
                  read(session, text, {.cancel = cancel, .relaxation = &relaxation}));
    double square = 0;
    for (std::size_t i = 0; i < exact.size(); ++i) {
      square += (changed[i] - exact[i]) * (changed[i] - exact[i]);
    }
    const double left_out = relaxation.statistics().squared_shares;
    if (left_out == 0 || !std::isfinite(square)) continue;
    felt[layer] = std::sqrt(square / left_out);
    sum += felt[layer];
    known += 1;
  }
  std::vector<float> sensitivities(felt.size(), 1.0f);
  for (std::size_t layer = 0; sum > 0 && layer < felt.size(); ++layer) {
    if (felt[layer] == 0) continue;
    const double relative = felt[layer] * known / sum;
    sensitivities[layer] = static_cast<float>(std::clamp(relative, 1 / kFarthest, kFarthest));
  }
  return sensitivities;
}

std::vector<float> skip_limits(float skip, const ModelDescription& model,
                               std::span<const float> sensitivities) {
  std::vector<float> limits(model.layers.size());
  double sum = 0, sparse = 0;
  for (std::size_t layer = 0; layer < limits.size(); ++layer) {
    if (!model.layers[layer].sparse) continue;
    limits[layer] = sensitivities.empty() ? 1.0f : 1.0f / sensitivities[layer];
    sum += limits[layer];
    sparse += 1;
  }
  for (float& limit : limits) limit *= static_cast<float>(skip * sparse / std::max(sum, 1e-9));
  return limits;
}

}  // namespace sluice
