#include "store/nested_fit.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <string>

#include "store/four_floats.h"
#include "store/nested_cost.h"
#include "store/nested_moments.h"

namespace sluice {
namespace {

constexpr int kRounds = 3;
// Blocks that the rounds before the last go by. More of them change the tables by a step at most.
constexpr std::size_t kSampledBlocks = 2048;

// Scales that are tried: so many steps of a byte below and above the smallest that covers the block
// at some offset. On a trained model's experts more of them change no error by a thousandth.
constexpr int kBelow = 1, kAbove = 3;

// Where it pays, a block's ends may be cut off by a scale that is so many times too small. The
// widths that a fit goes by would have more of it, 8 bits none: an exhaustive search that tries the
// scales of docs/nesting.md cuts as much.
constexpr float kMostCut = 1.25f;
constexpr float kCutPrice = 1e20f;  // of what more would be cut: more than any error

constexpr std::uint32_t kMantissaBits = 23, kScaleShift = 20;
// Blocks are searched as though this were the matrix's exponent base: then its largest scales are
// about one.
constexpr std::uint8_t kSearchBase = 96;
constexpr int kHighestBase = 215;  // no decoded value overflows: 1.875 * 2^(215 + 31 - 127) * 191.5

/// Weights of columns whose mean is one, none of them nearly zero: a column that no text reached is
/// still to be decoded.
Result<std::vector<float>> column_weights(std::span<const float> importance, std::size_t columns) {
  constexpr double kLeast = 1.0 / 1024;
  double sum = 0;
  for (std::size_t column = 0; column < importance.size(); ++column) {
    if (!(importance[column] >= 0) || !std::isfinite(importance[column])) {
      return Status(ErrorCode::kInvalidArgument, "the importance of column " +
                                                     std::to_string(column) + " is " +
                                                     std::to_string(importance[column]) +
                                                     ": a mean square is finite and not negative");
    }
    sum += importance[column];
  }
  std::vector<float> weights(columns, 1.0f);
  if (sum > 0) {
    const double mean = sum / static_cast<double>(columns);
    for (std::size_t column = 0; column < columns; ++column) {
      weights[column] = static_cast<float>(std::max(importance[column] / mean, kLeast));
    }
  }
  return weights;
}

void set_shape(const NestedForm& form, std::size_t rows, std::size_t columns, NestedMatrix& out) {
  out.form = &form;
  out.rows = rows;
  out.columns = columns;
  out.header.exponent_base = 1;
  const std::size_t blocks = rows * columns / kNestedBlock;
  out.codes.resize(rows * columns);
  out.scales.resize(form.fitted ? blocks : 0);
  out.offsets.resize(form.unit == 0 ? 0 : blocks);
}

/// `block(cost, index, moments)` writes the codes of a block that cost least, and adds it to the
/// moments. The last round sees all blocks, the others a sample.
template <typename Block>
void fit_rounds(NestedMatrix& out, const Block& block) {
  const std::size_t blocks = out.offsets.size();
  const std::size_t stride = std::max<std::size_t>(blocks / kSampledBlocks, 1);
  const auto set_tables = [&, base = out.header.exponent_base](NestedHeader tables) {
    tables.exponent_base = base;
    out.header = tables;
  };
  set_tables(middle_tables(*out.form));
  NestedPrices prices = first_prices(*out.form);
  for (int round = 1; round <= kRounds; ++round) {
    const NestedCost cost(*out.form, out.header, prices);
    NestedMoments moments(*out.form);
    if (round == kRounds) {
      for (std::size_t index = 0; index < blocks; ++index) block(cost, index, moments);
    } else {
      // One of each `stride`, by turns the first, the second …: a row may have as many blocks.
      for (std::size_t turn = 0; (turn + 1) * stride <= blocks; ++turn) {
        block(cost, turn * stride + turn % stride, moments);
      }
    }
    set_tables(moments.tables());
    prices = moments.prices(out.header);
  }
}

/// Searches scale and offset of float blocks.
class FloatSearch {
 public:
  FloatSearch(const float* weights, const std::vector<float>& column_weights, NestedMatrix& out)
      : weights_(weights), column_weights_(column_weights.data()), out_(out) {
    for (std::size_t i = 0; i < kNestedOffsets; ++i) {
      const auto shift = static_cast<float>(8 * (kNestedMostOffset - static_cast<int>(i)));
      per_highest_[i] = 1 / (128 + shift);
      per_lowest_[i] = 1 / (shift - 128);
    }
  }

