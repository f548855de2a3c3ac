// Widths that follow what an expert counts for a row: each row takes the width of its share, and
// nothing else changes a bit.

#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/nested_error.h"
#include "gates/gate_corrections.h"
#include "tests/engine/nested_models.h"

namespace sluice {
namespace {

class AutoWidth : public test::NestedModel {
 protected:
  test::Conditions conditions(float narrow = 0.1f) {
    if (store_.empty()) store_ = pack(/*keep_floats=*/false);
    test::Conditions conditions;
    conditions.path = store_;
    conditions.model.width = kAutoWidth;
    conditions.model.narrow = narrow;
    conditions.model.calibration = "";
    return conditions;
  }
  test::Conditions at_width(unsigned width) {
    test::Conditions fixed = conditions();
    fixed.model.width = width;
    return fixed;
  }
  /// A file of it.
  std::string calibration(const std::vector<float>& sensitivities) {
    const test::Opened opened = test::open(at_width(8));
    return folder_.write("a.calibration",
                         GateCorrections::to_file({}, sensitivities, opened.model->description(),
                                                  opened.model->weights().layers()));
  }
  std::string store_;
};

TEST_P(AutoWidth, DependsOnNothingElse) {
  const std::vector<TokenId> tokens = test::some_tokens(40);
  test::Conditions conditions = this->conditions();
  const std::vector<float> want = test::all_logits(conditions, tokens);
  conditions.ram = test::smallest_budget(conditions);
  EXPECT_TRUE(test::same_bits(test::all_logits(conditions, tokens), want));
  for (const std::uint32_t rows : {1u, 7u}) {
    conditions.model.max_rows = rows;
    conditions.threads = 2;
    conditions.ram = test::smallest_budget(conditions);
    EXPECT_TRUE(test::same_bits(test::all_logits(conditions, tokens), want)) << rows;
    conditions.ram *= 2;
    EXPECT_TRUE(test::same_bits(test::all_logits(conditions, tokens), want)) << rows;
  }
}

TEST_P(AutoWidth, EndsAtTheNarrowestWidthAndAtTheWidest) {
  const std::vector<TokenId> tokens = test::some_tokens(24);
  const std::vector<float> narrowest = test::all_logits(conditions(2), tokens);
  const std::vector<float> widest = test::all_logits(conditions(1e-6f), tokens);
  EXPECT_TRUE(test::same_bits(narrowest, test::all_logits(at_width(2), tokens)));
  EXPECT_TRUE(test::same_bits(widest, test::all_logits(at_width(8), tokens)));
  const std::vector<float> between = test::all_logits(conditions(), tokens);
  EXPECT_FALSE(test::same_bits(between, narrowest));
  EXPECT_FALSE(test::same_bits(between, widest));
}

TEST_P(AutoWidth, APassThatMustBeExactIs) {
  test::Opened opened = test::open(conditions(1));
  Session session(*opened.model);
  const std::vector<TokenId> tokens = test::some_tokens(24);
  std::vector<float> exact;
  PassOptions pass;
  pass.exact = true;
  ASSERT_TRUE(session
                  .eval(
                      tokens, Session::Logits::kAll,
                      [&](std::size_t, std::span<const float> logits) {
                        exact.insert(exact.end(), logits.begin(), logits.end());
                      },
                      pass)
                  .ok());
  EXPECT_TRUE(test::same_bits(exact, test::all_logits(at_width(8), tokens)));
}

/// Holds what is computed against what the routers' weights ask for, and against floats that the
/// file's planes stand for.
class Watcher final : public RoutingObserver {
 public:
  /// `narrow` `[layers]`.
  Watcher(const Checkpoint& checkpoint, Compute& compute, std::vector<double> narrow)
      : checkpoint_(checkpoint), compute_(compute), narrow_(std::move(narrow)) {}

  void routed(const Routing& routing) override {
    EXPECT_TRUE(wanted_.empty());
    for (std::size_t row = 0; row < routing.rows; ++row) {
      const float* const weights = routing.weights + row * routing.top_k;
      const float sum = weight_sum({weights, routing.top_k});
      for (std::size_t rank = 0; rank < routing.top_k; ++rank) {
        const double share = std::fabs(weights[rank]) / sum;
        const std::size_t pair = row * routing.top_k + rank;
        wanted_[{routing.ids[pair], row}] =
            bits_of(routing.layer, routing.ids[pair], share, narrow_[routing.layer]);
      }
    }
  }

