#include "base/size.h"
#include "capi/handles.h"

using namespace sluice;        // NOLINT: an entry point is not of any namespace
using namespace sluice::capi;  // NOLINT

namespace sluice::capi {

Result<Share> Share::take(std::shared_ptr<Budget> budget, std::uint64_t most) {
  const std::lock_guard lock(budget->mutex);
  const std::uint64_t left = budget->options.ram - std::min(budget->options.ram, budget->taken);
  if (left == 0) {
    return Status(ErrorCode::kBudget, "other models have taken all " +
                                          format_size(budget->options.ram) +
                                          " of the runtime's budget: open each with a `ram`");
  }
  const std::uint64_t bytes = most == 0 ? left : std::min(most, left);
  budget->taken += bytes;
  return Share(std::move(budget), bytes);
}

void Share::shrink(std::uint64_t bytes) {
  const std::lock_guard lock(budget_->mutex);
  budget_->taken -= bytes_ - bytes;
  bytes_ = bytes;
}

}  // namespace sluice::capi

namespace {

Result<ReaderKind> reader_kind(const char* name) {
  const std::string_view given = name == nullptr ? "auto" : name;
  if (given == "auto") return ReaderKind::kAuto;
  if (given == "uring") return ReaderKind::kUring;
  if (given == "pread") return ReaderKind::kPread;
  return invalid("unknown reader \"" + std::string(given) + "\": there are auto, uring and pread");
}

Result<RuntimeOptions> runtime_options(const sluice_runtime_options* options) {
  SLUICE_ASSIGN(const sluice_runtime_options given, take_options(options));
  RuntimeOptions made;
  made.ram = given.ram;
  made.vram = given.vram;
  made.threads = given.threads;
  SLUICE_ASSIGN(made.reader, reader_kind(given.reader));
  made.calibrate = given.vram > 0;
  if (given.machine_costs != nullptr) made.machine_costs = given.machine_costs;
  return made;
}

}  // namespace

sluice_status sluice_runtime_create(const sluice_runtime_options* options, sluice_runtime** runtime,
                                    sluice_error* error) {
  return guard(error, [&]() -> Status {
    SLUICE_TRY(expect(runtime, "runtime"));
    auto made = std::make_unique<sluice_runtime>();
    made->budget = std::make_shared<Budget>();
    SLUICE_ASSIGN(made->budget->options, runtime_options(options));
    SLUICE_ASSIGN(made->budget->first, Runtime::create(made->budget->options));
    made->budget->options.ram = made->budget->first->ram();
    *runtime = made.release();
    return {};
  });
}

void sluice_runtime_destroy(sluice_runtime* runtime) { delete runtime; }
