#pragma once
// The fit of docs/nesting.md, section 2, as plainly as it can be written: double precision, every
// offset, the study's scales of each, all blocks in every round. Shares no code with the fitter.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "base/nested_stand.h"

namespace sluice::test {

struct SourceBlock {
  struct Candidate {
    double scale;  // of a step
    int offset;    // in steps
  };
  std::vector<double> values, importance;  // [32]
  std::vector<Candidate> candidates;
};

struct NestedSource {
  std::vector<unsigned> widths;  // that the fit goes by
  double six_middle = 2;         // of the codes that share a prefix of 6 bits
  double code_steps = 1;         // in a code
  std::vector<SourceBlock> blocks;
};

class ExhaustiveFit {
 public:
  explicit ExhaustiveFit(NestedSource source) : source_(std::move(source)) {
    choices_.resize(source_.blocks.size());
    for (unsigned width = 2; width <= 4; ++width) {
      for (int prefix = 0; prefix < 1 << width; ++prefix) {
        const double covered = 256.0 / (1 << width);
        tables_[width][prefix] =
            prefix * covered - 128 + (covered - (source_.code_steps == 16 ? 16 : 0)) / 2;
      }
    }
    errors_ = {4096, 1024, 256, 16};
    for (int round = 0; round < 3; ++round) fit();
  }

  const std::vector<unsigned>& widths() const { return source_.widths; }

  /// The source's weights at one of `widths`.
  std::vector<float> decoded(unsigned width) const {
    std::vector<float> out;
    for (std::size_t b = 0; b < choices_.size(); ++b) {
      const auto& [scale, offset] = choices_[b];
      for (const double value : source_.blocks[b].values) {
        const double x = value / scale - offset;
        out.push_back(static_cast<float>(scale * (stand(width, code(x)) + offset)));
      }
    }
    return out;
  }

 private:
  // A code that came back through its scale may lie a rounding below itself.
  static int code(double x) {
    return std::clamp(static_cast<int>(std::floor(x + 128 + 1e-9)), 0, 255);
  }
  double stand(unsigned width, int of) const {
    return width == 6 ? of / 4 * 4 - 128 + source_.six_middle : tables_[width][of >> (8 - width)];
  }

  void fit() {
    const std::vector<unsigned>& by = source_.widths;
    std::vector<double> sums(by.size());
    double weight[16] = {}, first[16] = {};
    for (std::size_t b = 0; b < choices_.size(); ++b) {
      const SourceBlock& block = source_.blocks[b];
      double least = std::numeric_limits<double>::infinity();
      std::vector<double> least_errors(by.size());
      for (const SourceBlock::Candidate& candidate : block.candidates) {
        std::vector<double> errors(by.size());
        for (std::size_t i = 0; i < 32; ++i) {
          const double x = block.values[i] / candidate.scale - candidate.offset;
          for (std::size_t w = 0; w < by.size(); ++w) {
            const double error = candidate.scale * (x - stand(by[w], code(x)));
            errors[w] += block.importance[i] * error * error;
          }
        }
        double cost = 0;
        for (std::size_t w = 0; w < by.size(); ++w) {
          cost += (by[w] == 6 ? 0.5 : 1) * errors[w] / errors_[w];
        }
        if (cost < least) {
          least = cost;
          least_errors = errors;
          choices_[b] = candidate;
        }
      }
      const auto& [scale, offset] = choices_[b];
      for (std::size_t w = 0; w < by.size(); ++w) sums[w] += least_errors[w];
      for (std::size_t i = 0; i < 32; ++i) {
        const double x = block.values[i] / scale - offset;
        weight[code(x) / 16] += block.importance[i] * scale * scale;
        first[code(x) / 16] += block.importance[i] * scale * scale * x;
      }
    }
    errors_ = sums;
    for (const unsigned width : by) {
      for (int prefix = 0; width <= 4 && prefix < 1 << width; ++prefix) {
        double whole = 0, mean = 0;
        for (int i = prefix * (16 >> width); i < (prefix + 1) * (16 >> width); ++i) {
          whole += weight[i];
          mean += first[i];
        }
        if (whole > 0) tables_[width][prefix] = std::round(mean / whole);
      }
    }
  }

  NestedSource source_;
  double tables_[5][16] = {};
  std::vector<double> errors_;  // of the round before
  std::vector<SourceBlock::Candidate> choices_;
};

inline void add_importance(std::span<const float> importance, std::size_t columns,
                           NestedSource& source) {
  for (std::size_t b = 0; b < source.blocks.size(); ++b) {
    for (std::size_t i = 0; i < 32; ++i) {
      source.blocks[b].importance.push_back(importance[(b * 32 + i) % columns]);
    }
  }
}

/// Scales have three bits after the leading one; of each offset seven are tried, from two below the
/// smallest that covers the block.
inline NestedSource float_source(std::span<const float> weights, std::size_t columns,
                                 std::span<const float> importance) {
  NestedSource source{.widths = {2, 3, 4, 6}, .blocks = {}};
  for (std::size_t b = 0; b < weights.size() / 32; ++b) {
    SourceBlock block;
    block.values.assign(weights.begin() + b * 32, weights.begin() + b * 32 + 32);
    const auto [low, high] = std::ranges::minmax(block.values);
    for (int offset = -64; offset <= 56; offset += 8) {
      const double covering = std::max(high / (128 + offset), -low / (128 - offset));
      int eighths = static_cast<int>(std::floor(std::log2(covering))) * 8;
      const auto scale = [](int at) {
        const int exponent = static_cast<int>(std::floor(at / 8.0));
        return std::ldexp((8 + at - 8 * exponent) / 8.0, exponent);
      };
      while (scale(eighths) < covering) ++eighths;
      for (int at = eighths - 2; at <= eighths + 4; ++at) {
        block.candidates.push_back({scale(at), offset});
      }
    }
    source.blocks.push_back(std::move(block));
  }
  add_importance(importance, columns, source);
  return source;
}

/// The codes' own scales, and the offsets at which every code has a place.
inline NestedSource code_source(const NestedForm& form, std::span<const std::int8_t> codes,
                                std::span<const float> scales, std::size_t columns,
                                std::span<const float> importance) {
  const bool small = form.bits == 4;
  const int steps = small ? 16 : 1, unit = small ? 16 : 8;
  NestedSource source{.widths = {2, 3, 4, 6},
                      .six_middle = 1.5,
                      .code_steps = static_cast<double>(steps),
                      .blocks = {}};
  if (small) source.widths = {2, 3};
  for (std::size_t b = 0; b < scales.size(); ++b) {
    SourceBlock block;
    const double scale = static_cast<double>(scales[b]) / steps;
    int low = 127, high = -128;
    for (std::size_t i = b * 32; i < b * 32 + 32; ++i) {
      block.values.push_back(scale * (codes[i] * steps));
      low = std::min<int>(low, codes[i]);
      high = std::max<int>(high, codes[i]);
    }
    for (int offset = -8 * unit; offset <= 7 * unit; offset += unit) {
      if (low * steps - offset >= -128 && high * steps - offset <= 127) {
        block.candidates.push_back({scale, offset});
      }
    }
    source.blocks.push_back(std::move(block));
  }
  add_importance(importance, columns, source);
  return source;
}

}  // namespace sluice::test
