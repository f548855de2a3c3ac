#pragma once
// Tokens appended to several sequences in the same passes: an expert that two of them want is read
// once and multiplied once.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/status.h"
#include "base/types.h"
#include "engine/forward_pass.h"
#include "layers/row.h"

namespace sluice {

class Session;

enum class WantedLogits : std::uint8_t { kNone, kLast, kAll };

/// What one session of a batch is to do, and what became of it.
struct BatchPart {
  Session* session = nullptr;
  std::span<const TokenId> tokens = {};
  WantedLogits wanted = WantedLogits::kLast;
  // Gets the wanted rows' logits, numbered from the first of `tokens`; null: nobody does.
  const LogitsSink* sink = nullptr;
  // kInvalidArgument when the context cannot hold the tokens (nothing was computed). After another
  // error the session is as before the call.
  Status status = {};
};

/// Not thread-safe.
class Batch {
 public:
  /// In passes of at most max_rows() of the sessions' model, which has all of them, each once. A
  /// session's logits are those that it would get alone; what fails in one is no other's error.
  void eval(std::span<BatchPart> parts, const PassOptions& options);

 private:
  struct Work {
    BatchPart* part = nullptr;
    std::size_t before = 0;                // tokens of the session
    std::span<const TokenId> tokens = {};  // that are being computed …
    std::size_t first = 0;                 // … and the first one's position
    std::size_t given = 0, done = 0;       // of them
    std::size_t told = 0;                  // rows whose logits the caller has
    bool finished = false;
  };
  struct Origin {
    Work* work = nullptr;
    std::size_t index = 0;  // among its tokens
  };

  Status attempt(std::span<Work> works, const PassOptions& options);
  void recover(std::span<Work> works, const Status& why, const PassOptions& options);
  void begin(Work& work, bool again);
  Status compute(std::span<Work> works, bool again, const PassOptions& options);
  void gather(std::span<Work> works, std::size_t most, bool again);
  static void give_back(Work& work);
  static void finish(Work& work);

  std::vector<Work> works_;
  std::vector<Row> rows_;
  std::vector<Origin> origins_;  // [rows_]
};

}  // namespace sluice
