// sluice logits: the logits of every position of a list of ids.

#include "apps/cancel.h"
#include "apps/npy.h"
#include "apps/options.h"
#include "apps/report.h"
#include "engine/session.h"

namespace sluice::apps {
namespace {

struct LogitsOptions {
  CommonOptions common;
  std::string ids;
  std::string out;
};

Status logits(LogitsOptions& options) {
  SLUICE_ASSIGN(const std::vector<TokenId> ids, parse_ids(options.ids));
  if (ids.empty()) return Status(ErrorCode::kInvalidArgument, "--ids names no token");
  SLUICE_ASSIGN(OpenedModel opened, open_model(options.common));
  SLUICE_TRY(check_context(ids.size(), *opened.model));
  SLUICE_ASSIGN(NpyWriter writer, NpyWriter::create(options.out, options.common.files, ids.size(),
                                                    opened.model->description().vocabulary));
  Session session(*opened.model);
  Status written;
  const LogitsSink sink = [&](std::size_t position, std::span<const float> row) {
    if (written.ok()) written = check_logits(row, position, *opened.model);
    if (written.ok()) written = writer.write(row);
  };
  SLUICE_TRY(session.eval(ids, Session::Logits::kAll, sink, {.cancel = &cancel_requested()}));
  SLUICE_TRY(written);
  SLUICE_TRY(writer.close());
  if (options.common.json) {
    nlohmann::json json{{"out", options.out},
                        {"rows", ids.size()},
                        {"columns", opened.model->description().vocabulary}};
    add_use(json, *opened.model);
    print_json(json);
  }
  if (options.common.stats) print_statistics(*opened.model);
  return opened.finish();
}

}  // namespace

Verb add_logits(CLI::App& root) {
  auto options = std::make_shared<LogitsOptions>();
  CLI::App* app =
      root.add_subcommand("logits", "Write the logits of every position as a NumPy file");
  options->common.add_to(*app, true);
  options->common.add_trace_to(*app);
  options->common.add_width_log_to(*app);
  options->common.add_approximations_to(*app);
  app->add_option("--ids", options->ids, "Token ids such as 1,2,3")->required();
  app->add_option("--out", options->out, "The file: float32 [n, vocabulary]")->required();
  return {app, [options] { return logits(*options); }};
}

}  // namespace sluice::apps
