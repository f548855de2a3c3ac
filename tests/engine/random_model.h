#pragma once
// A drawn description as a checkpoint: settings that say it, tensors of random numbers in a file.

#include <cstdint>
#include <string>

#include "formats/checkpoint.h"
#include "tests/engine/random_description.h"
#include "tests/engine/reference_math.h"
#include "tests/formats/temporary_folder.h"

namespace sluice::test {

struct RandomModel {
  ModelDescription description;  // as it was drawn, not as the engine read it
  NamedTensors tensors;
  Checkpoint checkpoint;
};

/// The same settings as formats/ would give a checkpoint of such a model.
std::map<std::string, Setting, std::less<>> settings_of(const ModelDescription& model);

/// Writes the file into the folder.
RandomModel random_model(Random& random, std::uint32_t positions, const TemporaryFolder& folder);

/// The settings and the tensors' shapes, a line each.
std::string in_words(const Checkpoint& checkpoint);

}  // namespace sluice::test
