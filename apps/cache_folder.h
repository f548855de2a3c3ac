#pragma once
// Where a user's files lie that can be made again.

#include <filesystem>

namespace sluice::apps {

/// Of this program; empty where the user has none. It need not exist.
std::filesystem::path cache_folder();

}  // namespace sluice::apps
