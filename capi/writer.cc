#include "capi/handles.h"

using namespace sluice;        // NOLINT: an entry point is not of any namespace
using namespace sluice::capi;  // NOLINT

struct sluice_writer {
  sluice_writer(std::shared_ptr<SessionState> state, Writer made)
      : session(std::move(state)), writer(std::move(made)) {}
  std::shared_ptr<SessionState> session;
  Writer writer;
  std::string text;
};

namespace {

Result<GenerateOptions> generate_options(const sluice_writer_options& given) {
  GenerateOptions made;
  if (given.max_tokens != 0) made.max_tokens = given.max_tokens;
  if (given.sampling.size != 0) {
    SLUICE_ASSIGN(const sluice_sampler_options sampling, take_options(&given.sampling));
    made.sampling = sampler_options(sampling);
    SLUICE_TRY(made.sampling.check());
  }
  if (given.stop_count > 0) SLUICE_TRY(expect(given.stop, "stop"));
  for (std::size_t i = 0; i < given.stop_count; ++i) {
    SLUICE_TRY(expect(given.stop[i], "a stop string"));
    made.stop.emplace_back(given.stop[i]);
  }
  made.ignore_end = given.ignore_end != 0;
  made.own_text = given.own_text != 0;
  return made;
}

std::int32_t stop_of(const Writer& writer) {
  if (!writer.ended()) return SLUICE_STOP_NONE;
  switch (writer.reason()) {
    case StopReason::kEndOfText:
      return SLUICE_STOP_END_OF_TEXT;
    case StopReason::kStopString:
      return SLUICE_STOP_STRING;
    case StopReason::kContextFull:
      return SLUICE_STOP_CONTEXT_FULL;
    case StopReason::kMaxTokens:
    case StopReason::kCancelled:
      break;
  }
  return SLUICE_STOP_MAX_TOKENS;
}

}  // namespace

sluice_status sluice_writer_create(sluice_session* session, const sluice_token* tokens,
                                   size_t count, const sluice_writer_options* options,
                                   sluice_writer** writer, sluice_error* error) {
  return guard(error, [&]() -> Status {
    SLUICE_TRY(expect(session, "session"));
    SLUICE_TRY(expect(writer, "writer"));
    if (count > 0) SLUICE_TRY(expect(tokens, "tokens"));
    SLUICE_ASSIGN(const sluice_writer_options given, take_options(options));
    SLUICE_ASSIGN(GenerateOptions made, generate_options(given));
    SessionState& state = *session->state;
    SLUICE_ASSIGN(const auto lock, state.enter());
    made.pass.cancel = &state.abort;
    SLUICE_ASSIGN(Writer created, Writer::create(state.session, {tokens, tokens + count}, made));
    *writer = std::make_unique<sluice_writer>(session->state, std::move(created)).release();
    return {};
  });
}

void sluice_writer_destroy(sluice_writer* writer) { delete writer; }

sluice_status sluice_writer_next(sluice_writer* writer, sluice_piece* piece, sluice_error* error) {
  return guard(error, [&]() -> Status {
    SLUICE_TRY(expect(writer, "writer"));
    SessionState& state = *writer->session;
    SLUICE_ASSIGN(const auto lock, state.enter());
    if (writer->writer.ended()) return invalid("the text has ended");
    const std::size_t before = writer->writer.tokens().size();
    SLUICE_TRY(state.run([&]() -> Status {
      SLUICE_ASSIGN(writer->text, writer->writer.next());
      return {};
    }));
    const std::vector<TokenId>& tokens = writer->writer.tokens();
    sluice_piece known{};
    known.token = tokens.size() > before ? tokens.back() : -1;
    known.stop = stop_of(writer->writer);
    known.text = writer->text.c_str();
    known.length = writer->text.size();
    return give(known, piece);
  });
}
