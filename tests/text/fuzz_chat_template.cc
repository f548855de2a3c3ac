// Feeds arbitrary bytes to the template engine: it must end, within its bounds, with a text or an
// error.

#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "text/chat_template.h"
#include "text/utf8.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  static const auto variables = nlohmann::ordered_json::parse(R"({
    "messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "Grüße <b>"},
                 {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": {"a": [1, 2.5]}}}]}],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
    "add_generation_prompt": true, "x": 3, "s": "a b  c", "n": null})");
  const std::string_view source(reinterpret_cast<const char*>(bytes), size);
  const auto parsed = sluice::ChatTemplate::parse(source);
  if (!parsed.ok()) return 0;
  sluice::ChatTemplateLimits limits;
  limits.output_bytes = 1 << 16;
  limits.memory_bytes = 1 << 22;
  limits.steps = 100'000;
  const auto text = parsed->render(variables, std::tm{.tm_mday = 1}, limits);
  if (!text.ok()) return 0;
  if (text->size() > limits.output_bytes) std::abort();
  if (!text->empty() && !sluice::utf8_run(*text).well_formed) std::abort();
  return 0;
}
