/* Several texts step together, a token of each at a time, greedily:  batch MODEL PROMPT PROMPT … */
#include <sluice.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_TEXTS = 16, MOST_TOKENS = 512, NEW_TOKENS = 16 };

struct text {
  sluice_session *session;
  sluice_token tokens[MOST_TOKENS];
  size_t count, done; /* tokens there are, and those that the session has */
  float *logits;
};

static int fail(const char *what, const sluice_error *error) {
  fprintf(stderr, "%s: %s (%s)\n", what, error->message, sluice_status_name(error->code));
  return 1;
}

/* Every text's next tokens are computed in one step, and one is chosen for each. */
static int step(struct text *texts, size_t count, size_t vocabulary, sluice_sampler *greedy) {
  sluice_batch_item items[MOST_TEXTS];
  sluice_error error, errors[MOST_TEXTS];
  size_t i;
  memset(items, 0, sizeof items);
  for (i = 0; i < count; ++i) {
    items[i].session = texts[i].session;
    items[i].tokens = texts[i].tokens + texts[i].done;
    items[i].count = texts[i].count - texts[i].done;
    items[i].logits = texts[i].logits;
    items[i].error = &errors[i];
  }
  if (sluice_batch_eval(items, count, sizeof items[0], &error) != SLUICE_OK)
    return fail("batch", &error);
  for (i = 0; i < count; ++i) {
    if (items[i].status != SLUICE_OK) return fail("a text", &errors[i]);
    texts[i].done = texts[i].count;
    if (sluice_sampler_sample(greedy, texts[i].logits, vocabulary, texts[i].tokens, texts[i].count,
                              &texts[i].tokens[texts[i].count], &error) != SLUICE_OK)
      return fail("sample", &error);
    texts[i].count += 1;
  }
  return 0;
}

static int print(sluice_model *model, const struct text *text) {
  char written[8192];
  size_t length = 0;
  sluice_error error;
  if (sluice_detokenize(model, text->tokens, text->count, SLUICE_TEXT_PLAIN, written,
                        sizeof written, &length, &error) != SLUICE_OK)
    return fail("detokenize", &error);
  printf("%s\n", written);
  return 0;
}

int main(int argc, char **argv) {
  static struct text texts[MOST_TEXTS];
  sluice_model_options options;
  sluice_model_info info;
  sluice_runtime *runtime = NULL;
  sluice_model *model = NULL;
  sluice_sampler *greedy = NULL;
  sluice_error error;
  size_t count = (size_t)(argc > 2 ? argc - 2 : 0), i;
  int failed = 0, n;

  if (count == 0 || count > MOST_TEXTS) {
    fprintf(stderr, "usage: %s MODEL PROMPT … (1 to %d)\n", argv[0], MOST_TEXTS);
    return 2;
  }
  memset(&options, 0, sizeof options);
  options.size = sizeof options;
  options.context = MOST_TOKENS;
  options.sessions = (uint32_t)count;
  memset(&info, 0, sizeof info);
  info.size = sizeof info;
  if (sluice_runtime_create(NULL, &runtime, &error) != SLUICE_OK ||
      sluice_model_open(runtime, argv[1], &options, &model, &error) != SLUICE_OK ||
      sluice_model_get_info(model, &info, &error) != SLUICE_OK ||
      sluice_sampler_create(NULL, &greedy, &error) != SLUICE_OK)
    failed = fail("open", &error);
  for (i = 0; i < count && !failed; ++i) {
    texts[i].logits = malloc(info.vocabulary * sizeof(float));
    if (texts[i].logits == NULL ||
        sluice_session_create(model, NULL, &texts[i].session, &error) != SLUICE_OK ||
        sluice_tokenize(model, argv[2 + i], SLUICE_ENDS_WITH_ZERO, SLUICE_TEXT_ADD_SPECIAL,
                        texts[i].tokens, MOST_TOKENS - NEW_TOKENS, &texts[i].count,
                        &error) != SLUICE_OK)
      failed = fail("begin", &error);
    else if (texts[i].count > MOST_TOKENS - NEW_TOKENS)
      failed = fprintf(stderr, "prompt %d is too long\n", (int)i + 1);
  }
  for (n = 0; n < NEW_TOKENS && !failed; ++n) failed = step(texts, count, info.vocabulary, greedy);
  for (i = 0; i < count && !failed; ++i) failed = print(model, &texts[i]);

  for (i = 0; i < count; ++i) {
    sluice_session_destroy(texts[i].session);
    free(texts[i].logits);
  }
  sluice_sampler_destroy(greedy);
  sluice_model_destroy(model);
  sluice_runtime_destroy(runtime);
  return failed != 0;
}
