// The C library against the engine that it stands for, and against callers who err.

#include <gtest/gtest.h>

#include <cstddef>
#include <cstring>
#include <thread>

#include "engine/generator.h"
#include "include/sluice.h"
#include "tests/engine/fixture.h"

namespace sluice {
namespace {

struct Library {
  explicit Library(const sluice_model_options& options = {}, std::uint64_t ram = 0) {
    sluice_runtime_options runtime_options{};
    runtime_options.size = sizeof runtime_options;
    runtime_options.threads = 1;
    runtime_options.ram = ram;
    EXPECT_EQ(sluice_runtime_create(&runtime_options, &runtime, &error), SLUICE_OK)
        << error.message;
    sluice_model_options given = options;
    given.size = sizeof given;
    if (given.context == 0) given.context = 256;
    EXPECT_EQ(sluice_model_open(runtime, test::bundled_model().c_str(), &given, &model, &error),
              SLUICE_OK)
        << error.message;
  }
  ~Library() {
    sluice_model_destroy(model);
    sluice_runtime_destroy(runtime);
  }
  sluice_session* session() {
    sluice_session* made = nullptr;
    EXPECT_EQ(sluice_session_create(model, nullptr, &made, &error), SLUICE_OK) << error.message;
    return made;
  }
  std::size_t vocabulary() {
    sluice_model_info info{};
    info.size = sizeof info;
    EXPECT_EQ(sluice_model_get_info(model, &info, &error), SLUICE_OK);
    return info.vocabulary;
  }

