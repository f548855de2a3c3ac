// Fitted corrections against the equations that they must solve, computed apart in double
// precision from what the routers of the bundled model read.

#include "gates/gate_fit.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <map>

#include "base/strip_layout.h"
#include "tests/engine/fixture.h"
#include "tests/gates/foreteller.h"

namespace sluice {
namespace {

struct Matrix {
  std::size_t rows = 0, columns = 0;
  std::vector<double> numbers;
  Matrix(std::size_t r, std::size_t c) : rows(r), columns(c), numbers(r * c) {}
  double* operator[](std::size_t row) { return numbers.data() + row * columns; }
  const double* operator[](std::size_t row) const { return numbers.data() + row * columns; }
};

double dot(const Matrix& a, const Matrix& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.numbers.size(); ++i) sum += a.numbers[i] * b.numbers[i];
  return sum;
}

/// [a.rows, b.rows]
Matrix times_transposed(const Matrix& a, const Matrix& b) {
  Matrix product(a.rows, b.rows);
  for (std::size_t i = 0; i < a.rows; ++i) {
    for (std::size_t j = 0; j < b.rows; ++j) {
      for (std::size_t k = 0; k < a.columns; ++k) product[i][j] += a[i][k] * b[j][k];
    }
  }
  return product;
}

Matrix transposed(const Matrix& a) {
  Matrix b(a.columns, a.rows);
  for (std::size_t i = 0; i < a.rows; ++i) {
    for (std::size_t j = 0; j < a.columns; ++j) b[j][i] = a[i][j];
  }
  return b;
}

/// Takes the mean of each column off, and gives it.
std::vector<double> centre(Matrix& a) {
  std::vector<double> means(a.columns);
  for (std::size_t i = 0; i < a.rows; ++i) {
    for (std::size_t j = 0; j < a.columns; ++j) {
      means[j] += a[i][j] / static_cast<double>(a.rows);
    }
  }
  for (std::size_t i = 0; i < a.rows; ++i) {
    for (std::size_t j = 0; j < a.columns; ++j) a[i][j] -= means[j];
  }
  return means;
}

/// What layers begin with and what their routers read, token after token.
class Inputs final : public RoutingObserver {
 public:
  explicit Inputs(std::size_t hidden) : hidden_(hidden) {}
  void entering(std::uint32_t layer, std::size_t rows, const float* input) override {
    append(begins[layer], input, rows);
  }
  void routed(const Routing& routing) override {
    append(reads[routing.layer], routing.input, routing.rows);
  }
  Matrix matrix(const std::vector<double>& numbers) const {
    Matrix all(numbers.size() / hidden_, hidden_);
    all.numbers = numbers;
    return all;
  }
  std::map<std::uint32_t, std::vector<double>> begins, reads;  // by layer: [tokens, hidden]

 private:
  void append(std::vector<double>& all, const float* input, std::size_t rows) const {
    all.insert(all.end(), input, input + rows * hidden_);
  }
  const std::size_t hidden_;
};

class GateFitTest : public testing::Test {
 protected:
  /// The layer's inputs, normalised as the bundled model's routers have them: RMS, then a factor
  /// for each column.
  Matrix normalised(const std::vector<double>& begins, std::uint32_t layer) const {
    const ModelDescription& model = opened_.model->description();
    const float* const weight = opened_.model->weights().layers()[layer].ffn_norm.weight;
    Matrix rows = inputs_.matrix(begins);
    for (std::size_t i = 0; i < rows.rows; ++i) {
      double squares = 0;
      for (std::size_t j = 0; j < rows.columns; ++j) squares += rows[i][j] * rows[i][j];
      const double size = std::sqrt(squares / static_cast<double>(rows.columns) +
                                    static_cast<double>(model.norm_epsilon));
      for (std::size_t j = 0; j < rows.columns; ++j) {
        rows[i][j] *= static_cast<double>(weight[j]) / size;
      }
    }
    return rows;
  }

