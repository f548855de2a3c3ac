// sluice bench: prefill and decode speed on random tokens, under the routing of the model or of a
// recorded one; or how much faster decoding is for what is read ahead.

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <optional>
#include <random>

#include "apps/alternation.h"
#include "apps/bench_phase.h"
#include "apps/cancel.h"
#include "apps/ceilings.h"
#include "apps/options.h"
#include "apps/report.h"
#include "apps/routing_trace_file.h"
#include "apps/trace_script.h"
#include "engine/session.h"

namespace sluice::apps {
namespace {

struct BenchOptions {
  CommonOptions common;
  std::uint32_t prompt = 512;
  std::uint32_t decode = 128;
  std::uint32_t repetitions = 5;
  std::uint64_t seed = 1;
  std::uint32_t alternate = 0;  // tokens of a block; 0: decoding does not alternate
  bool no_ceilings = false;
  std::string routing;      // a trace
  std::string widths_like;  // a log
  double guess_recall = 0.85;
};

class Bench {
 public:
  /// `script`: null where the model's own routers choose.
  Bench(Model& model, const BenchOptions& options, TraceScript* script)
      : model_(model), options_(options), script_(script), session_(model), random_(options.seed) {
    if (options.alternate != 0) alternation.emplace(options.alternate, options.seed);
  }

  Status run() {
    // One round that is not counted: it fills the cache and wakes the threads.
    for (std::uint32_t round = 0; round <= options_.repetitions; ++round) {
      if (script_ != nullptr) script_->begin_prefill();
      SLUICE_ASSIGN(const Stretch prompt, compute(options_.prompt, options_.prompt, true));
      if (round > 0 && options_.prompt != 0)
        prefill.add(options_.prompt, prompt.seconds, prompt.experts);
      if (script_ != nullptr) script_->begin_decode();
      SLUICE_TRY(alternation ? alternate(round > 0) : decode_all(round > 0));
      session_.truncate(0);
    }
    return {};
  }

  BenchPhase prefill, decode;
  std::optional<Alternation> alternation;  // in the place of decode, with --alternate

 private:
  struct Stretch {
    double seconds = 0;
    ExpertStatistics experts;
  };

  Status decode_all(bool counted) {
    SLUICE_ASSIGN(const Stretch answer, compute(options_.decode, 1, true));
    if (counted && options_.decode != 0)
      decode.add(options_.decode, answer.seconds, answer.experts);
    return {};
  }

  Status alternate(bool counted) {
    for (std::uint32_t block = 0; block < options_.decode / options_.alternate; ++block) {
      const bool foretell = alternation->foretells(block);
      SLUICE_ASSIGN(const Stretch done, compute(options_.alternate, 1, foretell));
      if (counted) alternation->add(foretell, done.seconds, done.experts);
    }
    return {};
  }

  /// `count` random tokens, `step` at a time.
  Result<Stretch> compute(std::uint32_t count, std::uint32_t step, bool foretell) {
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
          session_.eval(tokens, Session::Logits::kLast, check,
                        {.cancel = &cancel_requested(), .script = script_, .foretell = foretell}));
      SLUICE_TRY(sound);
    }
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    return Stretch{elapsed.count(), model_.expert_statistics() - before};
  }

  Model& model_;
  const BenchOptions& options_;
  TraceScript* const script_;
  Session session_;
  std::mt19937_64 random_;
};

/// How often all rounds of a phase go over the rows of the trace that they follow, at most.
double repeats_of(const TraceScript& script, const BenchOptions& options) {
  const std::uint64_t rounds = options.repetitions + std::uint64_t{1};
  return script.repeats(rounds * options.prompt, rounds * options.decode);
}