  sluice_error error{};
  sluice_runtime* runtime = nullptr;
  sluice_model* model = nullptr;
};

std::vector<sluice_token> tokens_of(Library& library, const std::string& text) {
  std::size_t count = 0;
  EXPECT_EQ(sluice_tokenize(library.model, text.c_str(), SLUICE_ENDS_WITH_ZERO,
                            SLUICE_TEXT_ADD_SPECIAL, nullptr, 0, &count, &library.error),
            SLUICE_OK)
      << library.error.message;
  std::vector<sluice_token> tokens(count);
  EXPECT_EQ(sluice_tokenize(library.model, text.data(), text.size(), SLUICE_TEXT_ADD_SPECIAL,
                            tokens.data(), tokens.size(), &count, &library.error),
            SLUICE_OK);
  EXPECT_EQ(count, tokens.size());
  return tokens;
}

// Of a 64-bit machine. A field that is added comes last; none is moved.
TEST(CLibrary, StructsHaveTheSizesThatProgramsWereBuiltWith) {
  EXPECT_EQ(sizeof(sluice_error), 1024u);
  EXPECT_EQ(sizeof(sluice_runtime_options), 48u);
  EXPECT_EQ(offsetof(sluice_runtime_options, reader), 32u);
  EXPECT_EQ(sizeof(sluice_model_options), 104u);
  EXPECT_EQ(offsetof(sluice_model_options, kv), 24u);
  EXPECT_EQ(offsetof(sluice_model_options, progress), 88u);
  EXPECT_EQ(sizeof(sluice_model_info), 88u);
  EXPECT_EQ(offsetof(sluice_model_info, ram), 40u);
  EXPECT_EQ(sizeof(sluice_model_stats), 56u);
  EXPECT_EQ(sizeof(sluice_session_options), 16u);
  EXPECT_EQ(sizeof(sluice_session_stats), 48u);
  EXPECT_EQ(sizeof(sluice_batch_item), 48u);
  EXPECT_EQ(offsetof(sluice_batch_item, error), 40u);
  EXPECT_EQ(sizeof(sluice_sampler_options), 40u);
  EXPECT_EQ(sizeof(sluice_writer_options), 80u);
  EXPECT_EQ(offsetof(sluice_writer_options, stop), 56u);
  EXPECT_EQ(sizeof(sluice_piece), 32u);
}

TEST(CLibrary, LogitsAreTheEngines) {
  Library library;
  const std::vector<sluice_token> tokens = test::some_tokens(40);
  const std::vector<float> expected = test::all_logits({}, tokens);
  const std::size_t vocabulary = library.vocabulary();
  ASSERT_EQ(expected.size(), tokens.size() * vocabulary);
  sluice_session* const session = library.session();
  std::vector<float> all(expected.size());
  ASSERT_EQ(
      sluice_session_forward(session, tokens.data(), tokens.size(), all.data(), &library.error),
      SLUICE_OK)
      << library.error.message;
  EXPECT_TRUE(test::same_bits(all, expected));
  EXPECT_EQ(sluice_session_length(session), tokens.size());

  ASSERT_EQ(sluice_session_truncate(session, 7, nullptr), SLUICE_OK);
  const float* last = nullptr;
  ASSERT_EQ(sluice_session_eval(session, tokens.data() + 7, 3, &last, nullptr), SLUICE_OK);
  EXPECT_TRUE(
      test::same_bits({last, vocabulary}, std::span(expected).subspan(9 * vocabulary, vocabulary)));

  std::size_t kept = 0;
  ASSERT_EQ(sluice_session_keep_prefix(session, tokens.data(), tokens.size(), &kept, nullptr),
            SLUICE_OK);
  EXPECT_EQ(kept, 10u);
  sluice_session_stats stats{};
  stats.size = sizeof stats;
  ASSERT_EQ(sluice_session_get_stats(session, &stats, nullptr), SLUICE_OK);
  EXPECT_EQ(stats.evaluated, 43u);
  EXPECT_EQ(stats.calls, 2u);
  sluice_session_destroy(session);

  sluice_model_stats experts{};
  experts.size = sizeof experts;
  ASSERT_EQ(sluice_model_get_stats(library.model, &experts, nullptr), SLUICE_OK);
  EXPECT_GT(experts.expert_requests, 0u);
  EXPECT_GE(experts.expert_requests, experts.expert_hits);
}

TEST(CLibrary, TextsGoThereAndBack) {
  Library library;
  const std::string text = "Once upon a time, there was a fox.";
  const std::vector<sluice_token> tokens = tokens_of(library, text);
  std::size_t length = 0;
  char back[64];
  ASSERT_EQ(sluice_detokenize(library.model, tokens.data(), tokens.size(), 0, back, sizeof back,
                              &length, &library.error),
            SLUICE_OK);
  EXPECT_EQ(std::string(back), text);
  EXPECT_EQ(length, text.size());
  // As much as fits, and the length of the whole.
  std::memset(back, '#', sizeof back);
  ASSERT_EQ(
      sluice_detokenize(library.model, tokens.data(), tokens.size(), 0, back, 4, &length, nullptr),
      SLUICE_OK);
  EXPECT_EQ(std::string(back, 5), text.substr(0, 4) + "#");
  EXPECT_EQ(length, text.size());

  const char chat[] = R"([{"role": "user", "content": "Hello"}])";
  ASSERT_EQ(sluice_render_chat(library.model, chat, SLUICE_ENDS_WITH_ZERO,
                               "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}",
                               back, sizeof back, &length, &library.error),
            SLUICE_OK)
      << library.error.message;
  EXPECT_EQ(std::string(back), "<user>Hello");
  EXPECT_EQ(
      sluice_render_chat(library.model, "{", 1, "x", back, sizeof back, &length, &library.error),
      SLUICE_CORRUPT);
}

TEST(CLibrary, AWriterWritesWhatTheEngineGenerates) {
  Library library;
  const std::vector<sluice_token> prompt = tokens_of(library, "Once upon a time");
  const test::Opened opened = test::open({});
  Session alone(*opened.model);
  const auto expected =
      generate(alone, prompt,
               {.max_tokens = 30, .sampling = {.temperature = 0.8f, .top_k = 40, .seed = 3}}, {});
  ASSERT_TRUE(expected.ok());

  sluice_session* const session = library.session();
  sluice_writer_options options{};
  options.size = sizeof options;
  options.max_tokens = 30;
  options.sampling.size = sizeof options.sampling;
  options.sampling.temperature = 0.8f;
  options.sampling.top_k = 40;
  options.sampling.seed = 3;
  sluice_writer* writer = nullptr;
  ASSERT_EQ(sluice_writer_create(session, prompt.data(), prompt.size(), &options, &writer,
                                 &library.error),
            SLUICE_OK)
      << library.error.message;
  sluice_session_destroy(session);  // the writer keeps what it needs
  std::string text;
  std::vector<sluice_token> tokens;
  sluice_piece piece{};
  piece.size = sizeof piece;
  do {
    ASSERT_EQ(sluice_writer_next(writer, &piece, &library.error), SLUICE_OK)
        << library.error.message;
    text.append(piece.text, piece.length);
    if (piece.token >= 0) tokens.push_back(piece.token);
  } while (piece.stop == SLUICE_STOP_NONE);
  EXPECT_EQ(text, expected->text);
  EXPECT_EQ(tokens, expected->tokens);
  EXPECT_EQ(sluice_writer_next(writer, &piece, &library.error), SLUICE_INVALID_ARGUMENT);
  sluice_writer_destroy(writer);
}

TEST(CLibrary, ABatchGivesEachWhatItWouldGetAlone) {
  sluice_model_options options{};
  options.sessions = 3;
  Library library(options);
  const std::size_t vocabulary = library.vocabulary();
  std::vector<std::vector<sluice_token>> texts;
  std::vector<std::vector<float>> logits;
  std::vector<sluice_batch_item> items;
  sluice_error errors[3];
  for (std::uint32_t i = 0; i < 3; ++i) {
    texts.push_back(test::some_tokens(5 + 7 * i, i + 1));
    logits.emplace_back(texts[i].size() * vocabulary);
  }
  texts[1][2] = -1;  // there is no such token
  for (std::size_t i = 0; i < 3; ++i) {
    items.push_back({library.session(), texts[i].data(), texts[i].size(), logits[i].data(), 1,
                     SLUICE_INTERNAL, &errors[i]});
  }
  ASSERT_EQ(sluice_batch_eval(items.data(), 3, sizeof items[0], &library.error), SLUICE_OK)
      << library.error.message;
  EXPECT_EQ(items[1].status, SLUICE_INVALID_ARGUMENT);
  EXPECT_NE(std::string(errors[1].message).find("token -1"), std::string::npos);
  for (const std::size_t i : {0u, 2u}) {
    EXPECT_EQ(items[i].status, SLUICE_OK) << errors[i].message;
    EXPECT_TRUE(test::same_bits(logits[i], test::all_logits({}, texts[i])));
  }
  // The same one twice.
  items[1].session = items[0].session;
  EXPECT_EQ(sluice_batch_eval(items.data(), 3, sizeof items[0], &library.error),
            SLUICE_INVALID_ARGUMENT);
  sluice_session_destroy(items[0].session);
  sluice_session_destroy(items[2].session);
}

TEST(CLibrary, AnAbortStopsOneCall) {
  Library library;
  sluice_session* const session = library.session();
  const std::vector<sluice_token> tokens = test::some_tokens(20);
  sluice_session_abort(session);
  sluice_session_abort(session);
  EXPECT_EQ(sluice_session_eval(session, tokens.data(), tokens.size(), nullptr, &library.error),
            SLUICE_CANCELLED);
  EXPECT_EQ(sluice_session_length(session), 0u);
  EXPECT_EQ(sluice_session_eval(session, tokens.data(), tokens.size(), nullptr, &library.error),
            SLUICE_OK);
  sluice_session_abort(session);
  sluice_session_forget_abort(session);
  EXPECT_EQ(sluice_session_eval(session, tokens.data(), 1, nullptr, &library.error), SLUICE_OK);
  sluice_session_destroy(session);
}

/// From another thread, whenever that is: what was stopped can be done again, with the same bits.
TEST(CLibrary, AnAbortFromAnotherThreadLosesNothing) {
  Library library;
  sluice_session* const session = library.session();
  const std::vector<sluice_token> tokens = test::some_tokens(200);
  const std::vector<float> expected = test::all_logits({}, tokens);
  std::atomic<bool> over = false;
  std::thread other([&] {
    for (int i = 0; i < 20; ++i) {
      sluice_session_abort(session);
      std::this_thread::yield();
    }
    over = true;
  });
  std::vector<float> all(expected.size());
  sluice_status status = SLUICE_CANCELLED;
  while (status == SLUICE_CANCELLED || !over) {
    ASSERT_EQ(sluice_session_truncate(session, 0, nullptr), SLUICE_OK);
    status = sluice_session_forward(session, tokens.data(), tokens.size(), all.data(), nullptr);
    ASSERT_TRUE(status == SLUICE_OK || status == SLUICE_CANCELLED);
  }
  other.join();
  EXPECT_TRUE(test::same_bits(all, expected));
  sluice_session_destroy(session);
}

TEST(CLibrary, SessionsOfAModelRunOnDifferentThreads) {
  sluice_model_options options{};
  options.sessions = 4;
  Library library(options);
  const std::size_t vocabulary = library.vocabulary();
  std::vector<std::thread> threads;
  std::vector<std::vector<float>> logits(4);
  for (std::uint32_t i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      sluice_session* const session = library.session();
      const std::vector<sluice_token> tokens = test::some_tokens(30, i + 1);
      logits[i].resize(tokens.size() * vocabulary);
      for (std::size_t t = 0; t < tokens.size(); ++t) {
        EXPECT_EQ(sluice_session_forward(session, &tokens[t], 1, logits[i].data() + t * vocabulary,
                                         nullptr),
                  SLUICE_OK);
        sluice_model_stats stats{};
        stats.size = sizeof stats;
        EXPECT_EQ(sluice_model_get_stats(library.model, &stats, nullptr), SLUICE_OK);
      }
      sluice_session_destroy(session);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (std::uint32_t i = 0; i < 4; ++i) {
    EXPECT_TRUE(test::same_bits(logits[i], test::all_logits({}, test::some_tokens(30, i + 1))));
  }
}

TEST(CLibrary, HandlesAreDestroyedInAnyOrder) {
  Library library;
  sluice_session* const session = library.session();
  sluice_runtime_destroy(library.runtime);
  sluice_model_destroy(library.model);
  library.runtime = nullptr;
  library.model = nullptr;
  const sluice_token token = 5;
  EXPECT_EQ(sluice_session_eval(session, &token, 1, nullptr, &library.error), SLUICE_OK)
      << library.error.message;
  sluice_session_destroy(session);
  sluice_session_destroy(nullptr);
  sluice_model_destroy(nullptr);
  sluice_runtime_destroy(nullptr);
  sluice_writer_destroy(nullptr);
  sluice_sampler_destroy(nullptr);
}

TEST(CLibrary, ModelsShareTheBudget) {
  sluice_model_options options{};
  options.ram = std::uint64_t{96} << 20;
  Library library(options, std::uint64_t{300} << 20);
  sluice_model_info info{};
  info.size = sizeof info;
  ASSERT_EQ(sluice_model_get_info(library.model, &info, nullptr), SLUICE_OK);
  EXPECT_LE(info.ram, options.ram);
  // The second one finds what the first has left, and a third nothing worth the name.
  sluice_model* second = nullptr;
  options.size = sizeof options;
  options.context = 256;
  options.ram = 0;
  ASSERT_EQ(sluice_model_open(library.runtime, test::bundled_model().c_str(), &options, &second,
                              &library.error),
            SLUICE_OK)
      << library.error.message;
  options.ram = std::uint64_t{4} << 20;
  sluice_model* third = nullptr;
  EXPECT_EQ(sluice_model_open(library.runtime, test::bundled_model().c_str(), &options, &third,
                              &library.error),
            SLUICE_BUDGET);
  EXPECT_EQ(third, nullptr);
  sluice_model_destroy(second);
}

TEST(CLibrary, OpeningTellsHowFarItIsAndStops) {
  Library library;
  double last = 0;
  sluice_model_options options{};
  options.size = sizeof options;
  options.context = 64;
  options.progress = [](void* data, double done) {
    double& before = *static_cast<double*>(data);
    EXPECT_GE(done, before);
    before = done;
    return 0;
  };
  options.progress_data = &last;
  sluice_runtime* runtime = nullptr;
  ASSERT_EQ(sluice_runtime_create(nullptr, &runtime, nullptr), SLUICE_OK);
  sluice_model* model = nullptr;
  ASSERT_EQ(sluice_model_open(runtime, test::bundled_model().c_str(), &options, &model, nullptr),
            SLUICE_OK);
  EXPECT_GT(last, 0.5);
  EXPECT_LE(last, 1.0);
  sluice_model_destroy(model);
  options.progress = [](void*, double) { return 1; };
  model = nullptr;
  EXPECT_EQ(sluice_model_open(runtime, test::bundled_model().c_str(), &options, &model, nullptr),
            SLUICE_CANCELLED);
  EXPECT_EQ(model, nullptr);
  sluice_runtime_destroy(runtime);
}

TEST(CLibrary, OptionsOfOtherVersionsAreTakenOrRefused) {
  // Built against an older header, whose struct ended early.
  sluice_runtime_options older{};
  older.size = offsetof(sluice_runtime_options, reader);
  older.reader = reinterpret_cast<const char*>(1);  // is not looked at
  sluice_error error{};
  sluice_runtime* runtime = nullptr;
  ASSERT_EQ(sluice_runtime_create(&older, &runtime, &error), SLUICE_OK) << error.message;
  sluice_runtime_destroy(runtime);
  // Built against a newer one: zeros mean what they always meant, anything else is not known.
  struct Newer {
    sluice_runtime_options known;
    std::uint64_t more;
  } newer{};
  newer.known.size = sizeof newer;
  ASSERT_EQ(sluice_runtime_create(&newer.known, &runtime, &error), SLUICE_OK) << error.message;
  sluice_runtime_destroy(runtime);
  newer.more = 1;
  EXPECT_EQ(sluice_runtime_create(&newer.known, &runtime, &error), SLUICE_UNSUPPORTED);
  sluice_runtime_options unset{};
  EXPECT_EQ(sluice_runtime_create(&unset, &runtime, &error), SLUICE_INVALID_ARGUMENT);
  EXPECT_NE(std::string(error.message).find("size"), std::string::npos);
}

TEST(CLibrary, WhatIsWrongIsSaid) {
  Library library;
  sluice_error& error = library.error;
  const auto expect = [&](sluice_status status, sluice_status wanted, const std::string& word) {
    EXPECT_EQ(status, wanted) << error.message;
    EXPECT_EQ(error.code, wanted);
    EXPECT_NE(std::string(error.message).find(word), std::string::npos) << error.message;
  };
  sluice_model* model = nullptr;
  sluice_session* session = nullptr;
  sluice_sampler* sampler = nullptr;
  std::size_t count = 0;
  expect(sluice_model_open(nullptr, "x", nullptr, &model, &error), SLUICE_INVALID_ARGUMENT,
         "runtime");
  expect(sluice_model_open(library.runtime, "/nowhere/at.gguf", nullptr, &model, &error),
         SLUICE_NOT_FOUND, "/nowhere/at.gguf");
  sluice_model_options options{};
  options.size = sizeof options;
  const std::string path = test::bundled_model();
  options.kv = "f8";
  expect(sluice_model_open(library.runtime, path.c_str(), &options, &model, &error),
         SLUICE_INVALID_ARGUMENT, "f8");
  options.kv = nullptr;
  options.policy = "best";
  expect(sluice_model_open(library.runtime, path.c_str(), &options, &model, &error),
         SLUICE_INVALID_ARGUMENT, "best");
  options.policy = nullptr;
  options.width = "fat";
  expect(sluice_model_open(library.runtime, path.c_str(), &options, &model, &error),
         SLUICE_INVALID_ARGUMENT, "fat");
  expect(sluice_tokenize(library.model, nullptr, 3, 0, nullptr, 0, &count, &error),
         SLUICE_INVALID_ARGUMENT, "text");
  expect(sluice_tokenize(library.model, "a", 1, 64, nullptr, 0, &count, &error),
         SLUICE_INVALID_ARGUMENT, "flags");
  sluice_session_options longer{};
  longer.size = sizeof longer;
  longer.context = 257;
  expect(sluice_session_create(library.model, &longer, &session, &error), SLUICE_INVALID_ARGUMENT,
         "256");
  sluice_sampler_options sampling{};
  sampling.size = sizeof sampling;
  sampling.temperature = -1;
  expect(sluice_sampler_create(&sampling, &sampler, &error), SLUICE_INVALID_ARGUMENT,
         "temperature");
  session = library.session();
  const sluice_token none = 1 << 30;
  expect(sluice_session_eval(session, &none, 1, nullptr, &error), SLUICE_INVALID_ARGUMENT,
         "vocabulary");
  const std::vector<sluice_token> many(300, 5);
  expect(sluice_session_eval(session, many.data(), many.size(), nullptr, &error),
         SLUICE_INVALID_ARGUMENT, "context");
  sluice_writer* writer = nullptr;
  expect(sluice_writer_create(session, nullptr, 0, nullptr, &writer, &error),
         SLUICE_INVALID_ARGUMENT, "prompt");
  // A success leaves nothing of an earlier error.
  EXPECT_EQ(sluice_session_truncate(session, 0, &error), SLUICE_OK);
  EXPECT_EQ(error.code, SLUICE_OK);
  EXPECT_STREQ(error.message, "");
  sluice_session_destroy(session);
}

TEST(CLibrary, NamesOfStatusesAndAVersion) {
  EXPECT_STREQ(sluice_status_name(SLUICE_OK), "ok");
  EXPECT_STREQ(sluice_status_name(SLUICE_BUDGET), "budget");
  EXPECT_STREQ(sluice_status_name(4711), "unknown");
  int major = -1, minor = -1, patch = -1;
  EXPECT_EQ(std::sscanf(sluice_version(), "%d.%d.%d", &major, &minor, &patch), 3);
}

}  // namespace
}  // namespace sluice
