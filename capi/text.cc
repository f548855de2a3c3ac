#include "capi/handles.h"
#include "text/chat_format.h"
#include "text/chat_json.h"
#include "text/local_time.h"

using namespace sluice;        // NOLINT: an entry point is not of any namespace
using namespace sluice::capi;  // NOLINT

namespace {

/// kUnsupported where the model has none that can be used.
Result<const Tokenizer*> tokenizer_of(const sluice_model* model) {
  SLUICE_TRY(expect(model, "model"));
  const Model& opened = *model->opened->model;
  if (opened.tokenizer() != nullptr) return opened.tokenizer();
  return Status(ErrorCode::kUnsupported,
                "the model reads no texts, only ids: " + opened.no_tokenizer());
}

Status check_flags(std::int32_t flags) {
  constexpr std::int32_t kKnown = SLUICE_TEXT_ADD_SPECIAL | SLUICE_TEXT_PARSE_SPECIAL;
  if ((flags & ~kKnown) == 0) return {};
  return invalid("unknown flags " + std::to_string(flags));
}

}  // namespace

sluice_status sluice_tokenize(const sluice_model* model, const char* text, size_t length,
                              int32_t flags, sluice_token* tokens, size_t capacity, size_t* count,
                              sluice_error* error) {
  return guard(error, [&]() -> Status {
    SLUICE_ASSIGN(const Tokenizer* const tokenizer, tokenizer_of(model));
    SLUICE_ASSIGN(const std::string_view given, take_text(text, length, "text"));
    SLUICE_TRY(check_flags(flags));
    SLUICE_TRY(expect(count, "count"));
    if (capacity > 0) SLUICE_TRY(expect(tokens, "tokens"));
    const std::vector<TokenId> ids =
        tokenizer->encode(given, {.add_special = (flags & SLUICE_TEXT_ADD_SPECIAL) != 0,
                                  .parse_special = (flags & SLUICE_TEXT_PARSE_SPECIAL) != 0});
    std::copy_n(ids.begin(), std::min(capacity, ids.size()), tokens);
    *count = ids.size();
    return {};
  });
}

sluice_status sluice_detokenize(const sluice_model* model, const sluice_token* tokens, size_t count,
                                int32_t flags, char* text, size_t capacity, size_t* length,
                                sluice_error* error) {
  return guard(error, [&]() -> Status {
    SLUICE_ASSIGN(const Tokenizer* const tokenizer, tokenizer_of(model));
    if (count > 0) SLUICE_TRY(expect(tokens, "tokens"));
    SLUICE_TRY(check_flags(flags));
    const std::string decoded =
        tokenizer->decode({tokens, tokens + count}, (flags & SLUICE_TEXT_PARSE_SPECIAL) != 0);
    return give_text(decoded, text, capacity, length);
  });
}

int32_t sluice_token_ends(const sluice_model* model, sluice_token token) {
  if (model == nullptr || model->opened->model->tokenizer() == nullptr) return 0;
  return model->opened->model->tokenizer()->ends_generation(token) ? 1 : 0;
}

sluice_status sluice_render_chat(const sluice_model* model, const char* conversation,
                                 size_t conversation_length, const char* chat_template, char* text,
                                 size_t capacity, size_t* length, sluice_error* error) {
  return guard(error, [&]() -> Status {
    SLUICE_ASSIGN(const Tokenizer* const tokenizer, tokenizer_of(model));
    SLUICE_ASSIGN(const std::string_view given,
                  take_text(conversation, conversation_length, "conversation"));
    const std::string source =
        chat_template != nullptr ? std::string(chat_template) : tokenizer->data().chat_template;
    if (source.empty()) {
      return Status(
          ErrorCode::kNotFound,
          "the model has no chat template: pass one, as chat_template.jinja of its family");
    }
    SLUICE_ASSIGN(const ChatFormat format, ChatFormat::create(source, tokenizer->data()));
    auto variables = parse_conversation(given);
    if (!variables.ok()) return variables.status().with_context("the conversation");
    SLUICE_ASSIGN(const std::string prompt, format.render(std::move(*variables), local_time()));
    return give_text(prompt, text, capacity, length);
  });
}
