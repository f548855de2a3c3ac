#pragma once
// GGUF's key-values in their variants → settings as settings.h defines them.

#include "base/status.h"
#include "formats/architectures.h"
#include "formats/checkpoint.h"

namespace sluice {

/// Old keys, keys that say the same as others, and numbers that mean something else in one
/// architecture. `architecture` is null for one that is not in the table: such settings stay as
/// they are.
Status translate_gguf_settings(Checkpoint& checkpoint, const Architecture* architecture);

}  // namespace sluice
