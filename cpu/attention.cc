#include "cpu/attention.h"

#include <algorithm>

#include "base/canonical.h"
#include "cpu/cpu_compute.h"

namespace sluice {
namespace {

constexpr std::size_t kAlignment = 64;
// A run's queries and totals fill half of a small second-level cache at head_dim 128; beyond this
// many, sharing a key's conversion gains little.
constexpr std::size_t kMaxQueries = 64;
constexpr std::size_t kMaxScoreBytes = 512 * 1024;
constexpr std::size_t kRowsOfItem = 16;  // rows that are stored by one item

std::size_t divide_up(std::size_t n, std::size_t by) { return (n + by - 1) / by; }
std::size_t round_up(std::size_t n, std::size_t to) { return divide_up(n, to) * to; }

/// How many of a kv head's `group` query heads an item takes, where `pieces` rows × kv heads are to
/// keep `workers` busy. Fewer than all means converting a key more than once, so not without need;
/// whole register tiles of queries where that is so.
std::size_t heads_of_item(std::size_t group, std::size_t pieces, std::size_t workers) {
  constexpr std::size_t kQueryTile = 2;
  const std::size_t parts = std::max(divide_up(workers, pieces), divide_up(group, kMaxQueries));
  return parts == 1 ? group : std::min(group, round_up(divide_up(group, parts), kQueryTile));
}

/// Elements of a row of scores for positions [first, last], counted from the first one's block:
/// whole lanes, of which the last are slack, and one cache line more so that rows do not all fall
/// on the same lines of the cache.
std::size_t score_stride(std::size_t first, std::size_t last) {
  return round_up(last + 1 - first / kKvBlock * kKvBlock, kFloatLanes) + 2 * kFloatLanes;
}

// Hands out consecutive aligned arrays; with no memory it only measures them.
class Carver {
 public:
  explicit Carver(std::byte* memory) : memory_(memory) {}
  float* take(std::size_t count) {
    std::byte* piece = memory_ == nullptr ? nullptr : memory_ + used_;
    used_ += round_up(count * sizeof(float), kAlignment);
    return reinterpret_cast<float*>(piece);
  }
  std::size_t used() const { return used_; }

