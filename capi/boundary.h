#pragma once
// What every entry point does at the border: nothing thrown gets out, errors are filled by value,
// and structs of options and results have the sizes that the caller was built with.

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <exception>
#include <new>
#include <string>
#include <string_view>

#include "base/status.h"
#include "include/sluice.h"

namespace sluice::capi {

sluice_status report(const Status& status, sluice_error* error) noexcept;

/// report(body()), whatever body throws.
template <typename Body>
sluice_status guard(sluice_error* error, const Body& body) noexcept {
  try {
    return report(body(), error);
  } catch (const std::bad_alloc&) {
    return report(Status(ErrorCode::kBudget, "out of memory"), error);
  } catch (const std::exception& exception) {
    return report(Status(ErrorCode::kInternal, exception.what()), error);
  } catch (...) {
    return report(Status(ErrorCode::kInternal, "something unknown was thrown"), error);
  }
}

inline Status invalid(std::string message) {
  return {ErrorCode::kInvalidArgument, std::move(message)};
}

/// kInvalidArgument where it is null.
inline Status expect(const void* pointer, const char* name) {
  return pointer != nullptr ? Status() : invalid(std::string(name) + " is NULL");
}

/// A struct as this library knows it, zeros where the caller's is shorter or null. kUnsupported
/// where the caller's is longer and says something there.
template <typename T>
Result<T> take_options(const T* given) {
  T options{};
  if (given == nullptr) return options;
  if (given->size < sizeof given->size) {
    return invalid("the options' size is not set: set it to sizeof the struct");
  }
  const auto* const bytes = reinterpret_cast<const unsigned char*>(given);
  for (std::size_t i = sizeof(T); i < given->size; ++i) {
    if (bytes[i] == 0) continue;
    return Status(ErrorCode::kUnsupported,
                  "options are set that this library does not know: it is older than its header");
  }
  std::memcpy(&options, given, std::min(given->size, sizeof(T)));
  return options;
}

/// `known` as far as the caller's struct goes, whose own size stays; zeros beyond.
template <typename T>
Status give(const T& known, T* to) {
  if (to == nullptr || to->size < sizeof to->size) {
    return invalid("the result's size is not set: set it to sizeof the struct");
  }
  const std::size_t size = to->size;
  std::memset(static_cast<void*>(to), 0, size);
  std::memcpy(static_cast<void*>(to), &known, std::min(size, sizeof(T)));
  to->size = size;
  return {};
}

/// kInvalidArgument where the pointer is null and the length is not 0.
Result<std::string_view> take_text(const char* text, std::size_t length, const char* name);
/// As sluice.h has it: as much as fits, with a terminating zero if there is room.
Status give_text(std::string_view text, char* to, std::size_t capacity, std::size_t* length);

}  // namespace sluice::capi