  Matrix router(std::uint32_t layer) const {
    const WeightMatrix& stored = opened_.model->weights().layers()[layer].router.matrix;
    Matrix all(stored.rows, stored.columns);
    std::vector<float> row(stored.columns);
    for (std::size_t i = 0; i < stored.rows; ++i) {
      decode_row(stored, i, row.data());
      std::copy(row.begin(), row.end(), all[i]);
    }
    return all;
  }

  /// `seen`: what the gate goes by.
  void check(const FittedGate& fitted, Matrix seen) {
    const Matrix weights = router(fitted.layer);
    const std::size_t experts = weights.rows;
    ASSERT_EQ(fitted.matrix.size(), weights.numbers.size());
    ASSERT_EQ(fitted.bias.size(), experts);
    Matrix difference = inputs_.matrix(inputs_.reads.at(fitted.layer));
    ASSERT_EQ(difference.rows, seen.rows);
    for (std::size_t i = 0; i < difference.numbers.size(); ++i) {
      difference.numbers[i] -= seen.numbers[i];
    }
    // What the router says more than the gate, but for what changes no softmax.
    Matrix more = times_transposed(difference, weights);  // [tokens, experts]
    for (std::size_t i = 0; i < more.rows; ++i) {
      double mean = 0;
      for (std::size_t e = 0; e < experts; ++e) mean += more[i][e] / static_cast<double>(experts);
      for (std::size_t e = 0; e < experts; ++e) more[i][e] -= mean;
    }
    Matrix learned(experts, weights.columns);
    for (std::size_t i = 0; i < learned.numbers.size(); ++i) {
      learned.numbers[i] = static_cast<double>(fitted.matrix[i]) - weights.numbers[i];
    }
    Matrix left = times_transposed(seen, learned);  // [tokens, experts]
    for (std::size_t i = 0; i < left.rows; ++i) {
      for (std::size_t e = 0; e < experts; ++e) {
        left[i][e] = more[i][e] - left[i][e] - static_cast<double>(fitted.bias[e]);
      }
    }
    const double before = dot(more, more), after = dot(left, left);
    EXPECT_LT(after, 0.9 * before);
    const double mean_square = dot(seen, seen) / static_cast<double>(seen.columns);

    // The gradient of the squared error vanishes in the bias, and is a multiple of what was learned
    // in the matrix: the same ridge for all.
    const double typical = std::sqrt(before / static_cast<double>(more.numbers.size()));
    for (const double mean : centre(left)) EXPECT_NEAR(mean, 0, 1e-4 * typical);
    centre(seen);
    const Matrix columns = transposed(seen);
    const Matrix gradient = times_transposed(transposed(left), columns);  // [experts, hidden]
    const Matrix first = times_transposed(transposed(more), columns);
    const double ridge = dot(gradient, learned) / dot(learned, learned);
    EXPECT_GT(ridge, 1e-5 * mean_square);
    EXPECT_LT(ridge, 1e-1 * mean_square);
    Matrix wrong = gradient;
    for (std::size_t i = 0; i < wrong.numbers.size(); ++i) {
      wrong.numbers[i] -= ridge * learned.numbers[i];
    }
    EXPECT_LT(std::sqrt(dot(wrong, wrong)), 1e-4 * std::sqrt(dot(first, first)));
    EXPECT_LT(std::sqrt(dot(wrong, wrong)), 0.02 * std::sqrt(dot(gradient, gradient)));
  }

  void read(RoutingObserver& observer, std::size_t tokens) {
    Session session(*opened_.model);
    for (std::size_t done = 0; done < tokens; done += 200) {
      session.truncate(0);
      const auto text = test::some_tokens(std::min<std::size_t>(200, tokens - done),
                                          static_cast<std::uint32_t>(done + 1));
      const Status status = session.eval(text, Session::Logits::kNone, {}, {.observer = &observer});
      ASSERT_TRUE(status.ok()) << status.message();
    }
  }

