#include "base/row_runs.h"

#include <algorithm>
#include <bit>

#include "base/canonical.h"

namespace sluice {

RowRun row_run(std::span<const AttentionRow> rows, std::size_t first) {
  const KvView& kv = rows[first].kv;
  std::size_t end = first + 1;
  for (; end < rows.size(); ++end) {
    const AttentionRow& row = rows[end];
    const bool follows = row.kv.blocks == kv.blocks && row.kv.keys == kv.keys &&
                         row.position == rows[end - 1].position + 1 &&
                         row.first >= rows[end - 1].first;
    if (!follows) break;
  }
  return {first, end - first};
}

std::size_t blocks_seen(const AttentionRow& first, const AttentionRow& last) {
  return last.position / kKvBlock - first.first / kKvBlock + 1;
}

std::size_t blocks_made_for(std::size_t seen) {
  return std::bit_ceil(std::max<std::size_t>(seen, 2) - 1) + 1;
}

}  // namespace sluice
