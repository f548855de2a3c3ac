/* Sluice as a C library: mixture-of-experts language models whose experts stay on disk.
 *
 *     sluice_runtime   processors, disk reader and memory budget
 *     sluice_model     an opened checkpoint: weights, tokenizer, expert cache
 *     sluice_session   one sequence of tokens and what the model keeps of it
 *     sluice_writer    a session's continuation, token by token
 *
 * Conventions
 *
 * - Calls that can fail return a sluice_status and, where `error` is not NULL, say why in it. On an
 *   error nothing is written through the other pointers, unless a call says otherwise. Nothing here
 *   throws, prints or ends the process.
 * - What a call creates the caller destroys, in any order: a model lives as long as its sessions
 *   need it, whatever the caller has destroyed. Destroying NULL does nothing.
 * - Structs of options begin with their own size and mean the usual with zeros:
 *       sluice_model_options options = {.size = sizeof options, .context = 4096};
 *   A program that was built against an older library keeps working with a newer one. Where a
 *   pointer to options may be NULL, that is all zeros.
 * - Texts are UTF-8. `length` is in bytes, and terminating zeros are not counted; a length of
 *   SLUICE_ENDS_WITH_ZERO asks for the zero to be found. Texts that come back are written to the
 *   caller's memory, as much of them as `capacity` bytes hold, with a terminating zero if there is
 *   room; `*length` is that of the whole, so that a capacity of 0 asks for it.
 * - Threads: a runtime and a model may be used from any number of threads at once. A session, a
 *   writer or a sampler is for one thread at a time: a second one is refused with
 *   SLUICE_INVALID_ARGUMENT. sluice_session_abort is for any thread at any time.
 *
 * Logits are the same to the bit whatever the budget, the thread count and the batch. */
#ifndef SLUICE_H
#define SLUICE_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define SLUICE_API __attribute__((visibility("default")))
#else
#define SLUICE_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define SLUICE_ENDS_WITH_ZERO ((size_t)-1)

typedef struct sluice_runtime sluice_runtime;
typedef struct sluice_model sluice_model;
typedef struct sluice_session sluice_session;
typedef struct sluice_sampler sluice_sampler;
typedef struct sluice_writer sluice_writer;

typedef int32_t sluice_token;

/* An int32_t, so that its size is nobody's choice. */
typedef int32_t sluice_status;
enum {
  SLUICE_OK = 0,
  SLUICE_INVALID_ARGUMENT = 1, /* asked for something that cannot be */
  SLUICE_NOT_FOUND = 2,        /* a file, tensor or key is not there */
  SLUICE_CORRUPT = 3,          /* a file's contents contradict its format */
  SLUICE_UNSUPPORTED = 4,      /* valid, but nothing that this build can do */
  SLUICE_IO = 5,               /* the operating system refused or failed */
  SLUICE_BUDGET = 6,           /* does not fit into the memory budget */
  SLUICE_CANCELLED = 7,        /* stopped on request */
  SLUICE_DEVICE_LOST = 8,      /* a device failed */
  SLUICE_INTERNAL = 9          /* a promise inside Sluice was broken: a bug */
};

/* Filled by value; nothing is to be freed. */
typedef struct sluice_error {
  sluice_status code;
  char message[1020]; /* what, why and, where there is one, the remedy; cut if it is longer */
} sluice_error;

/* "0.1.0": major.minor.patch. Static. */
SLUICE_API const char *sluice_version(void);
/* "budget", "not found" …; "unknown" for what is none. Static. */
SLUICE_API const char *sluice_status_name(sluice_status status);

/* ---- runtime ---------------------------------------------------------------------------------- */

typedef struct sluice_runtime_options {
  size_t size;
  uint64_t ram;     /* bytes for all that Sluice allocates; 0: what is free now under every control
                       group's limit, less a margin */
  uint64_t vram;    /* bytes of each GPU's memory, at most; 0: no GPU is used */
  uint32_t threads; /* that compute; 0: as many processors as this process may use */
  uint32_t reserved;
  const char *reader;        /* "auto" (NULL), "uring" or "pread": how experts are read */
  const char *machine_costs; /* a file that keeps what experts take on this machine's processors, for
                                later runs; NULL: none */
} sluice_runtime_options;

