#include "apps/run_files.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <string_view>

#include "formats/checkpoint.h"

namespace sluice::apps {
namespace {

/// Tokenizer, templates and the like, which a folder has beside its weights.
bool belongs_to_a_model(const std::filesystem::path& path) {
  constexpr std::array<std::string_view, 5> kEnds = {".json", ".jinja", ".model", ".tiktoken",
                                                     ".txt"};
  return std::find(kEnds.begin(), kEnds.end(), path.extension().string()) != kEnds.end();
}

}  // namespace

void RunFiles::add(const std::string& path, const std::string& what) {
  struct stat about = {};
  const int failed = path == "-" ? fstat(STDIN_FILENO, &about) : stat(path.c_str(), &about);
  if (failed == 0 && S_ISREG(about.st_mode)) files_.push_back({about.st_dev, about.st_ino, what});
}

void RunFiles::remove(const std::string& path) {
  struct stat about = {};
  if (stat(path.c_str(), &about) != 0) return;
  std::erase_if(files_, [&](const File& file) {
    return file.device == about.st_dev && file.number == about.st_ino;
  });
}

void RunFiles::add(const Checkpoint& checkpoint) {
  const std::string what = "the model itself";
  for (const std::string& file : checkpoint.files) add(file, what);
  const std::filesystem::path settings(checkpoint.settings_file);
  add(settings.string(), what);
  if (settings.filename() != "config.json") return;
  std::error_code error;
  std::filesystem::directory_iterator at(settings.parent_path(), error);
  for (; !error && at != std::filesystem::directory_iterator(); at.increment(error)) {
    if (belongs_to_a_model(at->path())) add(at->path().string(), what);
  }
}

Status RunFiles::check_output(const std::string& path) const {
  struct stat about = {};
  if (stat(path.c_str(), &about) != 0) return {};
  for (const File& file : files_) {
    if (file.device != about.st_dev || file.number != about.st_ino) continue;
    return {ErrorCode::kInvalidArgument, path + ": is " + file.what + "; name another file"};
  }
  return {};
}

}  // namespace sluice::apps
