// The command line. Results go to standard output, everything else to standard error.
// Exit status: 0 done, 1 failed, 2 wrong usage, 130 stopped by Ctrl-C, 143 by SIGTERM.

#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <string>
#include <utility>

#include "apps/cancel.h"
#include "apps/options.h"
#include "apps/printable.h"

namespace {

/// Messages hold names from files.
class PrintableMessage final : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm&,
              spdlog::memory_buf_t& out) override {
    const std::string line =
        sluice::apps::printable({message.payload.data(), message.payload.size()});
    out.append(line.data(), line.data() + line.size());
  }
  std::unique_ptr<custom_flag_formatter> clone() const override {
    return std::make_unique<PrintableMessage>();
  }
};

constexpr int kDone = 0, kFailed = 1, kWrongUsage = 2;

/// A standard stream that the caller closed would be the next file that is opened, and a prompt
/// would be read from the model: what is put in its place fails to be read or written.
void keep_standard_streams() {
  for (const int number : {0, 1, 2}) {
    if (fcntl(number, F_GETFD) >= 0 || errno != EBADF) continue;
    // The lowest free number is this one.
    [[maybe_unused]] const int taken = ::open("/dev/null", number == 0 ? O_WRONLY : O_RDONLY);
  }
}

int run(int argc, char** argv) {
  CLI::App app("Sluice runs mixture-of-experts language models whose experts stay on disk.",
               "sluice");
  app.set_version_flag("--version", "sluice " SLUICE_VERSION);
  app.require_subcommand(1);
  bool quiet = false;
  app.add_flag("-q,--quiet", quiet, "Only warnings and errors on standard error");
  app.fallthrough();
  const std::array verbs{sluice::apps::add_run(app),      sluice::apps::add_chat(app),
                         sluice::apps::add_eval(app),     sluice::apps::add_logits(app),
                         sluice::apps::add_tokenize(app), sluice::apps::add_info(app),
                         sluice::apps::add_check(app),    sluice::apps::add_bench(app),
                         sluice::apps::add_simulate(app), sluice::apps::add_calibrate(app),
                         sluice::apps::add_pack(app),     sluice::apps::add_plan(app),
                         sluice::apps::add_serve(app)};
  // The parser would only say that a verb is missing.
  if (argc > 1 && argv[1][0] != '-' &&
      app.get_subcommands([&](CLI::App* verb) { return verb->get_name() == argv[1]; }).empty()) {
    spdlog::error("there is no verb '{}'; sluice --help lists them", argv[1]);
    return kWrongUsage;
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kDone : kWrongUsage;
  }
  if (quiet) spdlog::set_level(spdlog::level::warn);
  sluice::apps::cancel_on_interrupt();
  for (const auto& verb : verbs) {
    if (!verb.app->parsed()) continue;
    const sluice::Status status = verb.action();
    const int error = std::fflush(stdout) != 0 ? errno : 0;
    if (error != 0 || std::ferror(stdout) != 0) {
      const std::string why = error != 0 ? fmt::format(" ({})", std::strerror(error)) : "";
      spdlog::error("standard output cannot be written{}: the result is lost", why);
      return kFailed;
    }
    if (status.ok())
      return sluice::apps::cancel_requested().load() ? sluice::apps::cancelled_exit_status()
                                                     : kDone;
    if (status.code() == sluice::ErrorCode::kCancelled)
      return sluice::apps::cancelled_exit_status();
    spdlog::error("{}", status.message());
    return kFailed;
  }
  return kWrongUsage;
}

}  // namespace

int main(int argc, char** argv) {
  keep_standard_streams();
  spdlog::set_default_logger(spdlog::stderr_color_st("sluice"));
  auto formatter = std::make_unique<spdlog::pattern_formatter>();
  formatter->add_flag<PrintableMessage>('*').set_pattern("sluice: %^%*%$");
  spdlog::set_formatter(std::move(formatter));
  try {
    return run(argc, argv);
  } catch (const std::bad_alloc&) {
    spdlog::error("the system has no memory left; a smaller --ram or --ctx may help");
  } catch (const std::exception& error) {
    spdlog::error("{}", error.what());
  }
  return kFailed;
}
