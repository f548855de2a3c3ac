#pragma once
// What tasks of the host point to, on the device: every array ends where it ends, so that a
// sanitizer sees what is read beyond it.

#include <span>
#include <vector>

#include "base/operations.h"
#include "tests/cpu/plain_dot.h"
#include "tests/cuda/device_memory.h"

namespace sluice::testing {

class DeviceCopies {
 public:
  /// Each group of planes in memory of its own.
  WeightMatrix matrix(const WeightMatrix& from) {
    WeightMatrix there = from;
    if (from.layout != WeightLayout::kPlanes) {
      there.data = bytes(from.data, from.bytes());
      return there;
    }
    const NestedForm& form = *from.nested.form;
    for (std::size_t group = 0; group < form.groups_of(from.nested.width); ++group) {
      const std::byte* const at = bytes(from.data + from.nested.at[group],
                                        form.group_bytes(group, from.rows, from.columns));
      if (group == 0) there.data = at;
      there.nested.at[group] = static_cast<std::int64_t>(
          reinterpret_cast<std::uintptr_t>(at) - reinterpret_cast<std::uintptr_t>(there.data));
    }
    return there;
  }
  Activations activations(const OwnedActivations& of) {
    return {.values = floats(of.values),
            .codes = array(of.codes, codes_),
            .scales = floats(of.scales),
            .sums = array(of.sums, sums_),
            .rows = of.view.rows,
            .columns = of.view.columns};
  }
  /// Null of nothing, as below.
  float* floats(const std::vector<float>& values) { return array(values, floats_); }
  std::uint32_t* indices(const std::vector<std::uint32_t>& values) {
    return array(values, indices_);
  }

 private:
  const std::byte* bytes(const std::byte* from, std::size_t size) {
    bytes_.emplace_back(std::span<const std::byte>(from, size));
    return bytes_.back().data();
  }
  template <typename T>
  static T* array(const std::vector<T>& values, std::vector<DeviceArray<T>>& arrays) {
    if (values.empty()) return nullptr;
    arrays.emplace_back(std::span<const T>(values));
    return arrays.back().data();
  }

  std::vector<DeviceArray<std::byte>> bytes_;
  std::vector<DeviceArray<float>> floats_;
  std::vector<DeviceArray<std::int8_t>> codes_;
  std::vector<DeviceArray<std::int16_t>> sums_;
  std::vector<DeviceArray<std::uint32_t>> indices_;
};

}  // namespace sluice::testing
