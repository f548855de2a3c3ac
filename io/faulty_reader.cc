#include "io/faulty_reader.h"

#include <algorithm>
#include <array>
#include <utility>

namespace sluice {
namespace {

constexpr std::byte kRubbish{0xa5};
constexpr std::byte kAllBits{0xff};

}  // namespace

void FaultyReader::add_fault(const ReadFault& fault) {
  const std::lock_guard lock(mutex_);
  faults_.push_back(fault);
}

void FaultyReader::clear_faults() {
  const std::lock_guard lock(mutex_);
  faults_.clear();
}

FaultCounters FaultyReader::fault_counters() const {
  const std::lock_guard lock(mutex_);
  return counters_;
}

Result<FileIndex> FaultyReader::open(const std::string& path) {
  SLUICE_ASSIGN(const FileIndex index, inner_->open(path));
  const std::lock_guard lock(mutex_);
  if (paths_.size() <= index) paths_.resize(index + 1);
  paths_[index] = path;
  return index;
}

Status FaultyReader::submit(std::span<const ReadRequest> requests) {
  std::vector<ReadRequest> renamed(requests.begin(), requests.end());
  {
    // The flights must be known before the inner reader can complete them.
    const std::lock_guard lock(mutex_);
    for (ReadRequest& request : renamed) {
      Flight flight;
      flight.request = request;
      flight.number = ++counters_.submitted;
      for (const ReadFault& fault : faults_) {
        if (flight.number < fault.nth || flight.number - fault.nth >= fault.times) continue;
        flight.faulty = true;
        flight.fault = fault;
        break;
      }
      request.tag = ++last_tag_;
      flights_.emplace(request.tag, flight);
    }
  }
  Status status = inner_->submit(renamed);
  if (!status.ok()) {
    const std::lock_guard lock(mutex_);
    for (const ReadRequest& request : renamed) flights_.erase(request.tag);
    counters_.submitted -= renamed.size();
  }
  return status;
}

void FaultyReader::inflict(const Flight& flight, ReadCompletion* completion) {
  const ReadRequest& request = flight.request;
  const std::span<std::byte> destination(request.destination, request.bytes);
  const std::string what = paths_[request.file] + ": reading " + std::to_string(request.bytes) +
                           " bytes at offset " + std::to_string(request.offset) + ": ";
  const std::string which = " (injected at read " + std::to_string(flight.number) + ")";
  switch (flight.fault.kind) {
    case ReadFault::Kind::kFail:
      std::ranges::fill(destination, kRubbish);
      completion->status = Status(ErrorCode::kIo, what + "Input/output error" + which);
      break;
    case ReadFault::Kind::kShort:
      std::ranges::fill(destination.subspan(request.needed / 2), kRubbish);
      completion->status =
          Status(ErrorCode::kIo, what + "the file ends at offset " +
                                     std::to_string(request.offset + request.needed / 2) + which);
      break;
    case ReadFault::Kind::kCorrupt:
      for (std::size_t i = 0; i < request.needed;
           i += std::max<std::size_t>(request.needed / 8, 1)) {
        destination[i] ^= kAllBits;
      }
      break;
    case ReadFault::Kind::kDelay:
      break;
  }
}

/// Hands out held completions that are due, or all of them. REQUIRES: mutex_.
std::size_t FaultyReader::release(std::span<ReadCompletion> out, bool all) {
  std::size_t count = 0;
  for (auto held = held_.begin(); held != held_.end() && count < out.size();) {
    if (all || counters_.delivered >= held->due) {
      out[count++] = std::move(held->completion);
      ++counters_.delivered;
      held = held_.erase(held);
    } else {
      ++held;
    }
  }
  return count;
}

std::size_t FaultyReader::reap(std::span<ReadCompletion> out, bool wait) {
  if (out.empty()) return 0;
  std::array<ReadCompletion, 16> arrived;
  for (;;) {
    {
      const std::lock_guard lock(mutex_);
      if (const std::size_t count = release(out, false); count > 0) return count;
    }
    const std::size_t room = std::min(out.size(), arrived.size());
    const std::size_t got = inner_->reap(std::span(arrived).first(room), wait);

    const std::lock_guard lock(mutex_);
    std::size_t count = 0;
    for (ReadCompletion& completion : std::span(arrived).first(got)) {
      const auto found = flights_.find(completion.tag);
      const Flight flight = found->second;
      flights_.erase(found);
      completion.tag = flight.request.tag;
      if (flight.faulty) {
        ++counters_.faults;
        inflict(flight, &completion);
        if (flight.fault.kind == ReadFault::Kind::kDelay) {
          held_.push_back({std::move(completion), counters_.delivered + flight.fault.behind});
          continue;
        }
      }
      out[count++] = std::move(completion);
      ++counters_.delivered;
    }
    if (count > 0) return count;
    if (got > 0 && wait) continue;  // only held ones came
    // With nothing else under way, waiting for others to overtake would be waiting for ever.
    return release(out, flights_.empty());
  }
}

ReaderInfo FaultyReader::info() const {
  ReaderInfo info = inner_->info();
  info.why += "; with faults injected";
  return info;
}

}  // namespace sluice
