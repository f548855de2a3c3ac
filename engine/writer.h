#pragma once
// A session's continuation, a token at a time.

#include <cstdint>
#include <string>
#include <vector>

#include "engine/continuation.h"
#include "engine/session.h"

namespace sluice {

/// How many of the first of `length` tokens a context of `context` loses by shifting until the rest
/// fits. What was dropped of a part makes no difference to what is dropped of the whole.
std::size_t shifted_out(std::size_t length, std::size_t context);

/// Not thread-safe.
class Writer {
 public:
  /// Of what the session has and `prompt`, which is appended with the first step. kInvalidArgument:
  /// both are empty. Borrows the session.
  static Result<Writer> create(Session& session, std::vector<TokenId> prompt,
                               const GenerateOptions& options);

  /// Computes what was added last, or the prompt, and adds a token; the text that became certain.
  /// After an error (kCancelled, too) the step can be tried again. REQUIRES: not ended(). Where no
  /// token is wanted, the prompt is computed all the same.
  Result<std::string> next();
  /// Somebody else ends it; the text that was held back.
  std::string end(StopReason reason) { return continuation_.end(reason); }

  bool ended() const { return continuation_.ended(); }
  StopReason reason() const { return continuation_.reason(); }
  const std::vector<TokenId>& tokens() const { return continuation_.tokens(); }

 private:
  Writer(Session& session, std::vector<TokenId> prompt, const GenerateOptions& options);
  void shift();
  Status compute();

  Session& session_;
  bool shifts_, wants_any_;
  PassOptions pass_;
  std::vector<TokenId> next_;   // to be computed
  std::vector<TokenId> again_;  // before that: what a shift has left
  Continuation continuation_;
  bool begun_ = false;
  Status failed_;  // for good
};

}  // namespace sluice
