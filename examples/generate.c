/* Continues a prompt, greedily:  generate MODEL PROMPT [TOKENS [RAM_BYTES]] */
#include <sluice.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int fail(const char *what, const sluice_error *error) {
  fprintf(stderr, "%s: %s (%s)\n", what, error->message, sluice_status_name(error->code));
  return 1;
}

static int write_text(sluice_model *model, sluice_session *session, const char *prompt,
                      unsigned tokens) {
  sluice_error error;
  sluice_token *ids = NULL;
  sluice_writer *writer = NULL;
  sluice_writer_options options;
  sluice_piece piece;
  size_t count = 0;
  int failed = 0;

  if (sluice_tokenize(model, prompt, SLUICE_ENDS_WITH_ZERO, SLUICE_TEXT_ADD_SPECIAL, NULL, 0,
                      &count, &error) != SLUICE_OK)
    return fail("tokenize", &error);
  ids = malloc(count * sizeof *ids + 1);
  if (ids == NULL) return 1;
  sluice_tokenize(model, prompt, SLUICE_ENDS_WITH_ZERO, SLUICE_TEXT_ADD_SPECIAL, ids, count, &count,
                  &error);

  memset(&options, 0, sizeof options);
  options.size = sizeof options;
  options.max_tokens = tokens;
  if (sluice_writer_create(session, ids, count, &options, &writer, &error) != SLUICE_OK)
    failed = fail("writer", &error);
  memset(&piece, 0, sizeof piece);
  piece.size = sizeof piece;
  fputs(prompt, stdout);
  while (!failed && piece.stop == SLUICE_STOP_NONE) {
    if (sluice_writer_next(writer, &piece, &error) != SLUICE_OK)
      failed = fail("next", &error);
    else
      fwrite(piece.text, 1, piece.length, stdout);
    fflush(stdout);
  }
  fputs("\n", stdout);
  sluice_writer_destroy(writer);
  free(ids);
  return failed;
}

int main(int argc, char **argv) {
  sluice_runtime_options runtime_options;
  sluice_runtime *runtime = NULL;
  sluice_model *model = NULL;
  sluice_session *session = NULL;
  sluice_error error;
  int failed = 0;

  if (argc < 3) {
    fprintf(stderr, "usage: %s MODEL PROMPT [TOKENS [RAM_BYTES]]\n", argv[0]);
    return 2;
  }
  memset(&runtime_options, 0, sizeof runtime_options);
  runtime_options.size = sizeof runtime_options;
  if (argc > 4) runtime_options.ram = strtoull(argv[4], NULL, 10);

  if (sluice_runtime_create(&runtime_options, &runtime, &error) != SLUICE_OK)
    failed = fail("runtime", &error);
  else if (sluice_model_open(runtime, argv[1], NULL, &model, &error) != SLUICE_OK)
    failed = fail("model", &error);
  else if (sluice_session_create(model, NULL, &session, &error) != SLUICE_OK)
    failed = fail("session", &error);
  else
    failed = write_text(model, session, argv[2], argc > 3 ? (unsigned)atoi(argv[3]) : 32);

  sluice_session_destroy(session);
  sluice_model_destroy(model);
  sluice_runtime_destroy(runtime);
  return failed;
}
