#pragma once
// Tells a model's reasoning from its answer while both are being written.
//
//     <think> … </think> …                     most models; the prompt may have opened it already
//     <|channel>thought … <channel|> …         Gemma 4
//     [unused16] … [unused17] …                Pangu
//     <|channel|>analysis<|message|> … <|end|><|start|>assistant<|channel|>final<|message|> …
//                                              gpt-oss: any number of messages, each on a channel

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

namespace sluice {

enum class AnswerPart : std::uint8_t { kReasoning, kText };

/// Newlines around the reasoning belong to neither part, as the chat templates have it that cut
/// answers themselves. Not thread-safe.
class AnswerSplitter {
 public:
  /// Gets what became certain; the markup is left out.
  using Sink = std::function<void(AnswerPart, std::string_view)>;

  /// `prompt`: what the answer follows on.
  AnswerSplitter(std::string_view prompt, Sink sink);
  void push(std::string_view text);
  /// The answer ends here.
  void finish();

  /// The texts that `push` must see, be they control tokens or not.
  static std::span<const std::string_view> markup();

 private:
  enum class State : std::uint8_t {
    kBeginning,  // the first characters will tell
    kTagged,     // reasoning, up to close_
    kPlain,      // the answer, to the end
    kHeader,     // gpt-oss: up to <|message|>
    kMessage,    // gpt-oss: up to <|end|>
  };

  bool advance(bool last);
  bool begin(bool last);
  void begin_reasoning(std::string_view close);
  bool end_at(std::string_view marker, std::string_view other, bool last, State next);
  void enter(AnswerPart part);
  void emit(std::string_view text);

  Sink sink_;
  State state_ = State::kBeginning;
  AnswerPart part_ = AnswerPart::kText;
  std::string_view close_;
  std::string pending_;            // not decided yet
  bool strip_ = false;             // newlines at the front of the part are dropped
  std::size_t held_newlines_ = 0;  // at the end of the reasoning so far
  bool began_[2] = {false, false};
};

}  // namespace sluice
