#include "io/block_reader.h"

#include <cstdlib>
#include <string>
#include <string_view>

#include "io/reader_options.h"

namespace sluice {

Result<std::unique_ptr<BlockReader>> make_block_reader(ReaderKind kind, unsigned depth) {
  ReaderOptions options;
  options.depth = depth;
  if (const char* const forced = std::getenv("SLUICE_READER");
      kind == ReaderKind::kAuto && forced != nullptr && *forced != '\0') {
    const std::string_view name = forced;
    options.why = "SLUICE_READER=" + std::string(name);
    if (name == "uring") {
      kind = ReaderKind::kUring;
    } else if (name == "pread") {
      kind = ReaderKind::kPread;
    } else {
      return Status(ErrorCode::kInvalidArgument, options.why + ": must be uring or pread");
    }
  }
  if (kind == ReaderKind::kPread) return make_pread_reader(options);

  if (kind == ReaderKind::kAuto) options.why = "the kernel grants a ring";
  auto ring = make_uring_reader(options);
  if (ring.ok() || kind == ReaderKind::kUring) {
    if (ring.ok()) return ring;
    return Status(ring.status().code(), ring.status().message() + " (" + options.why +
                                            "; the pread pool works everywhere)");
  }
  options.why = ring.status().message();
  return make_pread_reader(options);
}

}  // namespace sluice
