// sluice bench: prefill and decode speed on random tokens.

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <random>

#include "apps/cancel.h"
#include "apps/ceilings.h"
#include "apps/options.h"
#include "apps/report.h"
#include "engine/session.h"

namespace sluice::apps {
namespace {

struct BenchOptions {
  CommonOptions common;
  std::uint32_t prompt = 512;
  std::uint32_t decode = 128;
  std::uint32_t repetitions = 5;
  std::uint64_t seed = 1;
  bool no_ceilings = false;
};

struct Rates {
  std::vector<double> tokens_per_second;
  double median() const {
    std::vector<double> sorted = tokens_per_second;
    std::sort(sorted.begin(), sorted.end());
    const std::size_t middle = sorted.size() / 2;
    return sorted.size() % 2 != 0 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  }
  nlohmann::json json() const {
    const auto [least, most] =
        std::minmax_element(tokens_per_second.begin(), tokens_per_second.end());
    return {{"tok_s", median()}, {"min", *least}, {"max", *most}};
  }
};

class Bench {
 public:
  Bench(Model& model, const BenchOptions& options)
      : model_(model), options_(options), session_(model), random_(options.seed) {}

  Status run() {
    // One round that is not counted: it fills the cache and wakes the threads.
    for (std::uint32_t round = 0; round <= options_.repetitions; ++round) {
      SLUICE_TRY(phase(options_.prompt, options_.prompt, round > 0, prefill, prefill_experts,
                       prefill_seconds));
      SLUICE_TRY(phase(options_.decode, 1, round > 0, decode, decode_experts, decode_seconds));
      session_.truncate(0);
    }
    return {};
  }

  Rates prefill, decode;
  ExpertStatistics prefill_experts, decode_experts;
  double prefill_seconds = 0, decode_seconds = 0;

 private:
  /// `count` random tokens, `step` at a time.
  Status phase(std::uint32_t count, std::uint32_t step, bool counted, Rates& rates,
               ExpertStatistics& experts, double& seconds) {
    if (count == 0) return {};
    const ExpertStatistics before = model_.expert_statistics();
    const auto start = std::chrono::steady_clock::now();
    std::vector<TokenId> tokens(step);
    for (std::uint32_t done = 0; done < count; done += step) {
      for (TokenId& token : tokens)
        token = static_cast<TokenId>(random_() % model_.description().vocabulary);
      Status sound;
      const LogitsSink check = [&](std::size_t, std::span<const float> logits) {
        sound = check_logits(logits, session_.length() + step - 1, model_);
      };
      SLUICE_TRY(
          session_.eval(tokens, Session::Logits::kLast, check, {.cancel = &cancel_requested()}));
      SLUICE_TRY(sound);
    }
    if (!counted) return {};
    const double elapsed =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    rates.tokens_per_second.push_back(count / elapsed);
    seconds += elapsed;
    experts += model_.expert_statistics() - before;
    return {};
  }

  Model& model_;
  const BenchOptions& options_;
  Session session_;
  std::mt19937_64 random_;
};

nlohmann::json phase_json(const Rates& rates, const ExpertStatistics& experts, double seconds) {
  nlohmann::json json = rates.json();
  json["seconds"] = seconds;
  json["experts"] = experts_json(experts);
  return json;
}

Status bench(BenchOptions& options) {
  if (options.prompt + options.decode == 0)
    return Status(ErrorCode::kInvalidArgument, "-p 0 and -n 0 leave nothing to measure");
  if (options.common.context == 0) options.common.context = options.prompt + options.decode;
  SLUICE_ASSIGN(const std::unique_ptr<Runtime> runtime, options.common.create_runtime());
  SLUICE_ASSIGN(ModelOutline outline, ModelOutline::open(options.common.model));
  Ceilings ceilings;
  if (!options.no_ceilings) {
    SLUICE_ASSIGN(ceilings, measure_ceilings(*runtime, outline.checkpoint, cancel_requested()));
  }
  SLUICE_ASSIGN(const std::unique_ptr<Model> model,
                load_model(*runtime, std::move(outline), options.common.model_options()));
  warn_of_context(model->plan().context, model->description());
  SLUICE_TRY(check_context(std::size_t{options.prompt} + options.decode, *model));
  Bench measured(*model, options);
  SLUICE_TRY(measured.run());

  if (options.common.json) {
    nlohmann::json json{
        {"ceilings",
         {{"ram_read_gbs", ceilings.ram_read_gbs}, {"disk_read_gbs", ceilings.disk_read_gbs}}},
        {"threads", runtime->threads()},
        {"compute", runtime->compute().name()},
        {"reader", runtime->reader().info().name}};
    add_use(json, *model);
    if (options.prompt != 0)
      json["prefill"] =
          phase_json(measured.prefill, measured.prefill_experts, measured.prefill_seconds);
    if (options.decode != 0)
      json["decode"] =
          phase_json(measured.decode, measured.decode_experts, measured.decode_seconds);
    print_json(json);
  } else {
    if (options.prompt != 0)
      fmt::print("prefill {:10.2f} tokens/s (median of {}, {} tokens)\n", measured.prefill.median(),
                 options.repetitions, options.prompt);
    if (options.decode != 0)
      fmt::print("decode  {:10.2f} tokens/s (median of {}, {} tokens)\n", measured.decode.median(),
                 options.repetitions, options.decode);
    fmt::print("ceilings: memory {:.1f} GB/s, disk {:.2f} GB/s\n", ceilings.ram_read_gbs,
               ceilings.disk_read_gbs);
  }
  if (options.common.stats) print_statistics(*model);
  return {};
}

}  // namespace

Verb add_bench(CLI::App& root) {
  auto options = std::make_shared<BenchOptions>();
  CLI::App* app = root.add_subcommand("bench", "Prefill and decode speed");
  options->common.add_to(*app, true);
  app->add_option("-p,--prompt-tokens", options->prompt, "Tokens to prefill")
      ->capture_default_str();
  app->add_option("-n,--n", options->decode, "Tokens to decode")->capture_default_str();
  app->add_option("-r,--repetitions", options->repetitions, "Rounds; medians are reported")
      ->check(CLI::Range(1u, 1000u))
      ->capture_default_str();
  app->add_option("--seed", options->seed, "Of the random tokens")->capture_default_str();
  app->add_flag("--no-ceilings", options->no_ceilings,
                "Do not measure the machine's memory and disk first");
  return {app, [options] { return bench(*options); }};
}

}  // namespace sluice::apps
