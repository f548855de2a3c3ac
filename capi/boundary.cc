#include "capi/boundary.h"

#include <utility>

namespace sluice::capi {
namespace {

/// Not within a character.
std::size_t cut(std::string_view text, std::size_t most) {
  if (text.size() <= most) return text.size();
  while (most > 0 && (static_cast<unsigned char>(text[most]) & 0xc0) == 0x80) --most;
  return most;
}

}  // namespace

sluice_status report(const Status& status, sluice_error* error) noexcept {
  static_assert(SLUICE_INVALID_ARGUMENT == static_cast<int>(ErrorCode::kInvalidArgument));
  static_assert(SLUICE_CORRUPT == static_cast<int>(ErrorCode::kCorrupt));
  static_assert(SLUICE_BUDGET == static_cast<int>(ErrorCode::kBudget));
  static_assert(SLUICE_INTERNAL == static_cast<int>(ErrorCode::kInternal));
  const auto code = static_cast<sluice_status>(status.code());
  if (error != nullptr) {
    error->code = code;
    const std::size_t length = cut(status.message(), sizeof error->message - 1);
    std::memcpy(error->message, status.message().data(), length);
    error->message[length] = '\0';
  }
  return code;
}

Result<std::string_view> take_text(const char* text, std::size_t length, const char* name) {
  if (length == 0) return std::string_view();
  SLUICE_TRY(expect(text, name));
  return length == SLUICE_ENDS_WITH_ZERO ? std::string_view(text) : std::string_view(text, length);
}

Status give_text(std::string_view text, char* to, std::size_t capacity, std::size_t* length) {
  if (capacity > 0) SLUICE_TRY(expect(to, "the text's memory"));
  SLUICE_TRY(expect(length, "length"));
  if (capacity > 0) std::memcpy(to, text.data(), std::min(text.size(), capacity));
  if (text.size() < capacity) to[text.size()] = '\0';
  *length = text.size();
  return {};
}

}  // namespace sluice::capi

const char* sluice_version() { return SLUICE_VERSION; }

const char* sluice_status_name(sluice_status status) {
  switch (status) {
    case SLUICE_OK:
      return "ok";
    case SLUICE_INVALID_ARGUMENT:
      return "invalid argument";
    case SLUICE_NOT_FOUND:
      return "not found";
    case SLUICE_CORRUPT:
      return "corrupt";
    case SLUICE_UNSUPPORTED:
      return "unsupported";
    case SLUICE_IO:
      return "input/output";
    case SLUICE_BUDGET:
      return "budget";
    case SLUICE_CANCELLED:
      return "cancelled";
    case SLUICE_DEVICE_LOST:
      return "device lost";
    case SLUICE_INTERNAL:
      return "internal";
    default:
      return "unknown";
  }
}
