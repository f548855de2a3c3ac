#include "apps/chat_template_file.h"

#include <utility>

#include "apps/text_source.h"

namespace sluice::apps {
namespace {

constexpr std::size_t kLargest = std::size_t{1} << 20;

}  // namespace

ChatTemplateLimits template_limits(std::uint32_t context) {
  constexpr std::uint32_t kUsual = 8192, kBytesAToken = 16;
  const std::size_t text = std::size_t{context != 0 ? context : kUsual} * kBytesAToken;
  return {.output_bytes = (std::size_t{1} << 20) + text,
          .memory_bytes = (std::size_t{4} << 20) + 8 * text};
}

Result<ChatFormat> chat_format(const std::string& model, const std::string& file,
                               const TokenizerData& tokenizer, const ChatTemplateLimits& limits) {
  std::string source = tokenizer.chat_template, from = model;
  if (!file.empty()) {
    SLUICE_ASSIGN(TextSource text, TextSource::open(file, "--template"));
    SLUICE_ASSIGN(source, text.rest(kLargest));
    from = file;
  }
  if (source.empty()) {
    return Status(ErrorCode::kNotFound,
                  from +
                      ": there is no chat template in it: name one with --template FILE (Jinja, "
                      "as chat_template.jinja of the model's family), or continue plain text "
                      "with 'run'");
  }
  auto format = ChatFormat::create(source, tokenizer, limits);
  return format.ok() ? std::move(format) : Result<ChatFormat>(format.status().with_context(from));
}

}  // namespace sluice::apps
