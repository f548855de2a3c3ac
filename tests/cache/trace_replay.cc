#include "tests/cache/trace_replay.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>
#include <tuple>
#include <utility>

namespace sluice::test {

RoutingTrace read_packed_trace(const std::filesystem::path& path, std::uint32_t layers,
                               std::uint32_t experts, std::uint32_t top_k, std::size_t tokens) {
  RoutingTrace trace{std::vector<std::uint32_t>(layers, experts),
                     std::vector<std::uint64_t>(layers, std::uint64_t{1} << 20),
                     {}};
  std::ifstream file(path, std::ios::binary);
  std::vector<char> token(std::size_t{layers} * top_k);
  while (tokens-- > 0 && file.read(token.data(), std::ssize(token))) {
    for (std::uint32_t layer = 0; layer < layers; ++layer) {
      RoutingEvent& event = trace.events.emplace_back();
      event.layer = layer;
      for (std::uint32_t rank = 0; rank < top_k; ++rank) {
        event.experts.push_back(static_cast<std::uint8_t>(token[layer * top_k + rank]));
      }
    }
  }
  return trace;
}

RoutingTrace read_route_trace(const std::filesystem::path& path) {
  RoutingTrace trace;
  FILE* pipe = popen(("gzip -dc '" + path.string() + "'").c_str(), "r");
  if (pipe == nullptr) return trace;
  std::tuple<unsigned, unsigned, unsigned, unsigned> last{~0u, 0, 0, 0};
  char line[512];
  while (std::fgets(line, sizeof line, pipe) != nullptr) {
    unsigned layer = 0, experts = 0;
    unsigned long long bytes = 0;
    if (const char* at = std::strstr(line, "n_expert="); at != nullptr) {
      std::sscanf(at, "n_expert=%u", &experts);
      trace.experts.assign(1, experts);
    }
    if (std::sscanf(line, "# layer=%u expert_bytes=%llu", &layer, &bytes) == 2) {
      trace.expert_bytes.push_back(bytes);
    }
    unsigned turn = 0, phase = 0, step = 0, slot = 0, expert = 0;
    if (std::sscanf(line, "%u,%u,%u,%u,%u,%u", &turn, &phase, &step, &layer, &slot, &expert) != 6) {
      continue;
    }
    // All rows of a layer in prefill are one event, whatever their step.
    const std::tuple event{turn, phase, phase == 0 ? 0 : step, layer};
    if (event != last) trace.events.push_back({layer, phase == 1, {}});
    last = event;
    auto& wanted = trace.events.back().experts;
    if (std::find(wanted.begin(), wanted.end(), expert) == wanted.end()) {
      wanted.push_back(static_cast<std::uint16_t>(expert));
    }
  }
  pclose(pipe);
  if (!trace.experts.empty()) trace.experts.resize(trace.expert_bytes.size(), trace.experts[0]);
  return trace;
}

Belady::Belady(const CacheShape& shape, const RoutingTrace& trace)
    : shape_(shape), uses_(shape.size()) {
  for (auto event = static_cast<std::uint32_t>(trace.events.size()); event-- > 0;) {
    for (const std::uint16_t expert : trace.events[event].experts) {
      uses_[shape_.index({trace.events[event].layer, expert, 0})].push_back(event);
    }
  }
}

void Belady::visit(std::uint32_t) { now_ += 1; }
void Belady::touch(CacheKey key, float) { uses_[shape_.index(key)].pop_back(); }
void Belady::admit(CacheKey key, std::uint64_t) { resident_.push_back(shape_.index(key)); }

void Belady::forget(CacheKey key) {
  const auto at = std::find(resident_.begin(), resident_.end(), shape_.index(key));
  *at = resident_.back();
  resident_.pop_back();
}

std::optional<CacheKey> Belady::victim(const Evictable& evictable) {
  std::optional<CacheKey> farthest;
  std::uint32_t when = 0;
  for (const std::uint32_t index : resident_) {
    const std::uint32_t next = uses_[index].empty() ? ~0u : uses_[index].back();
    if (next >= when && evictable(shape_.key(index))) {
      when = next;
      farthest = shape_.key(index);
    }
  }
  return farthest;
}

double Belady::distance(CacheKey key) const {
  const auto& uses = uses_[shape_.index(key)];
  return uses.empty() ? 1e9 : static_cast<double>(uses.back()) + 1 - now_;
}

ReplayResult replay(const RoutingTrace& trace, std::uint64_t capacity_bytes,
                    std::unique_ptr<CachePolicy> policy) {
  ExpertCache cache(CacheShape(trace.experts), capacity_bytes, std::move(policy));
  ReplayResult result;
  std::vector<CacheKey> wanted, pinned;
  for (const RoutingEvent& event : trace.events) {
    wanted.clear();
    pinned.clear();
    for (const std::uint16_t expert : event.experts) wanted.push_back({event.layer, expert, 0});
    cache.visit(event.layer, wanted);
    for (const CacheKey key : wanted) {
      if (cache.pin(key).state == CopyState::kReady) pinned.push_back(key);
    }
    result.requests += wanted.size();
    result.hits += pinned.size();
    if (event.decode) {
      result.decode_requests += wanted.size();
      result.decode_hits += pinned.size();
    }
    for (const CacheKey key : wanted) {
      if (cache.state(key) != CopyState::kEmpty) continue;
      if (!cache.reserve(key, trace.expert_bytes[event.layer])) {
        // The store would compute what it holds and then go on.
        for (const CacheKey held : pinned) cache.unpin(held);
        pinned.clear();
        if (!cache.reserve(key, trace.expert_bytes[event.layer])) continue;
      }
      cache.loaded(key);
      pinned.push_back(key);
    }
    for (const CacheKey key : pinned) cache.unpin(key);
  }
  return result;
}

}  // namespace sluice::test
