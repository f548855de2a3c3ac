#include "apps/alternation.h"

namespace sluice::apps {

bool Alternation::foretells(std::uint32_t block) {
  const std::uint32_t place = block % 4;
  if (place == 0) first_ = coin_() % 2 == 0;
  return (place == 0 || place == 3) == first_;
}

void Alternation::add(bool foretold, double seconds, const ExpertStatistics& experts) {
  blocks_.push_back({foretold, seconds, experts});
  phases_[foretold].add(tokens_, seconds, experts);
}

PairedRatio Alternation::ratio() const {
  std::vector<double> ratios;
  for (std::size_t i = 0; i + 1 < blocks_.size(); i += 2) {
    const bool with_first = blocks_[i].foretold;
    const Block& with = blocks_[with_first ? i : i + 1];
    const Block& without = blocks_[with_first ? i + 1 : i];
    ratios.push_back(without.seconds / with.seconds);
  }
  return PairedRatio::of(ratios);
}

nlohmann::json Alternation::json() const {
  const PairedRatio found = ratio();
  nlohmann::json ratio{
      {"pairs", found.pairs}, {"mean", found.mean}, {"low", nullptr}, {"high", nullptr}};
  if (found.interval) {
    ratio["low"] = found.interval->low;
    ratio["high"] = found.interval->high;
  }
  nlohmann::json blocks = nlohmann::json::array();
  for (const Block& block : blocks_) {
    blocks.push_back({{"foretold", block.foretold},
                      {"seconds", block.seconds},
                      {"experts", experts_json(block.experts)}});
  }
  return {{"tokens", tokens_},
          {"with", with().json()},
          {"without", without().json()},
          {"ratio", std::move(ratio)},
          {"blocks", std::move(blocks)}};
}

}  // namespace sluice::apps
