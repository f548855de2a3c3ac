#include "apps/cache_folder.h"

#include <cstdlib>

namespace sluice::apps {

namespace fs = std::filesystem;

fs::path cache_folder() {
  // A relative path there is to be ignored, says the XDG specification.
  const char* const cache = std::getenv("XDG_CACHE_HOME");
  if (cache != nullptr && fs::path(cache).is_absolute()) return fs::path(cache) / "sluice";
  const char* const home = std::getenv("HOME");
  if (home != nullptr && fs::path(home).is_absolute()) return fs::path(home) / ".cache" / "sluice";
  return {};
}

}  // namespace sluice::apps
