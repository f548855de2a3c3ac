#include "text/answer_splitter.h"

#include <algorithm>
#include <array>
#include <utility>

namespace sluice {
namespace {

constexpr std::string_view kChannel = "<|channel|>", kMessage = "<|message|>", kEnd = "<|end|>",
                           kStart = "<|start|>", kAnalysis = "analysis";
constexpr std::string_view kSpaces = " \t\r\n";

struct Tags {
  std::string_view open, close;
};
constexpr auto kTags = std::to_array<Tags>({
    {"<think>", "</think>"},
    {"<|channel>thought", "<channel|>"},
    {"[unused16]", "[unused17]"},
});

constexpr auto kMarkup = std::to_array<std::string_view>({
    "<think>",
    "</think>",
    "<|channel>",
    "<channel|>",
    "[unused16]",
    "[unused17]",
    kChannel,
    kMessage,
    kEnd,
    kStart,
});

std::string_view without_spaces_behind(std::string_view text) {
  return text.substr(0, text.find_last_not_of(kSpaces) + 1);
}

/// Length of the longest end of `text` that begins `marker` and is not all of it.
std::size_t begun(std::string_view text, std::string_view marker) {
  std::size_t length = std::min(text.size(), marker.size() - 1);
  while (length > 0 && !text.ends_with(marker.substr(0, length))) --length;
  return length;
}

}  // namespace

std::span<const std::string_view> AnswerSplitter::markup() { return kMarkup; }

AnswerSplitter::AnswerSplitter(std::string_view prompt, Sink sink) : sink_(std::move(sink)) {
  const std::string_view before = without_spaces_behind(prompt);
  for (const Tags& tags : kTags) {
    if (before.ends_with(tags.open)) begin_reasoning(tags.close);
  }
}

void AnswerSplitter::push(std::string_view text) {
  pending_ += text;
  while (advance(false)) continue;
}

void AnswerSplitter::finish() {
  while (advance(true)) continue;
}

/// One step; false once nothing more can be said of what is pending.
bool AnswerSplitter::advance(bool last) {
  switch (state_) {
    case State::kBeginning:
      return begin(last);
    case State::kTagged:
      return end_at(close_, close_, last, State::kPlain);
    case State::kPlain:
      emit(std::exchange(pending_, {}));
      return false;
    case State::kMessage:
      return end_at(kEnd, kStart, last, State::kHeader);
    case State::kHeader: {
      const std::size_t at = pending_.find(kMessage);
      if (at == std::string::npos) return false;
      const std::string_view header = std::string_view(pending_).substr(0, at);
      const std::size_t channel = header.rfind(kChannel);
      const bool analysis = channel != std::string_view::npos &&
                            header.substr(channel + kChannel.size()).starts_with(kAnalysis);
      state_ = State::kMessage;
      enter(analysis ? AnswerPart::kReasoning : AnswerPart::kText);
      pending_.erase(0, at + kMessage.size());
      return true;
    }
  }
  return false;
}

bool AnswerSplitter::begin(bool last) {
  std::string_view text = pending_;
  text.remove_prefix(std::min(text.find_first_not_of(kSpaces), text.size()));
  bool undecided = kChannel.starts_with(text);
  if (text.starts_with(kChannel)) {
    state_ = State::kHeader;
    return true;
  }
  for (const Tags& tags : kTags) {
    undecided = undecided || tags.open.starts_with(text);
    if (!text.starts_with(tags.open)) continue;
    begin_reasoning(tags.close);
    pending_.erase(0, pending_.size() - text.size() + tags.open.size());
    return true;
  }
  if (undecided && !last) return false;
  state_ = State::kPlain;
  return true;
}

void AnswerSplitter::begin_reasoning(std::string_view close) {
  state_ = State::kTagged;
  close_ = close;
  enter(AnswerPart::kReasoning);
  strip_ = true;
}

/// What is pending up to one of the markers belongs to the part.
bool AnswerSplitter::end_at(std::string_view marker, std::string_view other, bool last,
                            State next) {
  const std::size_t first = pending_.find(marker), second = pending_.find(other);
  const std::size_t at = std::min(first, second);
  if (at == std::string::npos) {
    const std::size_t held = last ? 0 : std::max(begun(pending_, marker), begun(pending_, other));
    emit(std::string_view(pending_).substr(0, pending_.size() - held));
    pending_.erase(0, pending_.size() - held);
    return false;
  }
  emit(std::string_view(pending_).substr(0, at));
  pending_.erase(0, at + (at == first ? marker.size() : other.size()));
  state_ = next;
  if (next == State::kPlain) {
    enter(AnswerPart::kText);
    strip_ = true;
  }
  return true;
}

void AnswerSplitter::enter(AnswerPart part) {
  part_ = part;
  held_newlines_ = 0;
  strip_ = false;
  // One more message of the same kind.
  if (began_[static_cast<std::size_t>(part)]) sink_(part, "\n\n");
}

void AnswerSplitter::emit(std::string_view text) {
  if (strip_) text.remove_prefix(std::min(text.find_first_not_of('\n'), text.size()));
  if (text.empty()) return;
  strip_ = false;
  began_[static_cast<std::size_t>(part_)] = true;
  if (part_ == AnswerPart::kText) return sink_(part_, text);
  const std::size_t end = text.find_last_not_of('\n') + 1;
  if (end > 0) {
    const std::string newlines(std::exchange(held_newlines_, 0), '\n');
    if (!newlines.empty()) sink_(part_, newlines);
    sink_(part_, text.substr(0, end));
  }
  held_newlines_ += text.size() - end;
}

}  // namespace sluice
