#pragma once
// The fields of a request's object, one after the other; the first that is wrong is remembered.

#include <cmath>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "server/openai_request.h"

namespace sluice::server {

class Fields {
 public:
  explicit Fields(const Json& object) : object_(object) {}

  /// Null where it is absent or null.
  const Json* find(const char* name);
  /// `usual` where it is absent or null; what is not within the bounds is wrong.
  double number(const char* name, double usual, double least, double most);
  std::uint64_t integer(const char* name, std::uint64_t usual, std::uint64_t least,
                        std::uint64_t most);
  bool boolean(const char* name, bool usual);
  std::string text(const char* name, std::string usual);
  /// A text or a list of them, at most so many.
  std::vector<std::string> texts(const char* name, std::size_t most);
  /// Anything else than absent, null or `harmless` cannot be done.
  void refuse(const char* name, const Json& harmless, std::string_view why);

  void fail(std::string_view field, std::string message);
  const std::optional<ApiError>& error() const { return error_; }

 private:
  const Json& object_;
  std::optional<ApiError> error_;
};

}  // namespace sluice::server