  GateFit fit(GateInput input, std::uint32_t ahead) {
    return {opened_.model->description(),
            opened_.model->weights().layers(),
            opened_.model->runtime().compute(),
            room_.memory(),
            input,
            ahead};
  }

  test::Opened opened_ = test::open({.ram = std::uint64_t{1} << 30});
  test::GateRoom room_{opened_.model->description(), opened_.model->max_rows()};
  Inputs inputs_{opened_.model->description().hidden};
};

TEST_F(GateFitTest, SolvesTheNormalEquationsOfRidgeRegression) {
  const ModelDescription& model = opened_.model->description();
  ASSERT_EQ(model.router.input, RouterInput::kFfnNorm);
  ASSERT_NE(model.router.score, RouterScore::kSigmoid);
  ASSERT_EQ(model.norm_kind, NormKind::kRms);
  const auto layers = static_cast<std::uint32_t>(model.layers.size());
  GateFit across = fit(GateInput::kRouterInput, 1), far = fit(GateInput::kRouterInput, 2),
          before = fit(GateInput::kLayerInput, 1);
  for (std::uint32_t layer = 0; layer < layers; ++layer) {
    for (GateFit* one : {&across, &far, &before}) one->add(layer);
  }
  const std::array<RoutingObserver*, 4> observers{&across, &before, &far, &inputs_};
  RoutingObservers with_inputs(observers);
  read(with_inputs, 700);

  // Across layers nothing is known of the first ones.
  const auto fitted = across.solve(), fitted_far = far.solve(), fitted_before = before.solve();
  ASSERT_EQ(fitted.size(), layers - 1);
  ASSERT_EQ(fitted_far.size(), layers - 2);
  ASSERT_EQ(fitted_before.size(), layers);
  for (const FittedGate& gate : fitted) {
    SCOPED_TRACE(gate.layer);
    EXPECT_EQ(gate.input, GateInput::kRouterInput);
    EXPECT_EQ(gate.ahead, 1u);
    check(gate, inputs_.matrix(inputs_.reads.at(gate.layer - 1)));
  }
  for (const FittedGate& gate : fitted_far) {
    SCOPED_TRACE(gate.layer);
    EXPECT_EQ(gate.ahead, 2u);
    check(gate, inputs_.matrix(inputs_.reads.at(gate.layer - 2)));
  }
  for (const FittedGate& gate : fitted_before) {
    SCOPED_TRACE(gate.layer);
    EXPECT_EQ(gate.input, GateInput::kLayerInput);
    check(gate, normalised(inputs_.begins.at(gate.layer), gate.layer));
  }
}

/// What was begun and stopped before the router spoke is not mistaken for what comes next.
TEST_F(GateFitTest, OnlyFitsLayersThatWereAddedAndWholePasses) {
  GateFit some = fit(GateInput::kRouterInput, 1), again = fit(GateInput::kRouterInput, 1);
  for (GateFit* one : {&some, &again}) one->add(3);
  read(some, 300);
  const std::vector<float> rows(7 * opened_.model->description().hidden, 1.0f);
  const std::vector<std::uint32_t> ids(7 * opened_.model->description().router.top_k);
  again.routed({.layer = 2,
                .rows = 7,
                .top_k = opened_.model->description().router.top_k,
                .ids = ids.data(),
                .input = rows.data()});
  read(again, 300);
  const auto one = some.solve(), other = again.solve();
  ASSERT_EQ(one.size(), 1u);
  ASSERT_EQ(other.size(), 1u);
  EXPECT_EQ(one[0].layer, 3u);
  EXPECT_EQ(one[0].matrix, other[0].matrix);
  EXPECT_TRUE(fit(GateInput::kRouterInput, 1).solve().empty());
}

}  // namespace
}  // namespace sluice
