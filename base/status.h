#pragma once
// How errors travel between rooms: by value. Nothing in Sluice throws across a folder, prints or
// exits.

#include <cassert>
#include <optional>
#include <string>
#include <utility>

namespace sluice {

enum class ErrorCode {
  kOk = 0,
  kInvalidArgument,  // the caller asked for something that cannot be
  kNotFound,         // a file, tensor or key is not there
  kCorrupt,          // a file's contents contradict its format
  kUnsupported,      // valid, but not something this build can do
  kIo,               // the operating system refused or failed
  kBudget,           // does not fit into the memory budget
  kCancelled,        // stopped on request
  kDeviceLost,  // a device failed: nothing that it had is left, and the host goes on without it
  kInternal,    // a promise inside Sluice was broken
};

/// Success, or a code and a sentence that names the thing and, where there is one, the remedy.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(ErrorCode code, std::string message) : code_(code), message_(std::move(message)) {}

  bool ok() const { return code_ == ErrorCode::kOk; }
  ErrorCode code() const { return code_; }
  const std::string& message() const { return message_; }

  /// The same error with what was being done put before it: "model.gguf: tensor 3: …".
  Status with_context(const std::string& context) const {
    return ok() ? *this : Status(code_, context + ": " + message_);
  }

 private:
  ErrorCode code_ = ErrorCode::kOk;
  std::string message_;
};

/// A value or the Status that explains its absence.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}  // NOLINT: implicit by design
  Result(Status status) : status_(std::move(status)) { assert(!status_.ok()); }  // NOLINT

  bool ok() const { return value_.has_value(); }
  const Status& status() const { return status_; }
  T& value() & { return *value_; }
  const T& value() const& { return *value_; }
  T&& value() && { return std::move(*value_); }
  T* operator->() { return &*value_; }
  const T* operator->() const { return &*value_; }
  T& operator*() & { return *value_; }
  const T& operator*() const& { return *value_; }
  T&& operator*() && { return std::move(*value_); }

 private:
  std::optional<T> value_;
  Status status_;
};

inline const Status& status_of(const Status& status) { return status; }
template <typename T>
const Status& status_of(const Result<T>& result) {
  return result.status();
}

}  // namespace sluice

// The two macros that no function can replace: they return from the caller.
#define SLUICE_CONCAT_INNER(a, b) a##b
#define SLUICE_CONCAT(a, b) SLUICE_CONCAT_INNER(a, b)
/// SLUICE_TRY(status_expression): return the error, if it is one.
#define SLUICE_TRY(expression)                                    \
  do {                                                            \
    if (auto sluice_tried = (expression); !sluice_tried.ok()) {   \
      return ::sluice::Status(::sluice::status_of(sluice_tried)); \
    }                                                             \
  } while (false)
/// SLUICE_ASSIGN(auto x, result_expression): x is the value, or the error is returned.
#define SLUICE_ASSIGN(declaration, expression)                                 \
  auto SLUICE_CONCAT(sluice_result_, __LINE__) = (expression);                 \
  if (!SLUICE_CONCAT(sluice_result_, __LINE__).ok()) {                         \
    return ::sluice::Status(SLUICE_CONCAT(sluice_result_, __LINE__).status()); \
  }                                                                            \
  declaration = std::move(SLUICE_CONCAT(sluice_result_, __LINE__)).value()
