#pragma once
// From what a container says to a checkpoint that says everything: implied settings, settings that
// follow from others or from tensors, tensors under their own names.

#include "base/status.h"
#include "formats/architectures.h"
#include "formats/checkpoint.h"

namespace sluice {

/// Adds every setting that the architecture implies or that follows from others or from tensors'
/// shapes, takes fused tensors apart, and checks all settings for kind and range. What the file
/// says wins. `architecture` is null for one that is not in the table: it gets only what follows.
Status complete_checkpoint(Checkpoint& checkpoint, Container container,
                           const Architecture* architecture);

/// The checks alone, for a checkpoint that was completed before it was written.
Status check_complete(const Checkpoint& checkpoint);

}  // namespace sluice
