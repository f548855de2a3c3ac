#include "apps/routing_trace_file.h"

#include <filesystem>

namespace sluice::apps {

Result<RoutingTraceFile> read_routing_trace(const std::string& path) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) {
    return Status(ErrorCode::kNotFound, path + ": there is no such file or folder");
  }
  return std::filesystem::is_directory(status) ? read_packed_trace(path) : read_route_csv(path);
}

}  // namespace sluice::apps