  void operator()(const NestedCost& cost, std::size_t block, NestedMoments& moments) const {
    const float* const importance = column_weights_ + block * kNestedBlock % out_.columns;
    float weights[kNestedBlock];  // as of a matrix with the base kSearchBase
    const FourFloats to_search(
        std::bit_cast<float>((127u + kSearchBase - out_.header.exponent_base) << kMantissaBits));
    for (std::size_t i = 0; i < kNestedBlock; i += 4) {
      (FourFloats::load(weights_ + block * kNestedBlock + i) * to_search).store(weights + i);
    }
    float covering[kNestedOffsets];
    const int smallest = cover(weights, covering);
    Choice best;
    for (int byte = std::max(smallest - kBelow, 0); byte <= std::min(smallest + kAbove, 255);
         ++byte) {
      try_scale(cost, weights, importance, covering, byte, best);
    }
    keep(best, weights, importance, block, moments);
  }

 private:
  struct Choice {
    float cost = HUGE_VALF;
    int byte = 0, offset = 0;
  };

  /// The scales with which the block fits into the codes, of each offset from the highest down, and
  /// the byte of the smallest.
  int cover(const float* weights, float* covering) const {
    FourFloats low = FourFloats::load(weights), high = low;
    for (std::size_t i = 4; i < kNestedBlock; i += 4) {
      const FourFloats four = FourFloats::load(weights + i);
      low = min(low, four);
      high = max(high, four);
    }
    const FourFloats lowest(least_of(low)), highest(most_of(high));
    FourFloats least(HUGE_VALF);
    for (std::size_t i = 0; i < kNestedOffsets; i += 4) {
      const FourFloats scales = max(highest * FourFloats::load(per_highest_ + i),
                                    lowest * FourFloats::load(per_lowest_ + i));
      scales.store(covering + i);
      least = min(least, scales);
    }
    const float scale = least_of(least);
    if (!(scale > nested_scale(0, kSearchBase))) return 0;
    const std::uint32_t steps =
        std::bit_cast<std::uint32_t>(scale) - (std::uint32_t{kSearchBase} << kMantissaBits);
    return static_cast<int>(
        std::min((steps + (1u << kScaleShift) - 1) >> kScaleShift, std::uint32_t{255}));
  }

  void try_scale(const NestedCost& cost, const float* weights, const float* importance,
                 const float* covering, int byte, Choice& best) const {
    const float scale = nested_scale(static_cast<std::uint8_t>(byte), kSearchBase);
    const FourFloats per_scale(1 / scale), square(scale * scale);
    float values[kNestedBlock];
    for (std::size_t i = 0; i < kNestedBlock; i += 4) {
      (FourFloats::load(weights + i) * per_scale).store(values + i);
    }
    float costs[kNestedOffsets];
    cost.at_offsets(values, importance, costs);
    const FourFloats none, enough(scale * kMostCut), prohibitive(kCutPrice);
    for (std::size_t i = 0; i < kNestedOffsets; i += 4) {
      const FourFloats lacking = max(FourFloats::load(covering + i) - enough, none);
      (FourFloats::load(costs + i) * square + lacking * prohibitive).store(costs + i);
    }
    const float* const least = std::min_element(costs, costs + kNestedOffsets);
    if (*least < best.cost) {
      best = {*least, byte, kNestedMostOffset - static_cast<int>(least - costs)};
    }
  }

  void keep(const Choice& choice, const float* weights, const float* importance, std::size_t block,
            NestedMoments& moments) const {
    const float scale = nested_scale(static_cast<std::uint8_t>(choice.byte), kSearchBase);
    const FourFloats per_scale(1 / scale), square(scale * scale);
    const FourFloats shift(static_cast<float>(-8 * choice.offset)), middle(128), none, last(255);
    float values[kNestedBlock], counts[kNestedBlock];
    std::int32_t codes[kNestedBlock];
    for (std::size_t i = 0; i < kNestedBlock; i += 4) {
      const FourFloats value = FourFloats::load(weights + i) * per_scale + shift;
      value.store(values + i);
      min(max(value + middle, none), last).store(codes + i);
      (FourFloats::load(importance + i) * square).store(counts + i);
    }
    std::uint8_t* const out = out_.codes.data() + block * kNestedBlock;
    std::copy(codes, codes + kNestedBlock, out);
    out_.scales[block] = static_cast<std::uint8_t>(choice.byte);
    out_.offsets[block] = static_cast<std::int8_t>(choice.offset);
    moments.add(values, counts, out);
  }

  const float* weights_;
  const float* column_weights_;
  NestedMatrix& out_;
  float per_highest_[kNestedOffsets];  // one by the highest and the lowest number, in steps, that
  float per_lowest_[kNestedOffsets];   // codes reach at the offsets, from the highest one down
};

/// Searches the offset of blocks that have codes, where their form has offsets.
class CodeSearch {
 public:
  CodeSearch(const std::uint8_t* codes, std::span<const float> scales,
             const std::vector<float>& column_weights, NestedMatrix& out)
      : codes_(codes), scales_(scales), column_weights_(column_weights.data()), out_(out) {
    for (const float scale : scales) {
      if (std::isfinite(scale)) largest_scale_ = std::max(largest_scale_, std::abs(scale));
    }
  }

