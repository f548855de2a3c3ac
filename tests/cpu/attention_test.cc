#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/half.h"
#include "base/tensor_format.h"
#include "kv_cache_fixture.h"
#include "tests/cpu/run_attention.h"

namespace sluice {
namespace {

using test::available_isas;
using test::compute_with;
using test::KvCache;
using test::random_floats;

/// A sequence of `positions` rows with their queries, keys stored and values stored.
struct Sequence {
  Sequence(const AttentionShape& shape_in, std::size_t positions, float spread, unsigned seed)
      : shape(shape_in),
        q(random_floats(positions * shape.heads * shape.head_dim, spread, seed)),
        keys(random_floats(positions * shape.kv_heads * shape.head_dim, spread, seed + 1)),
        values(random_floats(positions * shape.kv_heads * shape.value_dim, 1.0f, seed + 2)),
        sinks(random_floats(shape.heads, 2.0f * spread, seed + 3)),
        cache(shape, positions) {
    const KvView view = cache.view();
    for (std::size_t i = 0; i < positions; ++i) {
      rows.push_back({view, static_cast<std::uint32_t>(i), 0});
    }
    compute_with(Isa::kGeneric, 1)
        ->store_kv(shape, rows, keys.data(), q_kv_stride(shape.head_dim),
                   shape.value_in_key ? nullptr : values.data(), q_kv_stride(shape.value_dim));
  }
  std::size_t q_kv_stride(std::size_t dim) const { return shape.kv_heads * dim; }
  std::size_t q_stride() const { return shape.heads * shape.head_dim; }
  std::size_t out_stride() const { return shape.heads * shape.value_dim; }
  void set_window(std::uint32_t window) {
    for (AttentionRow& row : rows)
      row.first = row.position >= window ? row.position - window + 1 : 0;
  }
  /// Attention of rows [begin, begin + n) in one call.
  void attend(Compute& compute, std::size_t begin, std::size_t n, float* out) const {
    test::run_attention(compute, shape, std::span(rows).subspan(begin, n),
                        q.data() + begin * q_stride(), q_stride(), out + begin * out_stride(),
                        out_stride(), sinks_or_null());
  }
  const float* sinks_or_null() const { return with_sinks ? sinks.data() : nullptr; }
  /// A position's value, or the key that has it.
  const std::byte* value(std::size_t kv_head, std::size_t position) const {
    return shape.value_in_key ? cache.key(kv_head, position) : cache.value(kv_head, position);
  }

