#include "text/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <utility>

namespace sluice {
namespace {

template <auto Free>
struct FreeWith {
  template <typename T>
  void operator()(T* pointer) const {
    Free(pointer);
  }
};
using Code = std::unique_ptr<pcre2_code, FreeWith<pcre2_code_free>>;
using MatchData = std::unique_ptr<pcre2_match_data, FreeWith<pcre2_match_data_free>>;
using MatchContext = std::unique_ptr<pcre2_match_context, FreeWith<pcre2_match_context_free>>;
using JitStack = std::unique_ptr<pcre2_jit_stack, FreeWith<pcre2_jit_stack_free>>;

constexpr std::size_t kMemoryLimit = std::size_t{64} << 20;
constexpr std::uint64_t kStepsAtLeast = 10'000'000;
constexpr std::uint64_t kStepsPerByte = 64;

PCRE2_SPTR as_subject(std::string_view text) { return reinterpret_cast<PCRE2_SPTR>(text.data()); }

std::string error_text(int code) {
  std::array<PCRE2_UCHAR, 128> buffer{};
  pcre2_get_error_message(code, buffer.data(), buffer.size());
  return reinterpret_cast<const char*>(buffer.data());
}

}  // namespace

struct PatternScratch::State {
  MatchData data{pcre2_match_data_create(1, nullptr)};
  MatchContext context{pcre2_match_context_create(nullptr)};
  JitStack stack;  // grown from the machine's own stack when a match first asks for more
};

PatternScratch::PatternScratch() : state_(std::make_unique<State>()) {}
PatternScratch::~PatternScratch() = default;

struct Pattern::Compiled {
  std::string literal;  // plain text to find, if there is no code
  Code code;
};

Pattern::Pattern(std::unique_ptr<Compiled> compiled) : compiled_(std::move(compiled)) {}
Pattern::~Pattern() = default;
Pattern::Pattern(Pattern&&) noexcept = default;
Pattern& Pattern::operator=(Pattern&&) noexcept = default;

Result<Pattern> Pattern::compile(std::string_view pattern, bool literal) {
  auto compiled = std::make_unique<Compiled>();
  if (literal) {
    compiled->literal = pattern;
    return Pattern(std::move(compiled));
  }
  SLUICE_ASSIGN(const std::string translated, translate_pattern(pattern));
  int error = 0;
  PCRE2_SIZE error_offset = 0;
  compiled->code.reset(pcre2_compile(as_subject(translated), translated.size(),
                                     PCRE2_UTF | PCRE2_UCP, &error, &error_offset, nullptr));
  if (compiled->code == nullptr) {
    return Status(ErrorCode::kUnsupported,
                  "tokenizer: pattern \"" + std::string(pattern) + "\": " + error_text(error));
  }
  // Where the system forbids executable memory this fails, and matching interprets instead.
  pcre2_jit_compile(compiled->code.get(), PCRE2_JIT_COMPLETE | PCRE2_JIT_PARTIAL_HARD);
  return Pattern(std::move(compiled));
}

int Pattern::match(std::string_view subject, std::size_t from, std::uint32_t options,
                   PatternScratch& scratch) const {
  PatternScratch::State& state = *scratch.state_;
  if (state.data == nullptr || state.context == nullptr) return PCRE2_ERROR_NOMATCH;  // no memory
  const std::uint64_t steps = std::max(kStepsAtLeast, kStepsPerByte * subject.size());
  pcre2_set_match_limit(state.context.get(),
                        static_cast<std::uint32_t>(std::min<std::uint64_t>(
                            steps, std::numeric_limits<std::uint32_t>::max())));
  pcre2_set_heap_limit(state.context.get(), kMemoryLimit >> 10);
  const auto attempt = [&](std::uint32_t more) {
    return pcre2_match(compiled_->code.get(), as_subject(subject), subject.size(), from,
                       options | more | PCRE2_NO_UTF_CHECK, state.data.get(), state.context.get());
  };
  int result = attempt(0);
  if (result == PCRE2_ERROR_JIT_STACKLIMIT && state.stack == nullptr) {
    state.stack.reset(pcre2_jit_stack_create(std::size_t{64} << 10, kMemoryLimit, nullptr));
    pcre2_jit_stack_assign(state.context.get(), nullptr, state.stack.get());
    if (state.stack != nullptr) result = attempt(0);
  }
  if (result == PCRE2_ERROR_JIT_STACKLIMIT) result = attempt(PCRE2_NO_JIT);
  return result >= 0 || result == PCRE2_ERROR_PARTIAL ? result : PCRE2_ERROR_NOMATCH;
}

std::optional<PatternMatch> Pattern::find(std::string_view subject, std::size_t from,
                                          PatternScratch& scratch) const {
  if (compiled_->code == nullptr) {
    const std::string& literal = compiled_->literal;
    const std::size_t at = literal.empty() ? subject.npos : subject.find(literal, from);
    if (at == subject.npos) return std::nullopt;
    return PatternMatch{at, at + literal.size()};
  }
  if (match(subject, from, 0, scratch) < 0) return std::nullopt;
  const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(scratch.state_->data.get());
  // \K can leave a match whose start is past its end.
  return PatternMatch{std::min<std::size_t>(bounds[0], bounds[1]), bounds[1]};
}

std::optional<PatternMatch> Pattern::find_certain(std::string_view subject, std::size_t from,
                                                  PatternScratch& scratch,
                                                  std::size_t& undecided) const {
  undecided = subject.size();
  if (compiled_->code == nullptr) {
    const auto found = find(subject, from, scratch);
    const std::size_t tail = std::max<std::size_t>(compiled_->literal.size(), 1) - 1;
    if (!found) undecided = std::max(from, subject.size() - std::min(tail, subject.size()));
    return found;
  }
  // Hard partial matching ends a search as soon as it would look past the end of the subject.
  const int result = match(subject, from, PCRE2_PARTIAL_HARD, scratch);
  const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(scratch.state_->data.get());
  if (result == PCRE2_ERROR_PARTIAL) undecided = std::max<std::size_t>(from, bounds[0]);
  if (result < 0) return std::nullopt;
  // At the end itself nothing was looked at, and so nothing could be missed.
  if (bounds[0] >= subject.size()) return std::nullopt;
  return PatternMatch{std::min<std::size_t>(bounds[0], bounds[1]), bounds[1]};
}

std::size_t Pattern::context() const {
  constexpr std::size_t kLongestCharacter = 4;
  std::uint32_t characters = 0;
  if (compiled_->code != nullptr) {
    pcre2_pattern_info(compiled_->code.get(), PCRE2_INFO_MAXLOOKBEHIND, &characters);
  }
  // One at least: what is not the beginning must not look like it.
  return kLongestCharacter * std::max(characters, 1u);
}

}  // namespace sluice