SLUICE_API sluice_status sluice_runtime_create(const sluice_runtime_options *options,
                                               sluice_runtime **runtime, sluice_error *error);
SLUICE_API void sluice_runtime_destroy(sluice_runtime *runtime);

/* ---- model ------------------------------------------------------------------------------------ */

/* Told now and then, on the calling thread, how much is done: 0 to 1. Stops it unless 0 is
 * returned. */
typedef int (*sluice_progress)(void *data, double done);

typedef struct sluice_model_options {
  size_t size;
  uint64_t ram;         /* of the runtime's budget, at most; 0: what other models have left of it */
  uint32_t context;     /* tokens of one session, at most; 0: what the model supports, at most 8192,
                           less where the budget is small */
  uint32_t sessions;    /* whole contexts that the budget is to hold at one time; 0: one */
  const char *kv;       /* keys and values in "f16" (NULL), "f32" or "q8_0" */
  const char *compute;  /* quantised weights meet activations of 8 bits, "q8" (NULL), or "f32" */
  const char *policy;   /* which experts leave memory first: "auto" (NULL), "lru", "lfu" … */
  const char *predict;  /* what foretells experts: "auto" (NULL), "off" … */
  const char *calibration; /* a file of 'sluice calibrate'; NULL: the one beside the model, if there
                              is one; "": none */
  const char *width;    /* bits of experts in nested stores: "exact" (NULL), "auto" or a number */
  uint32_t max_rows;    /* tokens in one pass, at most; 0: as the budget allows */
  float skip;           /* approximations, 0 (none) to 1: leave weak experts out … */
  float prefer_resident; /* … and take those in memory instead of others that weigh alike */
  uint32_t reserved;
  sluice_progress progress; /* of opening; NULL: nobody wants to know */
  void *progress_data;
} sluice_model_options;

/* `path`: a .gguf file (the first of a split set), a Hugging Face folder, or a Sluice store (.slc).
 * Models of a runtime share its budget. SLUICE_BUDGET names the smallest `ram` that works. */
SLUICE_API sluice_status sluice_model_open(sluice_runtime *runtime, const char *path,
                                           const sluice_model_options *options,
                                           sluice_model **model, sluice_error *error);
SLUICE_API void sluice_model_destroy(sluice_model *model);

typedef struct sluice_model_info {
  size_t size;
  uint32_t vocabulary; /* logits of a row */
  uint32_t context;    /* tokens of one session, at most */
  uint32_t layers;
  uint32_t hidden;
  uint32_t experts;       /* of a layer; 0: the model has none */
  uint32_t experts_used;  /* of a token in a layer */
  uint32_t max_rows;      /* tokens in one pass */
  uint32_t has_tokenizer; /* else texts are refused, with the reason, and ids work */
  uint64_t ram; /* bytes that the model takes of the budget, those below among them */
  uint64_t dense_bytes, kv_bytes, scratch_bytes, cache_bytes;
  uint64_t expert_bytes; /* of all experts, wherever they are */
} sluice_model_info;

/* `info->size` says how much of it there is to fill. */
SLUICE_API sluice_status sluice_model_get_info(const sluice_model *model, sluice_model_info *info,
                                               sluice_error *error);

/* Of all sessions since the model was opened. */
typedef struct sluice_model_stats {
  size_t size;
  uint64_t expert_requests;   /* experts that layers wanted, */
  uint64_t expert_hits;       /* of these, those in memory when they were wanted */
  uint64_t expert_loads;      /* reads of an expert, in vain ones too */
  uint64_t expert_bytes_read; /* of these */
  double expert_wait_seconds; /* that passes waited for the disk */
  uint64_t gpu_experts;       /* of the requests, those that a GPU computed rows of */
} sluice_model_stats;

SLUICE_API sluice_status sluice_model_get_stats(const sluice_model *model,
                                                sluice_model_stats *stats, sluice_error *error);

/* ---- texts ------------------------------------------------------------------------------------ */

enum {
  SLUICE_TEXT_PLAIN = 0,
  SLUICE_TEXT_ADD_SPECIAL = 1,  /* tokenize: BOS and EOS where the model wants them */
  SLUICE_TEXT_PARSE_SPECIAL = 2 /* tokenize: control tokens written in the text become their ids;
                                   detokenize: control tokens are written */
};