 private:
  std::byte* memory_;
  std::size_t used_ = 0;
};

AttentionScratch lay_out(Carver& carver, const AttentionShape& shape, std::size_t queries,
                         std::size_t first, std::size_t last) {
  const std::size_t key_lanes = round_up(shape.head_dim, kFloatLanes);
  AttentionScratch scratch;
  scratch.queries = carver.take(queries * key_lanes);
  scratch.keys = carver.take(kKeyTile * key_lanes);
  scratch.values = carver.take(kKvBlock * kValueSlice);
  scratch.totals = carver.take(queries * round_up(shape.value_dim, kFloatLanes));
  scratch.sums = carver.take(queries);
  scratch.score_stride = score_stride(first, last);
  scratch.scores = carver.take(queries * scratch.score_stride);
  return scratch;
}

}  // namespace

std::size_t AttentionScratch::bytes(const AttentionShape& shape, std::size_t queries,
                                    std::size_t first, std::size_t last) {
  Carver carver(nullptr);
  lay_out(carver, shape, queries, first, last);
  return carver.used();
}

AttentionScratch AttentionScratch::carve(std::byte* memory, const AttentionShape& shape,
                                         std::size_t queries, std::size_t first, std::size_t last) {
  Carver carver(memory);
  return lay_out(carver, shape, queries, first, last);
}

AttentionRun attention_run(std::span<const AttentionRow> rows, std::size_t n_heads,
                           std::size_t max_rows) {
  const AttentionRow& front = rows.front();
  const std::size_t limit = std::min({max_rows, rows.size(), kMaxQueries / n_heads});
  std::size_t n = 1;
  for (; n < limit; ++n) {
    const AttentionRow& row = rows[n];
    const bool follows = row.kv.blocks == front.kv.blocks && row.kv.keys == front.kv.keys &&
                         row.position == front.position + n && row.first >= rows[n - 1].first;
    if (!follows) break;
    const std::size_t stride = score_stride(front.first, row.position);
    if ((n + 1) * n_heads * stride * sizeof(float) > kMaxScoreBytes) break;
  }
  return {0, n, n * (rows[n - 1].position + 1 - front.first)};
}

std::size_t CpuCompute::attention_bytes(const AttentionShape& shape, std::size_t positions,
                                        unsigned threads) const {
  // Runs and heads are taken together while they stay under kMaxScoreBytes; a single head of a
  // single row takes what its positions need.
  const std::size_t one = score_stride(0, positions + kKvBlock) * sizeof(float);
  return threads * (AttentionScratch::bytes(shape, kMaxQueries, 0, 0) +
                    round_up(std::max(kMaxScoreBytes, one), kAlignment));
}

void CpuCompute::attention(const AttentionTask& task) {
  const AttentionShape& shape = task.shape;
  const std::size_t pieces = task.rows.size() * shape.kv_heads;
  if (pieces == 0) return;
  const std::size_t group = shape.heads / shape.kv_heads;
  std::size_t longest = 0;
  for (const AttentionRow& row : task.rows) {
    longest = std::max(longest, score_stride(row.first, row.position));
  }
  const std::size_t that_fit = std::max<std::size_t>(1, kMaxScoreBytes / sizeof(float) / longest);
  const std::size_t n_heads = std::min(heads_of_item(group, pieces, workers_.active()), that_fit);
  const std::size_t parts = divide_up(group, n_heads);
  // Runs short enough that every worker gets an item or two.
  const std::size_t max_rows = std::max<std::size_t>(1, pieces * parts / (2 * workers_.active()));
  attention_runs_.clear();
  for (std::size_t begin = 0; begin < task.rows.size();) {
    AttentionRun run = attention_run(task.rows.subspan(begin), n_heads, max_rows);
    run.first_row = begin;
    begin += run.n_rows;
    attention_runs_.push_back(run);
  }
  std::sort(attention_runs_.begin(), attention_runs_.end(),
            [](const AttentionRun& a, const AttentionRun& b) { return a.work > b.work; });
  const std::size_t worker_bytes = task.memory.size() / workers_.active() / kAlignment * kAlignment;

  const std::size_t items_of_run = shape.kv_heads * parts;
  workers_.for_each(attention_runs_.size() * items_of_run, [&](std::size_t index, unsigned worker) {
    const AttentionRun& run = attention_runs_[index / items_of_run];
    const std::size_t first_of_group = index % parts * n_heads;
    AttentionItem item;
    item.shape = shape;
    item.key_bytes = kv_vector_bytes(shape.kv_type, shape.head_dim);
    item.value_bytes = kv_vector_bytes(shape.kv_type, shape.value_dim);
    item.rows = &task.rows[run.first_row];
    item.n_rows = run.n_rows;
    item.kv_head = index % items_of_run / parts;
    item.first_head = item.kv_head * group + first_of_group;
    item.n_heads = std::min(n_heads, group - first_of_group);
    item.sinks = task.sinks;
    item.q = task.q + run.first_row * task.q_stride;
    item.q_stride = task.q_stride;
    item.out = task.out + run.first_row * task.out_stride;
    item.out_stride = task.out_stride;
    item.scratch = AttentionScratch::carve(task.memory.data() + worker * worker_bytes, shape,
                                           run.n_rows * item.n_heads, item.rows[0].first,
                                           item.rows[run.n_rows - 1].position);
    kernels_.attention(item);
  });
}

void CpuCompute::store_kv(const AttentionShape& shape, std::span<const AttentionRow> rows,
                          const float* keys, std::size_t key_stride, const float* values,
                          std::size_t value_stride) {
  const std::size_t key_bytes = kv_vector_bytes(shape.kv_type, shape.head_dim);
  const std::size_t value_bytes = kv_vector_bytes(shape.kv_type, shape.value_dim);
  const std::size_t items = divide_up(rows.size(), kRowsOfItem);
  workers_.for_each(items, [&](std::size_t index, unsigned) {
    const std::size_t end = std::min(rows.size(), (index + 1) * kRowsOfItem);
    for (std::size_t r = index * kRowsOfItem; r < end; ++r) {
      const std::size_t block = rows[r].position / kKvBlock;
      const std::size_t place = rows[r].position % kKvBlock;
      const KvView& kv = rows[r].kv;
      for (std::size_t head = 0; head < shape.kv_heads; ++head) {
        const std::size_t vector = head * kKvBlock + place;
        kernels_.store_kv_vector(shape.kv_type, keys + r * key_stride + head * shape.head_dim,
                                 shape.head_dim, kv.blocks[block] + kv.keys + vector * key_bytes);
        if (shape.value_in_key) continue;
        kernels_.store_kv_vector(shape.kv_type, values + r * value_stride + head * shape.value_dim,
                                 shape.value_dim,
                                 kv.blocks[block] + kv.values + vector * value_bytes);
      }
    }
  });
}

}  // namespace sluice
