#include "gates/gate_fit.h"

#include <Eigen/Dense>
#include <algorithm>
#include <utility>

#include "base/strip_layout.h"
#include "layers/tasks.h"

namespace sluice {
namespace {

using Rows =
    Eigen::Map<const Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>;

/// Of the mean square of an input: how much a text has to say before it is believed.
constexpr float kRidge = 1e-3f;

}  // namespace

/// x: what a gate sees; y: what the router's outputs are more than the gate says.
struct GateFit::Sums {
  Eigen::MatrixXf xx;  // [hidden, hidden], the lower half
  Eigen::MatrixXf xy;  // [hidden, experts]
  Eigen::VectorXd x;
  Eigen::VectorXd y;
  double rows = 0;
  // Of the pass under way, until the router speaks.
  std::size_t waiting = 0;  // rows
  std::vector<float> seen;  // [rows, hidden]
  std::vector<float> said;  // [rows, experts]

  Sums(std::size_t hidden, std::size_t experts)
      : xx(Eigen::MatrixXf::Zero(static_cast<Eigen::Index>(hidden),
                                 static_cast<Eigen::Index>(hidden))),
        xy(Eigen::MatrixXf::Zero(static_cast<Eigen::Index>(hidden),
                                 static_cast<Eigen::Index>(experts))),
        x(Eigen::VectorXd::Zero(static_cast<Eigen::Index>(hidden))),
        y(Eigen::VectorXd::Zero(static_cast<Eigen::Index>(experts))) {}
};

GateFit::GateFit(const ModelDescription& model, const std::vector<LayerWeights>& weights,
                 Compute& compute, const GateMemory& memory, GateInput input, std::uint32_t ahead)
    : model_(model),
      weights_(weights),
      compute_(compute),
      memory_(memory),
      gate_(model, weights, compute, memory, input, ahead),
      sums_(model.layers.size()) {}

GateFit::~GateFit() = default;

void GateFit::add(std::uint32_t layer) {
  sums_[layer] = std::make_unique<Sums>(model_.hidden, model_.router.experts);
}

std::uint64_t GateFit::layer_bytes(const ModelDescription& model, std::size_t rows) {
  const std::uint64_t hidden = model.hidden;
  return (hidden + rows) * (hidden + model.router.experts) * sizeof(float);
}

std::uint64_t GateFit::solving_bytes(const ModelDescription& model) {
  const std::uint64_t hidden = model.hidden;
  return hidden * (hidden + 2 * model.router.experts) * sizeof(float);
}

void GateFit::entering(std::uint32_t layer, std::size_t rows, const float* layer_input) {
  foretell({.layer = layer, .rows = rows, .layer_input = layer_input}, layer + gate_.ahead() - 1);
}

void GateFit::routed(const Routing& routing) {
  const GateEvidence evidence = evidence_of(routing);
  compare(evidence);
  foretell(evidence, routing.layer + gate_.ahead());
}

void GateFit::foretell(const GateEvidence& evidence, std::uint32_t target) {
  if (target >= sums_.size() || !sums_[target] || !gate_.predict(evidence, target)) return;
  Sums& sums = *sums_[target];
  sums.waiting = evidence.rows;
  sums.seen.assign(gate_.inputs(), gate_.inputs() + evidence.rows * model_.hidden);
  sums.said.assign(gate_.outputs(), gate_.outputs() + evidence.rows * model_.router.experts);
}

void GateFit::compare(const GateEvidence& evidence) {
  if (!sums_[evidence.layer]) return;
  Sums& sums = *sums_[evidence.layer];
  if (std::exchange(sums.waiting, 0) != evidence.rows) return;  // of a pass that was stopped
  const RouterWeights& router = weights_[evidence.layer].router;
  const Activations input{.values = const_cast<float*>(evidence.router_input),
                          .rows = evidence.rows,
                          .columns = model_.hidden};
  const MatmulTask task = product(router.matrix, input, evidence.rows, memory_.scores, router.bias);
  compute_.matmul({&task, 1});

  const auto rows = static_cast<Eigen::Index>(evidence.rows);
  const auto experts = static_cast<Eigen::Index>(model_.router.experts);
  const Rows x(sums.seen.data(), rows, static_cast<Eigen::Index>(model_.hidden));
  Eigen::MatrixXf y = Rows(memory_.scores, rows, experts) - Rows(sums.said.data(), rows, experts);
  // What all outputs have more in common changes no choice among softmaxed ones.
  if (model_.router.score != RouterScore::kSigmoid) y.colwise() -= y.rowwise().mean();
  sums.xx.selfadjointView<Eigen::Lower>().rankUpdate(x.transpose());
  sums.xy.noalias() += x.transpose() * y;
  sums.x += x.cast<double>().colwise().sum().transpose();
  sums.y += y.cast<double>().colwise().sum().transpose();
  sums.rows += static_cast<double>(rows);
}

std::vector<FittedGate> GateFit::solve() const {
  std::vector<FittedGate> fitted;
  const auto hidden = static_cast<Eigen::Index>(model_.hidden);
  for (std::uint32_t layer = 0; layer < sums_.size(); ++layer) {
    if (!sums_[layer] || sums_[layer]->rows == 0) continue;
    const Sums& sums = *sums_[layer];
    const Eigen::VectorXf mean_x = (sums.x / sums.rows).cast<float>();
    const Eigen::VectorXf mean_y = (sums.y / sums.rows).cast<float>();
    const auto rows = static_cast<float>(sums.rows);
    Eigen::MatrixXf xx = sums.xx;
    const float ridge = kRidge * xx.trace() / static_cast<float>(hidden);
    xx.selfadjointView<Eigen::Lower>().rankUpdate(mean_x, -rows);
    xx.diagonal().array() += ridge;
    const Eigen::MatrixXf xy = sums.xy - rows * mean_x * mean_y.transpose();
    const Eigen::LLT<Eigen::Ref<Eigen::MatrixXf>> decomposed(xx);  // in its place
    if (decomposed.info() != Eigen::Success) continue;
    const Eigen::MatrixXf difference = decomposed.solve(xy);  // [hidden, experts]
    const Eigen::VectorXf bias = mean_y - difference.transpose() * mean_x;

    FittedGate& gate = fitted.emplace_back();
    gate.input = gate_.input();
    gate.ahead = gate_.ahead();
    gate.layer = layer;
    const RouterWeights& router = weights_[layer].router;
    gate.matrix.resize(std::size_t{model_.router.experts} * model_.hidden);
    gate.bias.resize(model_.router.experts);
    for (std::uint32_t expert = 0; expert < model_.router.experts; ++expert) {
      float* const row = gate.matrix.data() + std::size_t{expert} * model_.hidden;
      decode_row(router.matrix, expert, row);
      for (Eigen::Index i = 0; i < hidden; ++i) row[i] += difference(i, expert);
      gate.bias[expert] = bias(expert) + (router.bias != nullptr ? router.bias[expert] : 0.0f);
    }
  }
  return fitted;
}

}  // namespace sluice
