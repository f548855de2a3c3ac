#include "capi/handles.h"

using namespace sluice;        // NOLINT: an entry point is not of any namespace
using namespace sluice::capi;  // NOLINT

struct sluice_sampler {
  explicit sluice_sampler(const SamplerOptions& options) : sampler(options) {}
  Sampler sampler;
  std::mutex busy;
};

namespace sluice::capi {

SamplerOptions sampler_options(const sluice_sampler_options& given) {
  SamplerOptions made;
  made.temperature = given.temperature;
  made.top_k = given.top_k;
  if (given.top_p != 0) made.top_p = given.top_p;
  made.min_p = given.min_p;
  if (given.repeat_penalty != 0) made.repeat_penalty = given.repeat_penalty;
  if (given.repeat_window != 0) made.repeat_window = given.repeat_window;
  made.seed = given.seed;
  return made;
}

}  // namespace sluice::capi

sluice_status sluice_sampler_create(const sluice_sampler_options* options, sluice_sampler** sampler,
                                    sluice_error* error) {
  return guard(error, [&]() -> Status {
    SLUICE_TRY(expect(sampler, "sampler"));
    SLUICE_ASSIGN(const sluice_sampler_options given, take_options(options));
    const SamplerOptions checked = sampler_options(given);
    SLUICE_TRY(checked.check());
    *sampler = std::make_unique<sluice_sampler>(checked).release();
    return {};
  });
}

void sluice_sampler_destroy(sluice_sampler* sampler) { delete sampler; }

sluice_status sluice_sampler_sample(sluice_sampler* sampler, const float* logits, size_t vocabulary,
                                    const sluice_token* history, size_t history_count,
                                    sluice_token* token, sluice_error* error) {
  return guard(error, [&]() -> Status {
    SLUICE_TRY(expect(sampler, "sampler"));
    SLUICE_TRY(expect(logits, "logits"));
    SLUICE_TRY(expect(token, "token"));
    if (history_count > 0) SLUICE_TRY(expect(history, "history"));
    if (vocabulary == 0) return invalid("there are no logits");
    const std::unique_lock lock(sampler->busy, std::try_to_lock);
    if (!lock.owns_lock()) {
      return invalid("the sampler is in use on another thread: one at a time");
    }
    *token = sampler->sampler.sample({logits, vocabulary}, {history, history_count});
    return {};
  });
}
