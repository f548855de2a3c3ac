#pragma once
// Writes safetensors files tensor by tensor.

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::test {

class SafetensorsBuilder {
 public:
  void add(std::string_view name, std::string_view dtype, const std::vector<std::uint64_t>& shape,
           const std::string& bytes) {
    std::string entry =
        "\"" + std::string(name) + R"(":{"dtype":")" + std::string(dtype) + R"(","shape":[)";
    for (std::size_t i = 0; i < shape.size(); ++i) {
      entry += (i > 0 ? "," : "") + std::to_string(shape[i]);
    }
    entry += R"(],"data_offsets":[)" + std::to_string(data_.size()) + "," +
             std::to_string(data_.size() + bytes.size()) + "]}";
    header_ += (header_.empty() ? "" : ",") + entry;
    data_ += bytes;
  }
  /// F32 with the numbers first, first + 1, …
  void count_up(std::string_view name, const std::vector<std::uint64_t>& shape, float first = 0) {
    std::uint64_t elements = 1;
    for (const std::uint64_t extent : shape) elements *= extent;
    std::vector<float> values(elements);
    for (std::uint64_t i = 0; i < elements; ++i) values[i] = first + static_cast<float>(i);
    std::string bytes(elements * sizeof(float), '\0');
    std::memcpy(bytes.data(), values.data(), bytes.size());
    add(name, "F32", shape, bytes);
  }
  std::string build() const {
    const std::string header = "{" + header_ + "}";
    const std::uint64_t length = header.size();
    std::string prefix(sizeof length, '\0');
    std::memcpy(prefix.data(), &length, sizeof length);
    return prefix + header + data_;
  }

 private:
  std::string header_;
  std::string data_;
};

}  // namespace sluice::test
