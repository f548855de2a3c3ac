#pragma once
// Renders the chat templates that model files carry: Jinja as Hugging Face Transformers sets it up
// (trim_blocks, lstrip_blocks, an immutable sandbox, loop controls, `generation` blocks, tojson
// without escaping, raise_exception, strftime_now). Templates are strangers' programs: size, time,
// memory and recursion are bounded, and they can reach nothing but their variables.
//
// What differs from jinja2: integers have 64 bits, there is no inheritance (a block stands where it
// is written) and no inclusion, characters have no names (\N{…}), and a few filters that make no
// sense for chats (urlize, xmlattr …) are not there. All of these are errors, never other text.
//
// A template is immutable: any number of threads may render it at the same time.

#include <cstddef>
#include <ctime>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "base/status.h"

namespace sluice {

struct ChatTemplateLimits {
  std::size_t output_bytes = std::size_t{64}
                             << 20;  // of the text, and of any text on the way to it
  std::size_t memory_bytes = std::size_t{256}
                             << 20;  // that values hold at one time, the variables' among them
  std::size_t steps = 50'000'000;    // a step is about one operation, or 64 bytes of text
  int depth = 1'000;                 // of nested evaluation, macros that call macros among it
};

class ChatTemplate {
 public:
  static constexpr std::size_t kMaxSourceBytes = std::size_t{4} << 20;

  /// Errors: kCorrupt (syntax) or kUnsupported, with the line.
  static Result<ChatTemplate> parse(std::string_view source);

  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;
  ~ChatTemplate();

  /// The text for `variables`, an object: "messages", "tools" (null if there are none),
  /// "add_generation_prompt", "bos_token" … The order of keys is kept where a template writes them.
  /// `now` is what strftime_now tells. Errors: kInvalidArgument with the template's line and reason
  /// (its own raise_exception among them), kBudget once a limit is passed.
  Result<std::string> render(const nlohmann::ordered_json& variables, const std::tm& now,
                             const ChatTemplateLimits& limits = {}) const;

 private:
  struct Syntax;
  explicit ChatTemplate(std::unique_ptr<const Syntax> syntax);

  std::unique_ptr<const Syntax> syntax_;
};

}  // namespace sluice
