#pragma once
// The engine's window on experts that live on disk: say which ones a layer needs, take each as it
// becomes ready, give it back.
//
// The story of one visit (a layer of one forward pass):
//
//     store.begin(layer, experts, scores)  pins hits, submits all misses that find room in one
//     submission
//     store.expect(next layer, likely)     reads these while the disk has nothing else to do
//     while (!(ready = store.ready()).empty())   first call: the hits, without waiting; later:
//     whatever has arrived (waits for one)
//         store.prepare(ready, compute)    into an order that the device multiplies, fast
//         compute with store.weights(i) for i in ready
//         store.release(ready)             makes room; misses that found none are submitted now
//     store.end()                          drops what is left (after an error: waits for its reads)
//
// and after the last layer of a pass `settle`.
//
// Misses that find no room because of pins wait for `release`; the groups handed out are then kept
// small, so that reads are under way while the rest is computed. One free slot is enough for
// progress, provided that what `ready` gave is released before `ready` is called again.
//
// Not thread-safe: one visit at a time, on the thread that computes. The store reaps whatever the
// reader has to deliver: nobody else may have reads under way in that reader between `begin` and
// `settle`.

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/compute.h"
#include "base/status.h"
#include "base/types.h"
#include "experts/expert_catalogue.h"
#include "experts/hot_set.h"
#include "experts/likely_expert.h"
#include "io/block_reader.h"

namespace sluice {

/// The three matrices of one expert, in a cache slot.
struct ExpertWeights {
  WeightMatrix gate;  // [ffn, hidden]
  WeightMatrix up;    // [ffn, hidden]
  WeightMatrix down;  // [hidden, ffn]
};

/// Of a layer, or of several: they add up.
struct ExpertStatistics {
  std::uint64_t requests = 0;  // experts asked for, an expert wanted twice in one visit counts once
  std::uint64_t hits = 0;      // found in memory, as wide as they were asked for
  std::uint64_t loads = 0;     // read from disk: experts, or parts of experts
  std::uint64_t expected = 0;  // loads begun before a router asked: of these …
  std::uint64_t expected_rightly = 0;  // … asked for at the layer's next turn,
  std::uint64_t late = 0;              // … among them those that were still being read then,
  std::uint64_t wasted = 0;            // … and not asked for. The rest's turn is still to come.
  std::uint64_t warmed = 0;            // loads of what an earlier run had in memory
  std::uint64_t bytes_read = 0;        // from disk, sector padding included
  std::uint64_t wait_nanoseconds = 0;  // the computing thread waited for the disk, in the layer's
                                       // visit or before the next one's

  ExpertStatistics& operator+=(const ExpertStatistics& other);
  /// What happened since.
  ExpertStatistics operator-(const ExpertStatistics& before) const;
};

struct ExpertStoreOptions {
  std::size_t capacity_bytes = 0;  // memory for the cache, all of it
  std::string policy = "auto";     // as make_cache_policy knows it
  std::vector<FileIndex> files;  // the reader's index of each of the catalogue's files; empty: the
                                 // store opens those that it needs
  bool sparse_hidden = false;    // many of down's activations are zero: ReLU's
  bool judge_guesses = true;     // of Reach::kGap only what pays is read; else what is very likely
  Clock clock = steady_seconds;  // by which reads and idle times are measured
  // Whether another tier has it: then it is not read ahead, only where a visit asks for it.
  std::function<bool(ExpertId)> elsewhere = [](ExpertId) { return false; };
};

/// How far a guess is followed.
enum class Reach : std::uint8_t {
  /// As far as it pays, by what was observed of guesses and of the disk: where the disk is what is
  /// waited for, every wrong one delays the right ones. (Unjudged: what is very likely, so many at
  /// a time as keep the disk busy.)
  kGap,
  /// All, whenever the visit's misses leave the disk something to do: for many rows, of which
  /// nearly every expert will be wanted by one.
  kAll,
};

class ExpertStore {
 public:
  /// The least capacity to start with: the widest layer's `top_k` experts twice over (slack
  /// included) keep a decode step's reads in one submission. Experts are computed in waves of what
  /// fits, so that `create` takes less, down to one slot. The two capacities hold for whatever
  /// alignment the reader will ask for: they can be had before a file is open.
  static std::size_t minimum_capacity(const ExpertCatalogue& catalogue, const BlockReader& reader,
                                      std::size_t top_k);
  /// What holds every expert.
  static std::size_t full_capacity(const ExpertCatalogue& catalogue, const BlockReader& reader);

