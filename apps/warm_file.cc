#include "apps/warm_file.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <filesystem>
#include <string_view>

#include "apps/cache_folder.h"
#include "apps/options.h"
#include "apps/report.h"
#include "experts/hot_set.h"

namespace sluice::apps {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kNotKept =
    "is not kept for the next run: --warm FILE names another place, --warm off none";

std::string usual_path(const std::string& model, std::uint64_t fingerprint) {
  std::error_code ignored;
  fs::path path = model;
  if (!path.has_filename()) path = path.parent_path();  // "folder/"
  const bool folder = fs::is_directory(path, ignored);
  const fs::path beside = folder ? path / "sluice.warm" : fs::path(path.string() + ".warm");
  const fs::path where = beside.has_parent_path() ? beside.parent_path() : fs::path(".");
  if (::access(where.c_str(), W_OK) == 0) return beside.string();
  const fs::path cache = cache_folder();
  if (cache.empty()) return {};
  const std::string name = path.filename().string();
  return (cache / fmt::format("{}-{:016x}.warm", name, fingerprint)).string();
}

}  // namespace

void WarmFile::add_to(CLI::App& app, std::string& option) {
  app.add_option("--warm", option,
                 "What was in memory is kept in this file for the next run to begin with; auto: "
                 "beside the model or in the cache folder; off: nowhere")
      ->check(kNamesAFile)
      ->envname("SLUICE_WARM")
      ->capture_default_str();
}

WarmFile::WarmFile(const std::string& option, const std::string& model,
                   const Checkpoint& checkpoint)
    : fingerprint_(sluice::fingerprint(checkpoint)) {
  off_ = option == "off";
  if (off_) return;
  chosen_ = option != "auto";
  path_ = chosen_ ? option : usual_path(model, fingerprint_);
}

void WarmFile::read_into(Model& model) {
  if (path_.empty()) return;
  const auto hot = read_hot_set(path_, fingerprint_, model.catalogue());
  first_ = hot.status().code() == ErrorCode::kNotFound;
  if (hot.ok()) {
    earlier_ = hot->experts.size();
    model.warm(*hot);
  } else if (!first_) {
    spdlog::warn("{}: what an earlier run had in memory is not read back (--warm)",
                 hot.status().message());
  }
}

void WarmFile::write(const Model& model, bool stats) const {
  if (off_) return;
  const HotSet hot = model.hot_set();
  if (hot.experts.empty()) return;
  if (path_.empty()) {
    spdlog::info(
        "the folder of the model cannot be written to and there is no cache folder: what is in "
        "memory {}",
        kNotKept);
    return;
  }
  if (!chosen_) {
    std::error_code ignored;
    fs::create_directories(fs::path(path_).parent_path(), ignored);
  }
  const Status status = write_hot_set(path_, fingerprint_, hot);
  if (stats) {
    print_statistic(fmt::format(
        "hot set: {} of {} experts of earlier runs read unasked; {}",
        model.expert_statistics().warmed, earlier_,
        status.ok() ? fmt::format("{} kept in {}", hot.experts.size(), path_) : status.message()));
  } else if (!status.ok() && chosen_) {
    spdlog::warn("{}: what is in memory {}", status.message(), kNotKept);
  } else if (!status.ok()) {
    spdlog::info("{}: what is in memory {}", status.message(), kNotKept);
  } else if (status.ok() && !chosen_ && first_) {
    spdlog::info("{}: tells the next run which experts to read first (--warm off: no such file)",
                 path_);
  }
}

}  // namespace sluice::apps
