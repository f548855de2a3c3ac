/* A long text is computed, and another thread stops it after a while:  abort MODEL [MILLISECONDS]
 * Prints how many tokens there were time for. */
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <sluice.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct stopper {
  sluice_session *session;
  long milliseconds;
};

static void *stop(void *data) {
  const struct stopper *const stopper = data;
  struct timespec time;
  time.tv_sec = stopper->milliseconds / 1000;
  time.tv_nsec = stopper->milliseconds % 1000 * 1000000;
  nanosleep(&time, NULL);
  sluice_session_abort(stopper->session);
  return NULL;
}

int main(int argc, char **argv) {
  sluice_runtime *runtime = NULL;
  sluice_model *model = NULL;
  sluice_model_options options;
  sluice_error error;
  struct stopper stopper;
  pthread_t thread;
  const sluice_token token = 1;
  sluice_status status = SLUICE_OK;
  size_t tokens = 0;

  if (argc < 2) {
    fprintf(stderr, "usage: %s MODEL [MILLISECONDS]\n", argv[0]);
    return 2;
  }
  memset(&stopper, 0, sizeof stopper);
  stopper.milliseconds = argc > 2 ? atol(argv[2]) : 100;
  memset(&options, 0, sizeof options);
  options.size = sizeof options;
  options.context = 256;
  if (sluice_runtime_create(NULL, &runtime, &error) != SLUICE_OK ||
      sluice_model_open(runtime, argv[1], &options, &model, &error) != SLUICE_OK ||
      sluice_session_create(model, NULL, &stopper.session, &error) != SLUICE_OK ||
      pthread_create(&thread, NULL, stop, &stopper) != 0) {
    fprintf(stderr, "%s\n", error.message);
    return 1;
  }
  /* Round and round, for nothing but the abort ends it. */
  while (status == SLUICE_OK) {
    if (sluice_session_length(stopper.session) == options.context)
      sluice_session_truncate(stopper.session, 0, NULL);
    status = sluice_session_eval(stopper.session, &token, 1, NULL, &error);
    if (status == SLUICE_OK) tokens += 1;
  }
  pthread_join(thread, NULL);
  printf("%s after %lu tokens\n", sluice_status_name(status), (unsigned long)tokens);
  sluice_session_destroy(stopper.session);
  sluice_model_destroy(model);
  sluice_runtime_destroy(runtime);
  return status == SLUICE_CANCELLED ? 0 : 1;
}