  AttentionShape shape;
  std::vector<float> q, keys, values, sinks;
  bool with_sinks = false;
  KvCache cache;
  std::vector<AttentionRow> rows;
};

std::vector<float> decoded(KvType type, const std::byte* vector, std::size_t n) {
  const TensorType as[] = {TensorType::kF32, TensorType::kF16, TensorType::kQ8_0};
  std::vector<float> out(n);
  tensor_format(as[static_cast<std::size_t>(type)]).decode(vector, out.data(), n);
  return out;
}

/// Rule 3, word for word.
float canonical_dot(const std::vector<float>& a, const float* b) {
  float total = 0.0f;
  for (std::size_t segment = 0; segment < a.size(); segment += kSegment) {
    float lanes[kFloatLanes] = {};
    for (std::size_t i = segment; i < std::min(a.size(), segment + kSegment); ++i) {
      lanes[i % kFloatLanes] = std::fma(b[i], a[i], lanes[i % kFloatLanes]);
    }
    total += reduce_lanes(lanes);
  }
  return total;
}

/// Rule 5, word for word, for one row and head.
std::vector<float> canonical_attention(const Sequence& sequence, std::size_t row,
                                       std::size_t head) {
  const AttentionShape& shape = sequence.shape;
  const std::size_t kv_head = head / (shape.heads / shape.kv_heads);
  const float* q = sequence.q.data() + row * sequence.q_stride() + head * shape.head_dim;
  const std::size_t first = sequence.rows[row].first, position = sequence.rows[row].position;
  std::vector<float> scores;
  for (std::size_t i = first; i <= position; ++i) {
    const auto key = decoded(shape.kv_type, sequence.cache.key(kv_head, i), shape.head_dim);
    scores.push_back(shape.scale * canonical_dot(key, q));
  }
  float peak = *std::max_element(scores.begin(), scores.end());
  if (sequence.with_sinks) peak = std::max(peak, sequence.sinks[head]);
  float total_sum = sequence.with_sinks ? canonical_exp(sequence.sinks[head] - peak) : 0.0f;
  std::vector<float> total(shape.value_dim, 0.0f);
  for (std::size_t i = first; i <= position;) {
    float sum = 0.0f;
    std::vector<float> out(shape.value_dim, 0.0f);
    const std::size_t end = std::min(position + 1, (i / kKvBlock + 1) * kKvBlock);
    for (; i < end; ++i) {
      const float p = canonical_exp(scores[i - first] - peak);
      const auto value = decoded(shape.kv_type, sequence.value(kv_head, i), shape.value_dim);
      sum += p;
      for (std::size_t d = 0; d < shape.value_dim; ++d) out[d] = std::fma(p, value[d], out[d]);
    }
    total_sum += sum;
    for (std::size_t d = 0; d < shape.value_dim; ++d) total[d] += out[d];
  }
  for (float& x : total) x /= total_sum;
  return total;
}

/// Compares one row and head with double precision. With u = 2^-24, every weight is off by at most
/// a relative
///     delta = u * ((head_dim / 16 + 8) * scale * sum |q k| + |score - peak| + 4)
/// (the dot's chain, its reduction and the scale; the subtraction; two units of exp), and the two
/// sums by their chains of kKvBlock and of the number of segments. Since the weights are
/// normalised, their error counts twice.
void expect_near_double(const Sequence& sequence, std::size_t row, std::size_t head,
                        const float* out) {
  const AttentionShape& shape = sequence.shape;
  const std::size_t kv_head = head / (shape.heads / shape.kv_heads);
  const float* q = sequence.q.data() + row * sequence.q_stride() + head * shape.head_dim;
  const std::size_t first = sequence.rows[row].first, position = sequence.rows[row].position;
  std::vector<double> scores;
  double magnitude = 0.0;
  for (std::size_t i = first; i <= position; ++i) {
    const auto key = decoded(shape.kv_type, sequence.cache.key(kv_head, i), shape.head_dim);
    double dot = 0.0, absolute = 0.0;
    for (std::size_t d = 0; d < shape.head_dim; ++d) {
      const double product = double{q[d]} * double{key[d]};
      dot += product;
      absolute += std::fabs(product);
    }
    scores.push_back(double{shape.scale} * dot);
    magnitude = std::max(magnitude, double{shape.scale} * absolute);
  }
  double peak = *std::max_element(scores.begin(), scores.end());
  double lowest = *std::min_element(scores.begin(), scores.end());
  double sum = 0.0;
  if (sequence.with_sinks) {
    peak = std::max(peak, double{sequence.sinks[head]});
    lowest = std::min(lowest, double{sequence.sinks[head]});
    sum = std::exp(double{sequence.sinks[head]} - peak);
  }
  std::vector<double> expected(shape.value_dim, 0.0), absolute(shape.value_dim, 0.0);
  for (std::size_t i = first; i <= position; ++i) {
    const double p = std::exp(scores[i - first] - peak);
    const auto value = decoded(shape.kv_type, sequence.value(kv_head, i), shape.value_dim);
    sum += p;
    for (std::size_t d = 0; d < shape.value_dim; ++d) {
      expected[d] += p * double{value[d]};
      absolute[d] += p * std::fabs(double{value[d]});
    }
  }
  const double segments = static_cast<double>(position / kKvBlock - first / kKvBlock + 1);
  const double steps = static_cast<double>(shape.head_dim) / 16.0 + 8.0;
  const double depth = std::min(peak - lowest, 90.0);  // weights below e^-87 are zero
  const double delta = steps * magnitude + depth + 4.0;
  const double bound =
      0x1p-24 * (2.0 * delta + 2.0 * (static_cast<double>(kKvBlock) + segments) + 2.0);
  for (std::size_t d = 0; d < shape.value_dim; ++d) {
    ASSERT_NEAR(out[d], expected[d] / sum, 1.01 * bound * absolute[d] / sum + 1e-30)
        << "row " << row << " head " << head << " element " << d;
  }
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

struct Case {
  const char* name;
  std::size_t heads, kv_heads, head_dim, value_dim;
  KvType kv_type;
  std::size_t positions;
  std::uint32_t window;  // 0: everything
  float spread;
  bool sinks = false;
  bool value_in_key = false;
};

AttentionShape shape_of(const Case& c) {
  return {c.heads,       c.kv_heads, c.head_dim,
          c.value_dim,   c.kv_type,  1.0f / std::sqrt(static_cast<float>(c.head_dim)),
          c.value_in_key};
}

class AttentionCases : public testing::TestWithParam<Case> {};

TEST_P(AttentionCases, EveryInstructionSetFollowsTheCanonicalOrder) {
  const Case& c = GetParam();
  Sequence sequence(shape_of(c), c.positions, c.spread, 7);
  if (c.window != 0) sequence.set_window(c.window);
  sequence.with_sinks = c.sinks;
  const std::size_t rows = c.positions;
  std::vector<float> expected(rows * sequence.out_stride());
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t head = 0; head < c.heads; ++head) {
      const auto out = canonical_attention(sequence, row, head);
      std::copy(
          out.begin(), out.end(),
          expected.begin() + static_cast<std::ptrdiff_t>((row * c.heads + head) * c.value_dim));
      if (row % 13 == 0 || row + 1 == rows) {
        expect_near_double(sequence, row, head, &expected[(row * c.heads + head) * c.value_dim]);
      }
    }
  }
  for (const Isa isa : available_isas()) {
    for (const unsigned threads : {1u, 2u, 3u, 4u}) {
      const auto compute = compute_with(isa, threads);
      for (const std::size_t chunk : {rows, std::size_t{1}, std::size_t{29}}) {
        std::vector<float> out(expected.size(), NAN);
        for (std::size_t begin = 0; begin < rows; begin += chunk) {
          sequence.attend(*compute, begin, std::min(chunk, rows - begin), out.data());
        }
        EXPECT_TRUE(same_bits(out, expected)) << compute->name() << ", chunks of " << chunk;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, AttentionCases,
    testing::Values(Case{"grouped_f16", 8, 2, 64, 64, KvType::kF16, 150, 0, 1.0f},
                    Case{"grouped_q8", 8, 2, 64, 96, KvType::kQ8_0, 150, 0, 1.0f},
                    Case{"grouped_f32", 8, 2, 64, 64, KvType::kF32, 150, 0, 1.0f},
                    Case{"ragged_dims_f16", 6, 2, 40, 24, KvType::kF16, 140, 0, 1.0f},
                    Case{"ragged_dims_f32", 5, 1, 7, 83, KvType::kF32, 140, 0, 1.0f},
                    Case{"one_query_a_head", 3, 3, 32, 80, KvType::kF16, 140, 0, 1.0f},
                    Case{"long_heads", 4, 1, 576, 512, KvType::kF16, 70, 0, 1.0f},
                    Case{"window_f16", 8, 2, 64, 64, KvType::kF16, 260, 100, 1.0f},
                    Case{"small_window_q8", 2, 2, 32, 32, KvType::kQ8_0, 260, 5, 1.0f},
                    Case{"large_scores", 4, 2, 64, 64, KvType::kF32, 150, 0, 30.0f},
                    Case{"sinks", 8, 2, 64, 64, KvType::kF16, 150, 0, 1.0f, true},
                    Case{"sinks_window", 6, 2, 64, 48, KvType::kF32, 150, 9, 3.0f, true},
                    Case{"large_sinks", 4, 2, 64, 64, KvType::kF32, 70, 0, 30.0f, true},
                    Case{"latent_f16", 16, 1, 576, 512, KvType::kF16, 66, 0, 1.0f, false, true},
                    Case{"latent_q8", 6, 1, 96, 64, KvType::kQ8_0, 140, 0, 1.0f, true, true},
                    Case{"latent_heads", 2, 2, 40, 23, KvType::kF32, 140, 0, 1.0f, false, true},
                    Case{"many_heads", 130, 1, 48, 32, KvType::kF16, 70, 0, 1.0f, true, true}),
    [](const auto& param_info) { return std::string(param_info.param.name); });

TEST(Attention, LongContext) {
  constexpr std::size_t kPositions = 3000;
  const AttentionShape shape{8, 1, 128, 128, KvType::kF16, 0.0884f};
  const Sequence sequence(shape, kPositions, 1.0f, 11);
  std::vector<float> reference;
  for (const Isa isa : available_isas()) {
    for (const unsigned threads : {1u, 2u}) {
      const auto compute = compute_with(isa, threads);
      std::vector<float> out(kPositions * sequence.out_stride());
      sequence.attend(*compute, kPositions - 3, 3, out.data());
      if (reference.empty()) {
        reference = out;
        for (std::size_t head = 0; head < shape.heads; ++head) {
          const std::size_t row = kPositions - 1;
          expect_near_double(sequence, row, head,
                             &out[(row * shape.heads + head) * shape.value_dim]);
        }
      }
      EXPECT_TRUE(same_bits(out, reference)) << compute->name();
    }
  }
}

TEST(Attention, RowsDoNotDependOnTheBatch) {
  const AttentionShape shape{8, 2, 64, 64, KvType::kF16, 0.125f};
  const Sequence a(shape, 200, 1.0f, 1), b(shape, 90, 1.0f, 2), c(shape, 333, 1.0f, 3);
  const auto alone = compute_with(Isa::kGeneric, 1);
  struct Place {
    const Sequence* sequence;
    std::size_t row;
  };
  // Neighbours of one sequence in order and out of it, twice the same row, and sequences mixed.
  std::vector<Place> places;
  for (const std::size_t row : {198u, 199u, 5u, 4u, 6u, 6u, 7u}) places.push_back({&a, row});
  for (const std::size_t row : {0u, 1u, 2u, 63u, 64u, 65u}) places.push_back({&b, row});
  places.push_back({&c, 332});
  places.push_back({&a, 8});
  places.push_back({&c, 331});

  std::vector<AttentionRow> rows;
  std::vector<float> q, expected(places.size() * a.out_stride());
  for (std::size_t i = 0; i < places.size(); ++i) {
    const auto& [sequence, row] = places[i];
    rows.push_back(sequence->rows[row]);
    const float* from = sequence->q.data() + row * a.q_stride();
    q.insert(q.end(), from, from + a.q_stride());
    test::run_attention(*alone, shape, std::span(&sequence->rows[row], 1), from, a.q_stride(),
                        &expected[i * a.out_stride()], a.out_stride());
  }
  for (const Isa isa : available_isas()) {
    for (const unsigned threads : {1u, 2u, 4u}) {
      const auto compute = compute_with(isa, threads);
      std::vector<float> out(expected.size());
      test::run_attention(*compute, shape, rows, q.data(), a.q_stride(), out.data(),
                          a.out_stride());
      EXPECT_TRUE(same_bits(out, expected)) << compute->name();
    }
  }
}

// A hidden neighbour's infinity must not reach a row that does not see it, though both share a run.
TEST(Attention, HiddenPositionsDoNotLeak) {
  const AttentionShape shape{2, 2, 32, 32, KvType::kF16, 0.2f};
  Sequence sequence(shape, 12, 1.0f, 5);
  sequence.set_window(4);
  std::vector<float> keys(64, 1.0f), values(64, HUGE_VALF);
  for (const Isa isa : available_isas()) {
    const auto compute = compute_with(isa, 1);
    compute->store_kv(shape, std::span(&sequence.rows[6], 1), keys.data(), 64, values.data(), 64);
    std::vector<float> out(12 * sequence.out_stride());
    sequence.attend(*compute, 0, 12, out.data());
    for (std::size_t row = 0; row < 12; ++row) {
      EXPECT_EQ(std::isfinite(out[row * sequence.out_stride()]), row < 6 || row > 9) << row;
    }
  }
}

TEST(Attention, NoRows) {
  const AttentionShape shape{2, 1, 32, 32, KvType::kF16, 0.2f};
  const auto compute = compute_with(Isa::kGeneric, 2);
  test::run_attention(*compute, shape, {}, nullptr, 0, nullptr, 0);
  compute->store_kv(shape, {}, nullptr, 0, nullptr, 0);
}

}  // namespace
}  // namespace sluice
