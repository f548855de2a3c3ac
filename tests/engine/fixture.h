#pragma once
// Opens the bundled model under chosen conditions and computes logits of a fixed text.

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/fake_device.h"
#include "engine/session.h"

namespace sluice::test {

inline std::string bundled_model() { return std::string(SLUICE_SOURCE_DIR) + "/models/tales.gguf"; }

// A function, since g++ 12 takes the string of an aggregate that is nested in a member's
// initializer for uninitialized.
inline ModelOptions small_context() { return {.context = 256}; }

struct Conditions {
  std::uint64_t ram = 0;
  unsigned threads = 1;
  ReaderKind reader = ReaderKind::kAuto;
  ModelOptions model = small_context();
  std::string path = bundled_model();
  std::optional<FakeDeviceOptions> device = std::nullopt;  // none: there is none
  std::vector<FakeDeviceOptions> more_devices = {};
  std::optional<std::uint64_t> vram = std::nullopt;
  std::optional<std::uint32_t> device_layers = 0;
  Placement placement = {};
};

struct Opened {
  std::unique_ptr<Runtime> runtime;
  std::unique_ptr<Model> model;
  FakeDevice& device(std::size_t index = 0) const {
    return static_cast<FakeDevice&>(*runtime->device_set().devices[index]);
  }
};

inline RuntimeOptions runtime_options(const Conditions& conditions) {
  RuntimeOptions options{.ram = conditions.ram,
                         .threads = conditions.threads,
                         .reader = conditions.reader,
                         .vram = conditions.vram,
                         .placement = conditions.placement,
                         .device_layers = conditions.device_layers};
  if (!conditions.device) return options;
  options.devices = [first = *conditions.device, more = conditions.more_devices](Compute& cpu) {
    DeviceList devices;
    devices.push_back(std::make_unique<FakeDevice>(cpu, first));
    for (const FakeDeviceOptions& device : more) {
      devices.push_back(std::make_unique<FakeDevice>(cpu, device));
    }
    return Result<DeviceList>(std::move(devices));
  };
  return options;
}

/// Throws with the status' message.
inline Opened open(const Conditions& conditions, std::unique_ptr<BlockReader> reader = nullptr) {
  Opened opened;
  const RuntimeOptions options = runtime_options(conditions);
  auto runtime = reader ? Runtime::create(options, std::move(reader)) : Runtime::create(options);
  if (!runtime.ok()) throw std::runtime_error(runtime.status().message());
  opened.runtime = std::move(*runtime);
  auto model = Model::open(*opened.runtime, conditions.path, conditions.model);
  if (!model.ok()) throw std::runtime_error(model.status().message());
  opened.model = std::move(*model);
  return opened;
}

/// A text of `count` ids that repeats nothing for long.
inline std::vector<TokenId> some_tokens(std::size_t count, std::uint32_t seed = 1,
                                        std::uint32_t vocabulary = 4000) {
  std::vector<TokenId> tokens;
  std::uint32_t state = seed;
  for (std::size_t i = 0; i < count; ++i) {
    state = state * 1664525u + 1013904223u;
    tokens.push_back(static_cast<TokenId>((state >> 8) % vocabulary));
  }
  return tokens;
}

/// Logits of every position, one after the other.
inline std::vector<float> all_logits(Session& session, const std::vector<TokenId>& tokens) {
  std::vector<float> all;
  const Status status =
      session.eval(tokens, Session::Logits::kAll, [&](std::size_t, std::span<const float> logits) {
        all.insert(all.end(), logits.begin(), logits.end());
      });
  if (!status.ok()) throw std::runtime_error(status.message());
  return all;
}

inline std::vector<float> all_logits(const Conditions& conditions,
                                     const std::vector<TokenId>& tokens) {
  Opened opened = open(conditions);
  Session session(*opened.model);
  return all_logits(session, tokens);
}

inline bool same_bits(std::span<const float> a, std::span<const float> b) {
  const auto bits = [](float number) { return std::bit_cast<std::uint32_t>(number); };
  return std::ranges::equal(a, b, {}, bits, bits);
}

/// The smallest budget that the model accepts under these conditions.
inline std::uint64_t smallest_budget(const Conditions& conditions) {
  auto outline = ModelOutline::open(conditions.path, conditions.model.width);
  RuntimeOptions options = runtime_options(conditions);
  options.ram = 0;
  auto runtime = Runtime::create(options);
  if (!outline.ok() || !runtime.ok() ||
      !open_files(outline->checkpoint, (*runtime)->reader()).ok()) {
    throw std::runtime_error("cannot open the model");
  }
  auto plan = outline->plan(0, **runtime, conditions.model);
  if (!plan.ok()) throw std::runtime_error(plan.status().message());
  return plan->minimum;
}

}  // namespace sluice::test
