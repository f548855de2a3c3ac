#include "tests/engine/golden.h"

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace sluice::test {
namespace {

template <typename T>
std::vector<T> read_tensor(std::ifstream& file, std::uint64_t data, const nlohmann::json& entry) {
  const auto begin = entry["data_offsets"][0].get<std::uint64_t>();
  const auto end = entry["data_offsets"][1].get<std::uint64_t>();
  std::vector<T> values((end - begin) / sizeof(T));
  file.seekg(static_cast<std::streamoff>(data + begin));
  file.read(reinterpret_cast<char*>(values.data()), static_cast<std::streamsize>(end - begin));
  if (!file) throw std::runtime_error("golden file is truncated");
  return values;
}

}  // namespace

Golden read_golden(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::uint64_t length = 0;
  file.read(reinterpret_cast<char*>(&length), sizeof(length));
  if (!file || length > (1u << 20)) throw std::runtime_error("no golden file at " + path.string());
  std::string text(length, '\0');
  file.read(text.data(), static_cast<std::streamsize>(length));
  const auto header = nlohmann::json::parse(text);
  const std::uint64_t data = sizeof(length) + length;

  Golden golden;
  const auto ids = read_tensor<std::int32_t>(file, data, header.at("input_ids"));
  golden.ids.assign(ids.begin(), ids.end());
  golden.rows = header.at("logits")["shape"][0];
  golden.vocabulary = header.at("logits")["shape"][1];
  golden.logits = read_tensor<float>(file, data, header.at("logits"));
  if (header.contains("experts")) {
    golden.sparse_layers = header["experts"]["shape"][0];
    golden.top_k = header["experts"]["shape"][2];
    golden.experts = read_tensor<std::int32_t>(file, data, header["experts"]);
  }
  return golden;
}

}  // namespace sluice::test
