#pragma once
// The experts that a device has in its own memory: a tier above the host's.
//
// A key of the cache is an expert, and its copy is as many of its parts as the host had when it was
// copied: where more are wanted, it is copied anew. States are ExpertCache's:
//
//     Empty    upload()         Loading   from the host's copy into pinned staging memory, from
//                                         there by the device, on a stream of the tier's own
//     Loading  its event        Ready     seen by poll(); whoever gives a stream work before that
//                                         makes it `await` the event
//     Ready    room is wanted   Empty     by the cache's policy, never while it is pinned
//
// The first error of the device closes the tier: from then on it has nothing and takes nothing.
//
// Not thread-safe.

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/device_backend.h"
#include "base/types.h"
#include "cache/expert_cache.h"
#include "experts/device_copy.h"
#include "experts/expert_catalogue.h"

namespace sluice {

struct DeviceTierOptions {
  std::uint64_t bytes = 0;                         // of the device's memory, at most
  std::uint32_t first_layer = 0, end_layer = ~0u;  // whose experts it takes
  std::string policy = "auto";                     // as make_cache_policy knows it
};

struct DeviceTierStatistics {
  std::uint64_t capacity = 0;  // bytes
  std::uint64_t uploads = 0;   // experts copied to the device
  std::uint64_t bytes = 0;     // of these
  std::uint64_t come = 0;      // of these, those that are known to have come,
  double seconds = 0;          // which took the link so long
  std::string closed;          // why; empty: the tier is open
  DeviceTierStatistics& operator+=(const DeviceTierStatistics& more);
};

class DeviceTier {
 public:
  /// Uploads that may be under way at once: the link copies one while the host fills another.
  static constexpr std::size_t kStagings = 3;

  /// Bytes of the largest copy of an expert; 0: no layer's experts have one.
  static std::size_t widest_copy(const ExpertCatalogue& catalogue);
  /// Of the host's memory.
  static std::size_t host_bytes(const ExpertCatalogue& catalogue) {
    return kStagings * widest_copy(catalogue);
  }

  /// Takes less than options.bytes where the device does not give so much. kBudget: not one expert
  /// fits, and how much would do. The device and the catalogue outlive the tier.
  static Result<std::unique_ptr<DeviceTier>> create(DeviceBackend& device,
                                                    const ExpertCatalogue& catalogue,
                                                    const DeviceTierOptions& options);
  ~DeviceTier();

  bool open() const { return statistics_.closed.empty(); }
  /// It failed, here or where it computes.
  void close(const Status& why);
  /// A layer's turn begins, and its router wants these; scores as ExpertCache has them.
  void visit(std::uint32_t layer, std::span<const std::uint32_t> experts,
             std::span<const float> scores);
  /// Whether there can be copies of this layer's experts: the device multiplies them.
  bool takes(std::uint32_t layer) const;
  std::uint64_t copy_bytes(ExpertId id, unsigned bits) const;
  /// As its policy knows the experts. REQUIRES: the catalogue has it.
  CacheKey key_of(ExpertId id) const;
  const CacheShape& shape() const { return cache_.shape(); }
  /// As ExpertCache::displaced_by. REQUIRES: it is not there.
  std::optional<CacheKey> displaced_by(ExpertId id, unsigned bits);
  /// There or on its way, however wide.
  bool has(ExpertId id) const;
  /// On its way, as far as is known.
  bool comes(ExpertId id) const { return cache_.state(key_of(id)) == CopyState::kLoading; }

  /// If it is there or on its way, and as wide as that: it stays until `unpin`.
  bool pin(ExpertId id, unsigned bits);
  void unpin(ExpertId id);
  /// Where it lies on the device, at most so many bits of it. REQUIRES: pinned.
  ExpertWeights weights(ExpertId id, unsigned bits) const;
  /// What `stream` is given from now on happens once the expert is there. REQUIRES: pinned.
  Status await(StreamIndex stream, ExpertId id);

