#pragma once
// Importance matrices, in llama.cpp's file formats: how large each input of a model's matrices was
// while the model read a text, so that quantising keeps best what matters most.
//
// Of GGUF's form ("general.type" = "imatrix") two tensors are read for each matrix X of the model:
// "X.in_sum2" F32 [experts, columns], the sums of the squares, and "X.counts" F32 [experts, 1] or
// [1], of how many rows. The older form (".dat") has the means alone:
//
//   entries i32 | entries: length i32, name | chunks i32 | values i32 | f32 each, means * chunks
//   and then, in later files: chunks of all i32 | length i32, the text's name
//
// imatrix_writer.h writes the first.

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "formats/header_reader.h"

namespace sluice {

/// Of one matrix or of stacked ones, [experts, rows, columns].
struct Importance {
  std::uint64_t columns = 0;
  /// [experts, columns], all finite and not below 0. An expert of which the text says nothing has
  /// what the others have on average; ones, where it says nothing of any.
  std::vector<float> mean_squares;
  /// [experts]: rows that the means are of. The older form does not tell: 0 there, for all.
  std::vector<float> counts;

  std::span<const float> of(std::size_t expert) const {
    return std::span(mean_squares).subspan(expert * columns, columns);
  }
};

/// Knows where a file has what; numbers are read when they are asked for, since those of a large
/// model take gigabytes. Immutable; several threads may read.
class ImportanceMatrix {
 public:
  /// Errors name the file and the field; kInvalidArgument for what is of another kind.
  static Result<ImportanceMatrix> open(const std::string& path);

  const std::string& path() const { return path_; }
  /// How many matrices or stacks it tells of.
  std::size_t size() const { return entries_.size(); }
  /// Of the tensor of that name; of "ffn_gate_exps" and "ffn_up_exps" also where the file has both
  /// as "ffn_gate_up_exps".
  bool has(std::string_view tensor) const { return find(tensor) != nullptr; }
  /// kNotFound where it does not have it; kInvalidArgument where it has other extents;
  /// kCorrupt where a number is none that can be. `experts`: 1 of a plain matrix.
  Result<Importance> read(std::string_view tensor, std::uint64_t experts,
                          std::uint64_t columns) const;

 private:
  struct Entry {
    std::uint64_t sums_offset = 0, sums = 0;      // numbers
    std::uint64_t counts_offset = 0, counts = 0;  // likewise; none in the older form,
    float chunks = 1;                             // which has this
  };
  explicit ImportanceMatrix(std::string path) : path_(std::move(path)) {}

  Status list_gguf(HeaderReader& reader);
  Status list_older(HeaderReader& reader);
  Status list_older_entry(HeaderReader& reader);
  const Entry* find(std::string_view tensor) const;
  Status check_sums(std::string_view tensor, const std::vector<float>& sums) const;
  Result<std::vector<float>> read_numbers(std::string_view tensor, std::string_view what,
                                          std::uint64_t offset, std::uint64_t count) const;

  std::string path_;
  std::map<std::string, Entry, std::less<>> entries_;
};

}  // namespace sluice
