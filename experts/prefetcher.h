#pragma once
// Reads experts that coming layers will likely want before their routers have spoken.
//
// A guess costs what an idle disk can give: nobody waits for it, its failure is nobody's, and a
// copy that came in vain was never touched, so the cache gives it up first. A guess that was right
// becomes the visit's: the copy in memory, or the load that is still under way. What has not been
// begun when its turn comes, or when the next word on its layer no longer has it, is forgotten.
//
// Not thread-safe.

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "cache/expert_cache.h"
#include "cache/guess_worth.h"
#include "experts/expert_loader.h"
#include "experts/expert_store.h"
#include "experts/likely_expert.h"
#include "experts/question_worth.h"

namespace sluice {

class Prefetcher {
 public:
  /// The cache, the loader and the memory that the cache hands out outlive it, and `statistics`
  /// [layers], where it counts what was expected, rightly, late and in vain. With up to `most`
  /// experts in a layer, and loads of three layers at a time, it allocates nothing. Guesses of
  /// Reach::kGap are read where GuessWorth says that it pays or, with `at_a_time`, unjudged: what
  /// is very likely, so many at a time. `elsewhere`: what is not to be read.
  Prefetcher(ExpertCache& cache, ExpertLoader& loader, std::byte* memory, std::size_t most,
             std::span<ExpertStatistics> statistics, std::size_t at_a_time,
             std::function<bool(CacheKey)> elsewhere);

  /// What the layer of that turn will likely want, best first, instead of what was said of it
  /// before: the cache keeps all of it, and `start` may load what is missing. Ids that the layer
  /// does not have are passed over. Loads that are under way go on.
  void expect(std::uint32_t turn, std::span<const LikelyExpert> likely, Reach reach);
  /// Nothing more is begun of what was expected.
  void expect_nothing() { guesses_.clear(); }
  /// Starts to load what is expected, of the next turn and of the one after, while the cache makes
  /// room: of Reach::kAll at most `most`; of Reach::kGap what pays, where the disk has nothing else
  /// to do for `idle` seconds until the next turn.
  void start(std::size_t most, std::uint32_t next_turn, double idle);
  /// Whether the visit should ask: as far as is known, the disk is idle for long enough to be worth
  /// a certain guess, and guesses gain what questions cost.
  bool questions_pay() const {
    if (at_a_time_ > 0) return true;
    return questions_.due() && (worth_.read() == 0 || worth_.pays_if_sure());
  }
  /// So long the visit took to ask, and to say here what was answered.
  void asked(double time) { questions_.took(time); }
  /// Whether there is something of Reach::kAll to be loaded.
  bool streams() const;
  /// A visit wants the expert: from now on its copy, or its load with the one pin that goes with
  /// it, is the visit's. False: it was not loaded by the prefetcher.
  bool claim(CacheKey key);
  /// A visit wants an expert that is neither in memory nor under way.
  void miss(CacheKey key);
  /// A load has finished. False: it is a visit's.
  bool finish(const FinishedLoad& load);
  /// The turn of this layer has come, and its visit's wants are known: what nobody claimed of it
  /// was a wrong guess.
  void close(std::uint32_t turn);

  GuessWorth& worth() { return worth_; }
  const GuessWorth& worth() const { return worth_; }

 private:
  /// Not begun. What Reach::kAll is for has no grade, and is not judged.
  struct Guess {
    CacheKey key;
    std::size_t grade;
  };
  static constexpr std::size_t kNoGrade = GuessWorth::kGrades;
  static constexpr std::uint32_t kBegun = ~std::uint32_t{0};  // in the place of a guess's layer
  struct Load {
    CacheKey key;
    std::size_t grade;
    bool under_way = true;
    bool wrong = false;
  };
  std::vector<Load>::iterator find(CacheKey key);
  void drop(std::vector<Load>::iterator load);
  double rest(double idle) const;
  bool pays(const Guess& guess, double idle) const;
  bool add(const Guess& guess);
  void submit(std::size_t count);

  ExpertCache& cache_;
  ExpertLoader& loader_;
  std::byte* const memory_;
  const std::span<ExpertStatistics> statistics_;
  const std::size_t at_a_time_;  // of guesses that are not judged; 0: they are
  const std::function<bool(CacheKey)> elsewhere_;
  GuessWorth worth_;
  QuestionWorth questions_;
  std::vector<Guess> guesses_;  // of a turn best first
  std::vector<Load> loads_;
  std::size_t under_way_ = 0;  // that no visit has claimed
};

}  // namespace sluice
