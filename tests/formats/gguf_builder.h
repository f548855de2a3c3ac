#pragma once
// Writes GGUF files field by field, right or wrong as the test wants them.

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::test {

template <typename T>
std::string raw(T value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}
inline std::string text(std::string_view value) {
  return raw<std::uint64_t>(value.size()) + std::string(value);
}

class GgufBuilder {
 public:
  struct Tensor {
    std::string name;
    std::vector<std::uint64_t> extents;  // innermost first, as in the file
    std::uint32_t type = 0;
    std::uint64_t offset = 0;
  };

  explicit GgufBuilder(std::string_view architecture = "llama") {
    add("general.architecture", architecture);
  }

  void pair(std::string_view key, std::uint32_t kind, const std::string& value) {
    pairs_ += text(key) + raw(kind) + value;
    ++pair_count;
  }
  void add(std::string_view key, std::string_view value) { pair(key, 8, text(value)); }
  void add(std::string_view key, const char* value) { pair(key, 8, text(value)); }
  void add(std::string_view key, std::uint32_t value) { pair(key, 4, raw(value)); }
  void add(std::string_view key, std::int32_t value) { pair(key, 5, raw(value)); }
  void add(std::string_view key, std::uint16_t value) { pair(key, 2, raw(value)); }
  void add(std::string_view key, float value) { pair(key, 6, raw(value)); }
  void add(std::string_view key, bool value) { pair(key, 7, raw<std::uint8_t>(value)); }
  void add_texts(std::string_view key, const std::vector<std::string>& values) {
    std::string bytes = raw<std::uint32_t>(8) + raw<std::uint64_t>(values.size());
    for (const std::string& value : values) bytes += text(value);
    pair(key, 9, bytes);
  }
  template <typename T>
  void add_list(std::string_view key, std::uint32_t kind, const std::vector<T>& values) {
    std::string bytes = raw(kind) + raw<std::uint64_t>(values.size());
    for (const T value : values) bytes += raw(value);
    pair(key, 9, bytes);
  }
  /// A tensor at the next aligned offset; `bytes` of the letter x are its data.
  void tensor(std::string_view name, std::vector<std::uint64_t> extents, std::uint32_t type,
              std::uint64_t bytes) {
    tensors.push_back({std::string(name), std::move(extents), type, data.size()});
    data.append(bytes, static_cast<char>('a' + tensors.size() % 26));
    data.resize((data.size() + alignment - 1) / alignment * alignment, '\0');
  }
  std::string build() const {
    std::string file = magic + raw(version) + raw<std::uint64_t>(tensors.size() + extra_tensors) +
                       raw<std::uint64_t>(pair_count) + pairs_;
    for (const Tensor& entry : tensors) {
      file += text(entry.name) + raw(static_cast<std::uint32_t>(entry.extents.size()));
      for (const std::uint64_t extent : entry.extents) file += raw(extent);
      file += raw(entry.type) + raw(entry.offset);
    }
    file.resize((file.size() + alignment - 1) / alignment * alignment, '\0');
    return file + data;
  }

  std::string magic = "GGUF";
  std::uint32_t version = 3;
  std::uint64_t pair_count = 0;
  std::uint64_t extra_tensors = 0;  // announced, not there
  std::uint64_t alignment = 32;
  std::vector<Tensor> tensors;
  std::string data;

 private:
  std::string pairs_;
};

}  // namespace sluice::test