/* Writes at most `capacity` ids; `*count` is how many there are. `tokens` may be NULL if `capacity`
 * is 0. */
SLUICE_API sluice_status sluice_tokenize(const sluice_model *model, const char *text, size_t length,
                                         int32_t flags, sluice_token *tokens, size_t capacity,
                                         size_t *count, sluice_error *error);
/* The reverse. Bytes that are no UTF-8 come back as they are. */
SLUICE_API sluice_status sluice_detokenize(const sluice_model *model, const sluice_token *tokens,
                                           size_t count, int32_t flags, char *text, size_t capacity,
                                           size_t *length, sluice_error *error);
/* 1 for tokens that end a generation, else 0. */
SLUICE_API int32_t sluice_token_ends(const sluice_model *model, sluice_token token);

/* The prompt that a conversation makes, by the model's chat template. `conversation`: JSON, an
 * object with "messages" and whatever else the template reads ("tools", "add_generation_prompt",
 * "enable_thinking" …), as apply_chat_template of Hugging Face Transformers takes them.
 * `chat_template`: Jinja to use in place of the model's own; NULL: that. */
SLUICE_API sluice_status sluice_render_chat(const sluice_model *model, const char *conversation,
                                            size_t conversation_length, const char *chat_template,
                                            char *text, size_t capacity, size_t *length,
                                            sluice_error *error);

/* ---- session ---------------------------------------------------------------------------------- */

typedef struct sluice_session_options {
  size_t size;
  uint32_t context; /* tokens, at most the model's; 0: as many as that */
  uint32_t reserved;
} sluice_session_options;

SLUICE_API sluice_status sluice_session_create(sluice_model *model,
                                               const sluice_session_options *options,
                                               sluice_session **session, sluice_error *error);
SLUICE_API void sluice_session_destroy(sluice_session *session);

/* Appends tokens and computes. `*logits` (unless `logits` is NULL): `[vocabulary]` floats of the
 * last one, the session's own, valid until the next call that computes with it. After an error the
 * session is as it was. */
SLUICE_API sluice_status sluice_session_eval(sluice_session *session, const sluice_token *tokens,
                                             size_t count, const float **logits,
                                             sluice_error *error);
/* The same with the logits of all tokens, `[count, vocabulary]` floats, written to the caller's
 * memory. After an error there may be some in it. */
SLUICE_API sluice_status sluice_session_forward(sluice_session *session, const sluice_token *tokens,
                                                size_t count, float *logits, sluice_error *error);

/* Tokens so far. */
SLUICE_API size_t sluice_session_length(const sluice_session *session);
/* Forgets all but the first `length` of them. */
SLUICE_API sluice_status sluice_session_truncate(sluice_session *session, size_t length,
                                                 sluice_error *error);
/* Forgets all but what `tokens` begins with, too, less its last token; `*kept` of them are left, so
 * that `tokens + *kept` is what is to be evaluated. */
SLUICE_API sluice_status sluice_session_keep_prefix(sluice_session *session,
                                                    const sluice_token *tokens, size_t count,
                                                    size_t *kept, sluice_error *error);

/* Whatever the session computes stops between two layers with SLUICE_CANCELLED. If it computes
 * nothing now, the next thing does: one call is stopped for one or more aborts before its end. */
SLUICE_API void sluice_session_abort(sluice_session *session);
/* An abort that has stopped nothing yet stops nothing. For any thread, too. */
SLUICE_API void sluice_session_forget_abort(sluice_session *session);

typedef struct sluice_session_stats {
  size_t size;
  uint64_t evaluated;      /* tokens computed */
  uint64_t calls;          /* that computed them */
  double seconds;          /* of these */
  uint64_t decoded;        /* tokens that were computed one at a time */
  double decode_seconds;
} sluice_session_stats;

SLUICE_API sluice_status sluice_session_get_stats(const sluice_session *session,
                                                  sluice_session_stats *stats, sluice_error *error);

/* ---- batch ------------------------------------------------------------------------------------ */