  /// Allocates the cache and registers it with the reader. The catalogue and the reader outlive the
  /// store. kBudget: not even one expert fits, and how much would do; kInvalidArgument: no such
  /// policy.
  static Result<std::unique_ptr<ExpertStore>> create(const ExpertCatalogue& catalogue,
                                                     BlockReader& reader,
                                                     const ExpertStoreOptions& options);
  virtual ~ExpertStore() = default;

  /// REQUIRES: no visit is open; experts are distinct. An index below is an index into `experts`
  /// (which is copied). `scores` `[experts]`: of each, the shares of the visit's rows' weights that
  /// it has, summed; none where unknown: they tell the cache what is worth keeping. `bits`
  /// `[experts]`: how wide each is needed where experts are read in parts; none: all of each. After
  /// an error no visit is open.
  virtual Status begin(std::uint32_t layer, std::span<const std::uint32_t> experts,
                       std::span<const float> scores = {},
                       std::span<const std::uint8_t> bits = {}) = 0;
  /// Whether it is worth asking what a coming layer will want: of the last hundred visits or so,
  /// one in ten or more wanted what had to be read; of Reach::kGap also that between visits the
  /// disk is idle for long enough to read something, and that what was read gained more than asking
  /// took; else a visit now and then should ask. Of the open visit, if there is one.
  virtual bool guesses_help(Reach reach) const = 0;
  /// The visit has asked of Reach::kGap, which took so long, `expect` included.
  virtual void asked(double seconds) = 0;
  /// `likely` `[count]`, best first: experts that a coming layer will probably want, in the place
  /// of what was said of it before. Those that are not in memory are read as `reach` says, until
  /// the layer's visit begins. Ids that the layer does not have are passed over.
  virtual void expect(std::uint32_t layer, std::span<const LikelyExpert> likely, Reach reach) = 0;
  /// Indices that became ready since the last call; empty when all were handed out. Valid until the
  /// next call. A failed read is an error that names the expert, the file and the offset; the visit
  /// must then be ended.
  virtual Result<std::span<const std::uint32_t>> ready() = 0;
  /// Readies handed-out experts for the device, while misses are being read. Those just read whose
  /// bytes no kernel multiplies are relaid; hits that lie as in the file still are brought into the
  /// order that the device multiplies fastest: an expert that comes back is worth it, one that was
  /// just read may never be wanted again.
  /// Before anything is done to it, what was read is checked, where the file keeps checksums: an
  /// expert that does not fit its own is kCorrupt, and its copy is given up, so that it is read
  /// again when it is wanted again; the visit must then be ended.
  virtual Status prepare(std::span<const std::uint32_t> indices, Compute& compute) = 0;
  /// At most so many bits of it; kExactWidth: all that `begin` asked for. REQUIRES: prepared.
  virtual ExpertWeights weights(std::uint32_t index, unsigned bits = kExactWidth) const = 0;
  virtual Status release(std::span<const std::uint32_t> indices) = 0;
  virtual void end() = 0;
  /// Waits for what was expected and is still being read: a pass that is over leaves nothing under
  /// way. REQUIRES: no visit is open.
  virtual void settle() = 0;

  /// The sum over the layers.
  ExpertStatistics statistics() const;
  /// [the catalogue's layers]
  virtual std::span<const ExpertStatistics> layer_statistics() const = 0;
  virtual bool resident(ExpertId id) const = 0;

  /// What an earlier run had in memory is read again, until the cache is full, wherever neither a
  /// visit nor what is expected leaves the disk something to do. REQUIRES: of this model; no visit
  /// yet.
  virtual void warm(const HotSet& earlier) = 0;
  /// Reads some of it and waits, for when there is nothing to compute. False: none is left.
  /// REQUIRES: no visit is open.
  virtual bool warm_up() = 0;
  /// For the next run: what is in memory, and what is left of the earlier run's.
  virtual HotSet hot_set() const = 0;
  /// What a copy takes of the cache before it is rounded to its granularity. REQUIRES: there is
  /// such an expert.
  virtual std::size_t slot_bytes(ExpertId id) const = 0;
};

}  // namespace sluice
