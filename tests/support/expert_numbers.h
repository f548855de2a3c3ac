#pragma once
// The numbers of one expert's matrix, read from its file: as they lie there, or as its planes have
// them.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <stdexcept>
#include <vector>

#include "base/nested_planes.h"
#include "formats/checkpoint.h"

namespace sluice::test {

inline std::vector<std::byte> bytes_of(const Checkpoint& checkpoint, const FileRange& range) {
  std::ifstream file(checkpoint.files.at(range.file), std::ios::binary);
  file.seekg(static_cast<std::streamoff>(range.offset));
  std::vector<std::byte> bytes(range.bytes);
  file.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  if (!file) throw std::runtime_error("cannot read " + checkpoint.files.at(range.file));
  return bytes;
}

/// REQUIRES: the tensor's bytes are its numbers as they are.
inline std::vector<float> plain_numbers(const Checkpoint& checkpoint, const TensorInfo& tensor,
                                        std::uint64_t expert) {
  const std::vector<std::byte> bytes = bytes_of(checkpoint, tensor.slice(expert));
  std::vector<float> numbers(tensor.shape[1] * tensor.shape[2]);
  tensor_format(tensor.type).decode(bytes.data(), numbers.data(), numbers.size());
  return numbers;
}

/// At a width, or with all bits that there are where those are fewer.
inline std::vector<float> nested_numbers(const Checkpoint& checkpoint, const TensorInfo& tensor,
                                         std::uint64_t expert, unsigned width) {
  const NestedForm& form = *tensor.nested->form;
  NestedView view{.form = &form, .width = 0, .at = {}};
  view.width = static_cast<std::uint8_t>(std::min<unsigned>(width, tensor.nested->width(expert)));
  std::vector<std::byte> data;
  for (std::size_t group = 0; group < form.groups_of(view.width); ++group) {
    view.at[group] = data.size();
    const std::vector<std::byte> bytes =
        bytes_of(checkpoint, tensor.nested->groups[expert * form.group_count + group]);
    data.insert(data.end(), bytes.begin(), bytes.end());
  }
  std::vector<float> numbers(tensor.shape[1] * tensor.shape[2]);
  for (std::size_t row = 0; row < tensor.shape[1]; ++row) {
    decode_nested_row(view, data.data(), tensor.shape[2], row,
                      numbers.data() + row * tensor.shape[2]);
  }
  return numbers;
}

}  // namespace sluice::test
