#include "apps/recall_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

namespace sluice::apps {
namespace {

double share(std::uint64_t part, std::uint64_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

/// Of what was missed, how much was the router's first choice, its second …
std::vector<double> missed_by_rank(const Recall& recall, const GateShape& shape) {
  std::vector<std::uint64_t> counts(shape.top_k);
  for (const Recall::Layer& layer : recall.layers) {
    for (std::size_t rank = 0; rank < counts.size(); ++rank) counts[rank] += layer.missed[rank];
  }
  const std::uint64_t all = std::accumulate(counts.begin(), counts.end(), std::uint64_t{0});
  std::vector<double> shares;
  for (const std::uint64_t count : counts) shares.push_back(share(count, all));
  return shares;
}

}  // namespace

nlohmann::json recall_json(const std::vector<Recall>& results, const GateShape& shape) {
  nlohmann::json rows = nlohmann::json::array();
  for (const Recall& recall : results) {
    nlohmann::json layers = nlohmann::json::array();
    nlohmann::json whole = nlohmann::json::array(), deep = nlohmann::json::array();
    for (std::size_t width = 0; width < Recall::kWidths; ++width) {
      whole.push_back(recall.at(width));
      deep.push_back(recall.at(width, 2));
    }
    for (std::size_t i = 0; i < recall.layers.size(); ++i) {
      const Recall::Layer& layer = recall.layers[i];
      if (layer.chosen == 0) continue;
      nlohmann::json shares = nlohmann::json::array();
      for (const std::uint64_t found : layer.found) shares.push_back(share(found, layer.chosen));
      layers.push_back({{"layer", i}, {"recall", shares}});
    }
    rows.push_back({{"predictor", recall.predictor},
                    {"ahead", recall.ahead},
                    {"candidates", recall_widths(shape)},
                    {"recall", whole},
                    {"from_third_layer", deep},
                    {"layers", layers},
                    {"missed_by_rank", missed_by_rank(recall, shape)}});
  }
  return rows;
}

void print_recall(const std::vector<Recall>& results, const GateShape& shape, std::size_t tokens) {
  const auto widths = recall_widths(shape);
  fmt::print("Of the experts chosen for {} tokens, % that were among so many candidates:\n{:<28}",
             tokens, "");
  for (const std::size_t width : widths) fmt::print(" {:>6}", width);
  fmt::print("   the worst layers, with {}\n", widths[1]);
  std::uint32_t ahead = 0;
  for (const Recall& recall : results) {
    if (recall.ahead != ahead) {
      ahead = recall.ahead;
      fmt::print("{} layer{} ahead\n", ahead, ahead == 1 ? "" : "s");
    }
    fmt::print("  {:<26}", recall.predictor);
    for (std::size_t width = 0; width < widths.size(); ++width) {
      fmt::print(" {:6.2f}", 100 * recall.at(width));
    }
    std::vector<std::size_t> order;
    for (std::size_t i = 0; i < recall.layers.size(); ++i) {
      if (recall.layers[i].chosen != 0) order.push_back(i);
    }
    const auto rate = [&](std::size_t i) {
      return share(recall.layers[i].found[1], recall.layers[i].chosen);
    };
    std::sort(order.begin(), order.end(),
              [&](std::size_t a, std::size_t b) { return rate(a) < rate(b); });
    fmt::print("  ");
    for (std::size_t i = 0; i < std::min<std::size_t>(2, order.size()); ++i) {
      fmt::print(" {}: {:.1f}", order[i], 100 * rate(order[i]));
    }
    fmt::print("\n");
  }
  const auto best =
      std::max_element(results.begin(), results.end(), [](const Recall& a, const Recall& b) {
        return a.ahead == b.ahead ? a.at(1) < b.at(1) : a.ahead > b.ahead;
      });
  if (best == results.end()) return;
  fmt::print("What '{}' missed was of the router's rank", best->predictor);
  const std::vector<double> ranks = missed_by_rank(*best, shape);
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
    fmt::print("{} {}: {:.0f} %", rank == 0 ? "" : ",", rank + 1, 100 * ranks[rank]);
  }
  fmt::print("\n");
}

}  // namespace sluice::apps