/* What one session of a batch is to do, and what became of it. */
typedef struct sluice_batch_item {
  sluice_session *session;
  const sluice_token *tokens; /* [count] */
  size_t count;
  float *logits;      /* caller's: [vocabulary] of the last token, or [count, vocabulary]; NULL: none
                         are wanted */
  int32_t all_logits; /* not 0: of all tokens */
  sluice_status status; /* written */
  sluice_error *error;  /* NULL, or where to say why */
} sluice_batch_item;

/* Sessions of one model, each once, step together: experts that several want are read and
 * multiplied once. Each gets what it would get alone, errors too. Returns SLUICE_OK where every item
 * was tried, whatever became of it. `item_size`: sizeof(sluice_batch_item). */
SLUICE_API sluice_status sluice_batch_eval(sluice_batch_item *items, size_t count, size_t item_size,
                                           sluice_error *error);

/* ---- sampler ---------------------------------------------------------------------------------- */

typedef struct sluice_sampler_options {
  size_t size;
  float temperature;      /* 0: greedy, the highest logit (of equal ones the lower id) */
  uint32_t top_k;         /* 0: all */
  float top_p;            /* 0: all, like 1 */
  float min_p;
  float repeat_penalty;   /* of tokens among the last `repeat_window`; 0: none, like 1 */
  uint32_t repeat_window; /* 0: 64 */
  uint64_t seed;
} sluice_sampler_options;

SLUICE_API sluice_status sluice_sampler_create(const sluice_sampler_options *options,
                                               sluice_sampler **sampler, sluice_error *error);
SLUICE_API void sluice_sampler_destroy(sluice_sampler *sampler);
/* `logits` `[vocabulary]`; `history` `[history_count]`, newest last, may be NULL if there is none.
 * The same options, logits and history give the same tokens on every machine. */
SLUICE_API sluice_status sluice_sampler_sample(sluice_sampler *sampler, const float *logits,
                                               size_t vocabulary, const sluice_token *history,
                                               size_t history_count, sluice_token *token,
                                               sluice_error *error);

/* ---- writer ----------------------------------------------------------------------------------- */

enum {
  SLUICE_STOP_NONE = 0,         /* it goes on */
  SLUICE_STOP_END_OF_TEXT = 1,  /* the model ended it */
  SLUICE_STOP_STRING = 2,       /* one of `stop` was met */
  SLUICE_STOP_MAX_TOKENS = 3,
  SLUICE_STOP_CONTEXT_FULL = 4
};

typedef struct sluice_writer_options {
  size_t size;
  sluice_sampler_options sampling; /* its `size` may be 0: all zeros */
  uint32_t max_tokens;             /* 0: 256 */
  uint32_t ignore_end;             /* not 0: tokens that end a text do not end this one */
  const char *const *stop;         /* [stop_count]: the text ends before the first of these */
  size_t stop_count;
  uint32_t own_text; /* not 0: an answer and no continuation: the space that a tokenizer puts before a
                        text is not shown */
  uint32_t reserved;
} sluice_writer_options;

/* A continuation of what the session has and of `tokens`, which are appended when the first token is
 * asked for. The session may be destroyed; it is to be used for nothing else meanwhile. */
SLUICE_API sluice_status sluice_writer_create(sluice_session *session, const sluice_token *tokens,
                                              size_t count, const sluice_writer_options *options,
                                              sluice_writer **writer, sluice_error *error);
SLUICE_API void sluice_writer_destroy(sluice_writer *writer);

/* One step of it. */
typedef struct sluice_piece {
  size_t size;
  sluice_token token; /* -1: none was added, the text ended */
  int32_t stop;       /* SLUICE_STOP_… */
  const char *text;   /* whole characters that became certain, maybe none; the writer's, valid until
                         its next step, with a terminating zero */
  size_t length;      /* of it */
} sluice_piece;

/* Computes and chooses the next token. After SLUICE_CANCELLED or another error the step can be asked
 * for again. After the end it is SLUICE_INVALID_ARGUMENT. */
SLUICE_API sluice_status sluice_writer_next(sluice_writer *writer, sluice_piece *piece,
                                            sluice_error *error);

#ifdef __cplusplus
}
#endif

#endif