  void computed(std::uint32_t layer, std::uint32_t expert, const FfnTask& task) override {
    // Of the matrix that has most widths; the others have as many bits, or all of theirs.
    const unsigned width = task.up.nested.width;
    for (const WeightMatrix* const matrix : {&task.gate, &task.down}) {
      EXPECT_EQ(matrix->nested.width, std::min<unsigned>(width, matrix->nested.form->bits));
    }
    for (std::size_t i = 0; i < task.n_rows; ++i) {
      const auto wanted = wanted_.find({expert, task.row_index[i]});
      ASSERT_NE(wanted, wanted_.end());
      EXPECT_TRUE(wanted->second.contains(width))
          << "layer " << layer << ", expert " << expert << ": " << width << " bits";
      wanted_.erase(wanted);
    }
    widths.insert(width);
    compare(layer, expert, task);
  }

  std::set<unsigned> widths;  // that were taken

 private:
  /// How much the layer's three matrices err together.
  double error_of(std::uint32_t layer, unsigned width) const {
    double squares = 0;
    for (const std::string_view matrix : kExpertMatrices) {
      const NestedForm& form =
          *checkpoint_.tensors.at(expert_tensor_name(layer, matrix)).nested->form;
      squares += std::pow(typical_nested_error(form, form.groups_within(width)), 2);
    }
    return std::sqrt(squares / 3);
  }

  /// The fewest with which an expert's share errs at most as `narrow` does at 30 %.
  /// Two, where the recorded share's rounding may decide.
  std::set<unsigned> bits_of(std::uint32_t layer, std::uint32_t expert, double share,
                             double narrow) const {
    std::set<unsigned> bits;
    const auto& tensor = checkpoint_.tensors.at(expert_tensor_name(layer, "up"));
    const unsigned rest = tensor.nested->width(expert);
    const double most = narrow * 0.3;
    for (const double rounded : {share - 1e-5, share + 1e-5}) {
      unsigned width = rest;
      for (std::size_t groups = tensor.nested->form->groups_within(rest); groups > 0; --groups) {
        const unsigned there = tensor.nested->form->width(groups);
        if (rounded * error_of(layer, there) <= most) width = there;
      }
      bits.insert(width);
    }
    return bits;
  }

  void compare(std::uint32_t layer, std::uint32_t expert, const FfnTask& task) {
    FfnTask again = task;
    std::vector<std::vector<float>> numbers;
    WeightMatrix* const matrices[] = {&again.gate, &again.up, &again.down};
    for (std::size_t i = 0; i < 3; ++i) {
      const TensorInfo& tensor =
          checkpoint_.tensors.at(expert_tensor_name(layer, kExpertMatrices[i]));
      numbers.push_back(
          test::nested_numbers(checkpoint_, tensor, expert, matrices[i]->nested.width));
      *matrices[i] = {.format = &tensor_format(TensorType::kF32),
                      .data = reinterpret_cast<const std::byte*>(numbers.back().data()),
                      .rows = matrices[i]->rows,
                      .columns = matrices[i]->columns};
    }
    const std::size_t hidden = again.down.rows, ffn = again.down.columns;
    std::vector<float> between(task.n_rows * ffn), output(task.n_rows * hidden);
    again.hidden = {.values = between.data(), .rows = task.n_rows, .columns = ffn};
    again.output = output.data();
    compute_.ffn({&again, 1});
    EXPECT_TRUE(test::same_bits(output, {task.output, output.size()}))
        << "layer " << layer << ", expert " << expert;
  }