  /// What an upload may take room from: whatever is not pinned, what the policy would rather give
  /// up than the expert, or nothing; or one of the places that experts only pass through, if there
  /// are any: from there it is pinned until `passed`, and then gone.
  enum class Room : std::uint8_t { kAny, kWorth, kFree, kPassing };
  /// Whether an upload would begin without waiting for an earlier one.
  Result<bool> staging_free();
  /// Begins to copy so many bits of the expert, of which the host has `weights`, and needs them
  /// only during the call. Waits for an earlier upload where all staging memory is taken. False:
  /// there is no room. REQUIRES: it is not there so wide; takes(id.layer).
  Result<bool> upload(ExpertId id, unsigned bits, const ExpertWeights& weights, Room room,
                      Compute& compute);
  /// Whether there are such places: as many experts as may be can be computed one after the other,
  /// each copied while those before it are.
  bool has_passage() const { return passage_ > 0; }
  /// Nothing reads the expert any more once the event has happened. REQUIRES: it was uploaded to
  /// pass.
  void passed(ExpertId id, DeviceEvent event);
  bool uploads_under_way() const { return under_way_ > 0; }
  /// How many experts of the widest kind there is room for beside what is pinned.
  std::size_t room() const;

  /// Looks which uploads have come.
  Status poll();
  const DeviceTierStatistics& statistics() const { return statistics_; }

 private:
  /// Places in the passage: while the device computes with one, the link fills another.
  static constexpr std::size_t kPassage = 3;
  // Of memory that does not hold all experts anyway, but so many.
  static constexpr std::size_t kLeastWithPassage = 16;

  struct Upload {
    ExpertId id;
    bool passing = false;
    DeviceEvent begun, come;
  };
  struct Passing {
    ExpertId id;
    std::size_t parts = 0;
    bool taken = false;
    std::optional<DeviceEvent> left;  // of the last that was there
  };

  DeviceTier(DeviceBackend& device, const ExpertCatalogue& catalogue, std::size_t widest,
             std::vector<bool> taken, std::size_t passage, DeviceBuffer memory,
             std::array<DeviceBuffer, kStagings> stagings, StreamIndex stream,
             std::unique_ptr<CachePolicy> policy, CacheShape shape);
  const ExpertLayer& layer_of(ExpertId id) const { return *catalogue_.find(id.layer); }
  std::uint8_t& parts(CacheKey key) { return parts_[cache_.shape().index(key)]; }
  std::size_t wanted_parts(ExpertId id, unsigned bits) const {
    return parts_at(layer_of(id), id.expert, bits);
  }
  bool covers(ExpertId id, CacheKey key, unsigned bits) const;
  Status come(bool wait);
  const Passing* passing(ExpertId id) const;
  std::byte* passing_place(std::size_t index) const {
    return memory_.data() + cache_.capacity() + index * widest_;
  }
  Result<std::byte*> enter_passage(ExpertId id, std::size_t parts);
  std::byte* reserve(ExpertId id, std::size_t parts, std::size_t bytes, Room room);
  Status begin_upload(Upload& upload, std::byte* to, const std::byte* from, std::size_t bytes);
  Status note(Status status);

  DeviceBackend& device_;
  const ExpertCatalogue& catalogue_;
  const std::size_t widest_;
  const std::vector<bool> taken_;  // [the catalogue's layers]
  const std::size_t passage_;      // places
  DeviceBuffer memory_;            // the cache's, then the passage
  std::array<Passing, kPassage> passing_;
  std::size_t next_passing_ = 0;
  std::array<DeviceBuffer, kStagings> stagings_;
  const StreamIndex stream_;
  ExpertCache cache_;
  std::vector<std::uint8_t> parts_;        // [keys]: of those that are not Empty
  std::vector<std::uint64_t> places_;      // [keys]: in memory_, likewise
  std::array<Upload, kStagings> uploads_;  // a ring, as the stagings are
  std::size_t first_ = 0, under_way_ = 0;
  std::vector<CacheKey> keys_;  // of a visit
  DeviceTierStatistics statistics_;
};

}  // namespace sluice
