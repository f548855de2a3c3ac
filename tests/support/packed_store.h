#pragma once
// A model packed into a store, as the command does it.

#include <stdexcept>
#include <string>

#include "formats/checkpoint.h"
#include "formats/store_format.h"
#include "store/file_target.h"
#include "store/packer.h"

namespace sluice::test {

inline void pack_store(const Checkpoint& source, const std::string& out,
                       const StoreChoice& choice = {}, PackOptions options = {}) {
  const auto sound = [](const auto& result) {
    if (!result.status().ok()) throw std::runtime_error(result.status().message());
  };
  const auto plan = plan_store(source, choice);
  sound(plan);
  const auto target = FileTarget::open(out, plan->files);
  sound(target);
  const auto reader = make_block_reader(ReaderKind::kAuto);
  sound(reader);
  const auto packer = Packer::begin(*plan, **reader, **target, std::move(options));
  sound(packer);
  if (const Status status = (*packer)->run(); !status.ok()) {
    throw std::runtime_error(status.message());
  }
}

inline void pack_store(const std::string& model, const std::string& out,
                       const StoreChoice& choice = {}, PackOptions options = {}) {
  const auto source = open_checkpoint(model);
  if (!source.ok()) throw std::runtime_error(source.status().message());
  pack_store(*source, out, choice, std::move(options));
}

/// Every layer's experts become planes that can.
inline StoreChoice nest_all(bool keep_floats = true) {
  return {.nest = [](const std::string&) { return true; }, .keep_floats = keep_floats};
}

}  // namespace sluice::test