  const Checkpoint& checkpoint_;
  Compute& compute_;
  const std::vector<double> narrow_;
  std::map<std::pair<std::uint32_t, std::size_t>, std::set<unsigned>> wanted_;  // expert, row
};

/// Of layers, what is invented.
const std::vector<float> kSensitivities = {0.25f, 0.5f, 1, 2, 2, 0.25f};

/// Computes, and holds all of it against what a Watcher knows. Whether there was a calibration.
bool watch(const test::Conditions& conditions, const std::vector<double>& narrow) {
  test::Opened opened = test::open(conditions);
  Watcher watcher(opened.model->checkpoint(), opened.runtime->compute(), narrow);
  opened.model->observe_routing(watcher);
  Session session(*opened.model);
  test::all_logits(session, test::some_tokens(33));
  opened.model->ignore_routing(watcher);
  EXPECT_GE(watcher.widths.size(), 3u);
  std::uint64_t rows = 0;
  std::set<unsigned> counted;
  for (const WidthChoice::Use& use : opened.model->widths()->uses()) {
    rows += use.rows;
    if (use.rows > 0) counted.insert(use.bits);
  }
  EXPECT_EQ(rows, 33u * opened.model->description().router.top_k *
                      opened.model->catalogue().layers().size());
  EXPECT_EQ(counted, watcher.widths);
  EXPECT_GT(opened.model->widths()->mean_bits(), 2);
  EXPECT_LT(opened.model->widths()->mean_bits(), opened.model->catalogue().mean_bits());
  return opened.model->knows_sensitivities();
}

TEST_P(AutoWidth, EachRowTakesTheWidthOfItsShare) {
  test::Conditions conditions = this->conditions(0.05f);
  conditions.model.compute_f32 = true;  // floats' bits are those of planes then
  conditions.model.max_rows = 16;
  std::vector<double> narrow(kSensitivities.size(), *conditions.model.narrow);
  for (const bool calibrated : {false, true}) {
    if (calibrated) {
      conditions.model.calibration = calibration(kSensitivities);
      double sum = 0;
      for (const float sensitivity : kSensitivities) sum += 1 / sensitivity;
      for (std::size_t i = 0; i < narrow.size(); ++i) {
        narrow[i] *= 1 / kSensitivities[i] / (sum / static_cast<double>(narrow.size()));
      }
    }
    EXPECT_EQ(watch(conditions, narrow), calibrated);
  }
}

TEST_P(AutoWidth, ExpertsThatRestNarrowerAreNoWider) {
  store_ = folder_.path() + "/slim.slc";
  StoreChoice choice = test::nest_all(false);
  choice.widths = test::widths_in_turn(source());
  test::pack_store(source(), store_, choice);
  test::Conditions conditions = this->conditions(0.05f);
  conditions.model.compute_f32 = true;
  watch(conditions, std::vector<double>(kSensitivities.size(), *conditions.model.narrow));
  const std::vector<TokenId> tokens = test::some_tokens(24);
  const std::vector<float> widest = test::all_logits(this->conditions(1e-6f), tokens);
  EXPECT_TRUE(test::same_bits(widest, test::all_logits(at_width(8), tokens)));
  conditions = this->conditions();
  const std::vector<float> want = test::all_logits(conditions, tokens);
  conditions.ram = test::smallest_budget(conditions);
  conditions.model.max_rows = 5;
  EXPECT_TRUE(test::same_bits(test::all_logits(conditions, tokens), want));
}

TEST_P(AutoWidth, ExpertsCanRestInMemoryAsTheyWouldInAFile) {
  const std::vector<TokenId> tokens = test::some_tokens(24);
  test::Opened opened = test::open(conditions());
  const auto rests = test::widths_in_turn(source());
  WidthChoice choice(opened.model->catalogue(), rests);
  PassOptions pass;
  pass.widths = &choice;
  Session session(*opened.model);
  std::vector<float> logits;
  const LogitsSink sink = [&](std::size_t, std::span<const float> row) {
    logits.insert(logits.end(), row.begin(), row.end());
  };
  ASSERT_TRUE(session.eval(tokens, Session::Logits::kAll, sink, pass).ok());
  store_ = folder_.path() + "/slim.slc";
  StoreChoice slim = test::nest_all(false);
  slim.widths = rests;
  test::pack_store(source(), store_, slim);
  test::Conditions exact = conditions();
  exact.model.width = kExactWidth;
  EXPECT_TRUE(test::same_bits(logits, test::all_logits(exact, tokens)));
}

TEST_P(AutoWidth, DoesNotDependOnWhetherTheBudgetHasRoomForTheCalibration) {
  test::Conditions conditions = this->conditions();
  conditions.model.calibration.reset();  // the one beside the model
  conditions.ram = test::smallest_budget(conditions);
  test::open(conditions);
  const std::string beside = GateCorrections::default_path(test::opened(conditions.path));
  std::filesystem::copy(calibration(kSensitivities), beside);
  try {
    test::open(conditions);
    FAIL() << "the calibration has no room";
  } catch (const std::runtime_error& refused) {
    EXPECT_NE(std::string(refused.what()).find("which widths go by"), std::string::npos)
        << refused.what();
  }
}

INSTANTIATE_TEST_SUITE_P(Sources, AutoWidth, ::testing::ValuesIn(test::nested_sources()),
                         [](const auto& source) { return std::string(source.param.name); });

TEST(AutoWidthOf, AModelWithoutPlanesIsExact) {
  test::Conditions conditions;
  const std::vector<TokenId> tokens = test::some_tokens(8);
  const std::vector<float> want = test::all_logits(conditions, tokens);
  conditions.model.width = kAutoWidth;
  EXPECT_TRUE(test::same_bits(test::all_logits(conditions, tokens), want));
}

}  // namespace
}  // namespace sluice
