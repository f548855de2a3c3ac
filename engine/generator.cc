#include "engine/generator.h"

#include "base/clock.h"

namespace sluice {

Result<Generation> generate(Session& session, const std::vector<TokenId>& prompt,
                            const GenerateOptions& options,
                            const std::function<void(std::string_view)>& on_text) {
  SLUICE_ASSIGN(Writer writer, Writer::create(session, prompt, options));
  Generation result;
  result.prompt_tokens = prompt.size();
  const auto show = [&](const std::string& text) {
    result.text += text;
    if (!text.empty() && on_text) on_text(text);
  };
  const double start = steady_seconds();
  double decode_start = start;
  for (bool first = true; !writer.ended(); first = false) {
    const std::size_t before = session.length();
    const auto text = writer.next();
    if (!text.ok() && text.status().code() != ErrorCode::kCancelled) return text.status();
    if (!text.ok()) {
      show(writer.end(StopReason::kCancelled));
      break;
    }
    if (first) {
      result.prefill_seconds = result.first_token_seconds = steady_seconds() - start;
      decode_start = steady_seconds();
    } else {
      result.decoded += session.length() == before ? 0 : 1;
    }
    show(*text);
  }
  if (result.first_token_seconds > 0) result.decode_seconds = steady_seconds() - decode_start;
  result.tokens = writer.tokens();
  result.reason = writer.reason();
  return result;
}

}  // namespace sluice