/// Null without --routing.
Result<std::unique_ptr<TraceScript>> read_script(const BenchOptions& options,
                                                 const ModelOutline& outline) {
  if (options.routing.empty()) return std::unique_ptr<TraceScript>();
  const std::size_t rounds = options.repetitions + std::size_t{1};
  SLUICE_ASSIGN(
      std::unique_ptr<TraceScript> script,
      TraceScript::read(options.routing, outline,
                        {.guess_recall = options.guess_recall,
                         .seed = options.seed,
                         .most_rows = rounds * (std::size_t{options.prompt} + options.decode)}));
  const std::size_t layers = outline.catalogue.layers().size();
  if (layers < script->recorded_layers()) {
    spdlog::info("{}: the model has {} layers of experts: it follows the first of {}",
                 options.routing, layers, script->recorded_layers());
  }
  const std::uint32_t experts = outline.description.router.experts;
  if (script->recorded_experts() < experts) {
    spdlog::warn("{}: wants the first {} experts of a layer only; the model has {}",
                 options.routing, script->recorded_experts(), experts);
  }
  if (script->top_k() < outline.description.router.top_k) {
    spdlog::warn(
        "{}: its tokens take {} experts of a layer, and so they do here: the model's own "
        "would take {}",
        options.routing, script->top_k(), outline.description.router.top_k);
  }
  const double repeats = repeats_of(*script, options);
  if (repeats > 1) {
    spdlog::warn(
        "{}: its {} tokens ({} of answers) are followed up to {:.1f} times over: what was "
        "read once is wanted again, and hit rates are too good",
        options.routing, script->prompt_rows() + script->answer_rows(), script->answer_rows(),
        repeats);
  }
  return script;
}

nlohmann::json routing_json(const TraceScript& script, const BenchOptions& options) {
  return {{"trace", options.routing},
          {"guess_recall", options.guess_recall},
          {"layers", script.recorded_layers()},
          {"top_k", script.top_k()},
          {"prompt_rows", script.prompt_rows()},
          {"decode_rows", script.answer_rows()},
          {"repeats", repeats_of(script, options)}};
}

void print_as_json(const Bench& measured, const Ceilings& ceilings, const TraceScript* script,
                   const OpenedModel& opened, const BenchOptions& options) {
  nlohmann::json json{{"ceilings",
                       {{"ram_read_gbs", ceilings.ram_read_gbs},
                        {"disk_read_gbs", ceilings.disk_read_gbs},
                        {"disk_beside_ram_gbs", ceilings.disk_beside_ram_gbs}}},
                      {"threads", opened.runtime->threads()},
                      {"compute", opened.runtime->compute().name()},
                      {"reader", opened.runtime->reader().info().name}};
  if (script != nullptr) json["routing"] = routing_json(*script, options);
  add_use(json, *opened.model);
  if (options.prompt != 0) json["prefill"] = measured.prefill.json();
  if (measured.alternation) {
    json["alternate"] = measured.alternation->json();
  } else if (options.decode != 0) {
    json["decode"] = measured.decode.json();
  }
  print_json(json);
}

void print_as_text(const Alternation& measured, const std::string& kind) {
  const auto print = [](const BenchPhase& phase, const std::string& predict) {
    fmt::print("decode  {:10.2f} tokens/s, {:.1f} % of the time waiting, with --predict {}\n",
               phase.median(), 100 * phase.waiting(), predict);
  };
  print(measured.with(), kind);
  print(measured.without(), "off");
  const PairedRatio ratio = measured.ratio();
  fmt::print("{} / off {:.3f} times as fast (", kind, ratio.mean);
  if (ratio.interval)
    fmt::print("95 %: {:.3f} to {:.3f}; ", ratio.interval->low, ratio.interval->high);
  fmt::print("geometric mean of {} pairs of blocks of {} tokens)\n", ratio.pairs,
             measured.tokens());
}

void print_as_text(const Bench& measured, const Ceilings& ceilings, const TraceScript* script,
                   const BenchOptions& options) {
  if (options.prompt != 0) {
    fmt::print("prefill {:10.2f} tokens/s (median of {}, {} tokens)\n", measured.prefill.median(),
               options.repetitions, options.prompt);
  }
  if (measured.alternation) {
    print_as_text(*measured.alternation, options.common.predict);
  } else if (options.decode != 0) {
    fmt::print("decode  {:10.2f} tokens/s (median of {}, {} tokens)\n", measured.decode.median(),
               options.repetitions, options.decode);
  }
  if (script != nullptr) {
    fmt::print("routing: {}, {} experts a token, {:.0f} % of the guesses right\n", options.routing,
               script->top_k(), 100 * options.guess_recall);
  }
  if (options.no_ceilings) return;
  fmt::print(
      "ceilings: memory {:.1f} GB/s, disk {:.2f} GB/s alone, {:.2f} GB/s while memory is read\n",
      ceilings.ram_read_gbs, ceilings.disk_read_gbs, ceilings.disk_beside_ram_gbs);
}

Status check_options(const BenchOptions& options) {
  const auto refuse = [](std::string why) {
    return Status(ErrorCode::kInvalidArgument, std::move(why));
  };
  if (options.prompt + options.decode == 0) return refuse("-p 0 and -n 0 leave nothing to measure");
  if (options.alternate == 0) return {};
  if (options.common.predict == "off")
    return refuse("--alternate holds what --predict names against none: name another than off");
  const std::uint64_t pair = 2 * std::uint64_t{options.alternate};
  if (options.decode != 0 && options.decode % pair == 0) return {};
  return refuse(fmt::format("--alternate {} needs pairs of blocks: -n {} is no multiple of {}",
                            options.alternate, options.decode, pair));
}

