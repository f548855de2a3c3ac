#pragma once
// Device memory as values, on the device or the shim, and a fixture that skips where there is
// neither.

#include <gtest/gtest.h>

#include <bit>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "cuda/runtime.h"

namespace sluice::testing {

template <typename T>
class DeviceArray {
 public:
  explicit DeviceArray(std::size_t count, unsigned char fill = 0xcd) : count_(count) {
    EXPECT_EQ(cudaMalloc(reinterpret_cast<void**>(&data_), count * sizeof(T)), cudaSuccess);
    const std::vector<unsigned char> bytes(count * sizeof(T), fill);
    EXPECT_EQ(cudaMemcpy(data_, bytes.data(), bytes.size(), cudaMemcpyHostToDevice), cudaSuccess);
  }
  explicit DeviceArray(std::span<const T> values) : count_(values.size()) {
    EXPECT_EQ(cudaMalloc(reinterpret_cast<void**>(&data_), values.size_bytes()), cudaSuccess);
    EXPECT_EQ(cudaMemcpy(data_, values.data(), values.size_bytes(), cudaMemcpyHostToDevice),
              cudaSuccess);
  }
  DeviceArray(DeviceArray&& other) noexcept : data_(other.data_), count_(other.count_) {
    other.data_ = nullptr;
  }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;
  ~DeviceArray() { static_cast<void>(cudaFree(data_)); }

  T* data() const { return data_; }
  std::vector<T> download() const {
    std::vector<T> values(count_);
    EXPECT_EQ(cudaMemcpy(values.data(), data_, count_ * sizeof(T), cudaMemcpyDeviceToHost),
              cudaSuccess);
    return values;
  }

 private:
  T* data_ = nullptr;
  std::size_t count_;
};

inline bool same_bits(float a, float b) {
  return (a != a && b != b) || std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b);
}

class DeviceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    int devices = 0;
    if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
      GTEST_SKIP() << "no CUDA device";
    }
  }
};

/// Runs `check` with threads in either order on the shim, once on a device.
template <typename Check>
void in_every_thread_order(Check check) {
  check();
#ifdef SLUICE_CUDA_HOST_SHIM
  cuda::host_shim::set_reverse_order(true);
  check();
  cuda::host_shim::set_reverse_order(false);
#endif
}

}  // namespace sluice::testing
