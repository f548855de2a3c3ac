#pragma once
// What a run had in memory when it ended, for the next one of the same model to begin with.
//
// A hint: a file that is wrong costs a few reads and changes no result. It is a few kilobytes, says
// which model it is of, and is replaced as a whole.

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "experts/expert_catalogue.h"
#include "formats/checkpoint.h"

namespace sluice {

struct HotSet {
  struct Expert {
    std::uint16_t turn = 0;  // of its layer: 0, 1, … among the catalogue's
    std::uint16_t expert = 0;
    std::uint32_t uses = 0;  // visits of its layer that wanted it
  };
  std::vector<std::uint32_t> visits;  // [the catalogue's layers] that were counted
  std::vector<Expert> experts;        // those most worth keeping first
};

/// Of everything that the checkpoint's headers say but its tokenizer: models that differ in it have
/// hot sets of their own, wherever their files lie.
std::uint64_t fingerprint(const Checkpoint& checkpoint);

/// Errors name the path. kNotFound: there is none, or an empty file; kInvalidArgument: it is no hot
/// set; kUnsupported: of another version or another model; kCorrupt: it is damaged, or names
/// experts that the model does not have.
Result<HotSet> read_hot_set(const std::string& path, std::uint64_t model,
                            const ExpertCatalogue& catalogue);
/// Replaces the file at once, or leaves it as it was. What is no hot set is never replaced:
/// kInvalidArgument; kIo names the path and the system's reason.
Status write_hot_set(const std::string& path, std::uint64_t model, const HotSet& hot);

}  // namespace sluice