Status bench(BenchOptions& options) {
  SLUICE_TRY(check_options(options));
  if (options.common.context == 0) options.common.context = options.prompt + options.decode;
  OpenedModel opened;
  SLUICE_ASSIGN(opened.runtime, options.common.create_runtime());
  SLUICE_ASSIGN(ModelOutline outline, open_outline(options.common));
  SLUICE_ASSIGN(const std::unique_ptr<TraceScript> script, read_script(options, outline));
  for (const std::string& path : routing_files(options.routing)) {
    options.common.files.add(path, "what --routing names");
  }
  SLUICE_TRY(opened.open_records(options.common, outline.checkpoint));
  std::unique_ptr<WidthMixture> mixture;
  if (!options.widths_like.empty()) {
    SLUICE_ASSIGN(mixture, WidthMixture::read(options.widths_like));
  }
  Ceilings ceilings;
  if (!options.no_ceilings) {
    SLUICE_ASSIGN(ceilings,
                  measure_ceilings(*opened.runtime, outline.checkpoint, cancel_requested()));
  }
  ModelOptions model_options = options.common.model_options();
  if (script != nullptr) model_options.reserved = script->bytes();
  SLUICE_ASSIGN(opened.model, load_model(*opened.runtime, std::move(outline), model_options));
  Model& model = *opened.model;
  warn_of_context(model.plan().context, model.description());
  SLUICE_TRY(check_context(std::size_t{options.prompt} + options.decode, model));
  const std::uint32_t top_k =
      script != nullptr ? script->top_k() : model.description().router.top_k;
  SLUICE_TRY(opened.attach_records(top_k));
  if (mixture != nullptr) SLUICE_TRY(mixture->attach(model, top_k));
  Bench measured(model, options, script.get());
  SLUICE_TRY(measured.run());
  if (options.common.json) {
    print_as_json(measured, ceilings, script.get(), opened, options);
  } else {
    print_as_text(measured, ceilings, script.get(), options);
  }
  if (options.common.stats) print_statistics(model);
  return opened.finish();
}

}  // namespace

Verb add_bench(CLI::App& root) {
  auto options = std::make_shared<BenchOptions>();
  CLI::App* app = root.add_subcommand("bench", "Prefill and decode speed");
  options->common.add_to(*app, true);
  options->common.add_trace_to(*app);
  options->common.add_approximations_to(*app);
  app->add_option("-p,--prompt-tokens", options->prompt, "Tokens to prefill")
      ->capture_default_str();
  app->add_option("-n,--n", options->decode, "Tokens to decode")->capture_default_str();
  app->add_option("-r,--repetitions", options->repetitions, "Rounds; medians are reported")
      ->check(CLI::Range(1u, 1000u))
      ->capture_default_str();
  app->add_option("--seed", options->seed, "Of the random tokens")->capture_default_str();
  CLI::Option* const routing =
      app->add_option("--routing", options->routing,
                      "Let tokens take the experts of a recorded routing, as 'simulate' reads it")
          // A recorded routing stands: it has no scores of the experts that were not chosen.
          ->excludes("--skip", "--prefer-resident");
  app->add_option("--guess-recall", options->guess_recall,
                  "With --routing: how many of the next layer's experts are guessed rightly")
      ->needs(routing)
      ->check(CLI::Range(0.0, 1.0) & kFinite)
      ->capture_default_str();
  app->add_option_function<std::string>(
         "--widths-like",
         [options = options.get()](const std::string& path) {
           options->widths_like = path;
           if (options->common.width == kExactWidth) options->common.width = kAutoWidth;
         },
         "Take experts' widths as often as a log that 'eval --width-log' wrote of a model whose "
         "routing weights mean something")
      ->excludes("--narrow")
      ->check(kNamesAFile);
  app->add_option("--alternate", options->alternate,
                  "Decode in blocks of so many tokens, by turns with --predict and without, and "
                  "compare their speeds")
      ->check(CLI::Range(1u, 1000000u));
  app->add_flag("--no-ceilings", options->no_ceilings,
                "Do not measure the machine's memory and disk first");
  return {app, [options] { return bench(*options); }};
}

}  // namespace sluice::apps