  void operator()(const NestedCost& cost, std::size_t block, NestedMoments& moments) const {
    const NestedForm& form = *out_.form;
    const float* const importance = column_weights_ + block * kNestedBlock % out_.columns;
    const std::uint8_t* const codes = codes_ + block * kNestedBlock;
    const int unit = nested_unit(form), step = form.steps;
    const auto [low, high] = std::minmax_element(codes, codes + kNestedBlock);
    float values[kNestedBlock], costs[kNestedOffsets];
    for (std::size_t i = 0; i < kNestedBlock; ++i) values[i] = value(codes[i], 0);
    cost.at_offsets(values, importance, costs);
    int best = 0;
    float least = HUGE_VALF;
    for (int offset = kNestedMostOffset; offset >= kNestedLeastOffset; --offset) {
      // Every code has to be one at this offset, so that nothing is lost.
      const int lowest = *low * step - unit * offset;
      const int highest = *high * step - unit * offset;
      const float here = costs[kNestedMostOffset - offset];
      if (lowest >= 0 && highest <= 255 && here < least) {
        best = offset;
        least = here;
      }
    }
    out_.offsets[block] = static_cast<std::int8_t>(best);
    keep(block, best, moments);
  }

  /// The block's codes at an offset.
  void keep(std::size_t block, int offset, NestedMoments& moments) const {
    const NestedForm& form = *out_.form;
    const std::size_t group = form.format().group;
    const float* const importance = column_weights_ + block * kNestedBlock % out_.columns;
    float values[kNestedBlock], counts[kNestedBlock];
    std::uint8_t* const out = out_.codes.data() + block * kNestedBlock;
    for (std::size_t i = 0; i < kNestedBlock; ++i) {
      const std::size_t at = block * kNestedBlock + i;
      values[i] = value(codes_[at], offset);
      out[i] = static_cast<std::uint8_t>(codes_[at] - form.unit * offset);
      counts[i] = importance[i] * scale_square(scales_[at / group]);
    }
    moments.add(values, counts, out);
  }

 private:
  /// In steps, less the offset.
  float value(std::uint8_t code, int offset) const {
    const NestedForm& form = *out_.form;
    return static_cast<float>(nested_number(form, code) * form.steps - nested_unit(form) * offset);
  }
  /// Relative to the largest; a scale that is no number counts nothing.
  float scale_square(float scale) const {
    if (!std::isfinite(scale) || largest_scale_ == 0) return 0;
    const float ratio = scale / largest_scale_;
    return ratio * ratio;
  }

  const std::uint8_t* codes_;
  std::span<const float> scales_;
  const float* column_weights_;
  NestedMatrix& out_;
  float largest_scale_ = 0;
};

}  // namespace

Status fit_nested(std::span<const float> weights, std::size_t rows, std::size_t columns,
                  std::span<const float> importance, NestedMatrix& out) {
  SLUICE_ASSIGN(const std::vector<float> counts, column_weights(importance, columns));
  set_shape(*nested_form_of(TensorType::kF32), rows, columns, out);
  std::uint32_t largest = 0;  // the bits of numbers without a sign are in the numbers' order
  for (const float weight : weights) {
    largest = std::max(largest, std::bit_cast<std::uint32_t>(weight) & 0x7fffffffu);
  }
  constexpr std::uint32_t kInfinity = 255;
  if (largest >> kMantissaBits == kInfinity) {
    const auto bad =
        std::ranges::find_if(weights, [](float weight) { return !std::isfinite(weight); });
    const auto at = static_cast<std::size_t>(bad - weights.begin());
    return Status(ErrorCode::kInvalidArgument, "the weight in row " + std::to_string(at / columns) +
                                                   ", column " + std::to_string(at % columns) +
                                                   " is " + std::to_string(*bad) +
                                                   ": only finite weights have codes");
  }
  // The largest scale is between a 64th of the largest weight and twice that: its block needs less
  // than a 64th, and 31 binades below have scales, too.
  const int base = static_cast<int>(largest >> kMantissaBits) - 6 - 31;
  out.header.exponent_base = static_cast<std::uint8_t>(std::clamp(base, 1, kHighestBase));
  fit_rounds(out, FloatSearch(weights.data(), counts, out));
  return {};
}

Status nest_codes(const NestedForm& form, std::span<const std::uint8_t> codes,
                  std::span<const float> scales, std::size_t rows, std::size_t columns,
                  std::span<const float> importance, NestedMatrix& out) {
  SLUICE_ASSIGN(const std::vector<float> counts, column_weights(importance, columns));
  set_shape(form, rows, columns, out);
  const CodeSearch search(codes.data(), scales, counts, out);
  if (form.unit != 0) {
    fit_rounds(out, search);
    return {};
  }
  // Without offsets there is nothing to search: the codes are what they are.
  NestedMoments moments(form);
  for (std::size_t block = 0; block < codes.size() / kNestedBlock; ++block) {
    search.keep(block, 0, moments);
  }
  out.header = moments.tables();
  return {};
}

}  // namespace sluice
