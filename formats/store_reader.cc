#include <array>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "formats/checksum.h"
#include "formats/completion.h"
#include "formats/header_reader.h"
#include "formats/store_codec.h"
#include "formats/store_format.h"
#include "formats/store_header.h"

namespace sluice {
namespace {

constexpr std::uint64_t kChecksumBytes = sizeof(std::uint64_t);

/// To where the first block is.
void move(TensorInfo& tensor, std::uint64_t first_block) {
  const auto shift = [&](std::vector<FileRange>& ranges) {
    for (FileRange& range : ranges) {
      if (range.bytes != 0) range.offset += first_block;
    }
  };
  shift(tensor.ranges);
  if (tensor.nested) shift(tensor.nested->groups);
  if (tensor.stored) shift(tensor.stored->scales);
}

class StoreOpener {
 public:
  StoreOpener(HeaderReader reader, CheckpointParts parts)
      : reader_(std::move(reader)), parts_(parts) {}

  Result<Checkpoint> open() {
    StoreHeaderBytes bytes;
    SLUICE_TRY(reader_.read(bytes, "header"));
    SLUICE_ASSIGN(header_, named(decode_store_header(bytes, reader_.file_size())));
    SLUICE_ASSIGN(StoreIndex index, read_index());
    Checkpoint checkpoint = std::move(index.checkpoint);
    checkpoint.files.push_back(reader_.path());
    checkpoint.settings_file = reader_.path();
    checkpoint.container =
        "Sluice store " + std::to_string(header_.major) + "." + std::to_string(header_.minor);
    SLUICE_TRY(named(check_complete(checkpoint)));
    if (parts_ == CheckpointParts::kTokenizerOnly) return checkpoint;
    SLUICE_TRY(read_checksums(index.blocks, checkpoint));
    for (auto& [name, tensor] : checkpoint.tensors) move(tensor, header_.first_block());
    return checkpoint;
  }

 private:
  template <typename T>
  Result<T> named(Result<T> result) const {
    return result.ok() ? std::move(result) : Result<T>(named(result.status()));
  }
  Status named(const Status& status) const { return status.with_context(reader_.path()); }

  Result<StoreIndex> read_index() {
    std::vector<std::byte> index(header_.index_bytes);
    SLUICE_TRY(reader_.skip(header_.index_offset - reader_.position(), "index"));
    SLUICE_TRY(reader_.read(index, "index"));
    if (checksum(index) != header_.index_checksum) {
      return reader_.corrupt(
          "index", "does not fit its checksum: the file is damaged; copy it again, or pack again");
    }
    const std::uint64_t first = header_.first_block();
    const std::uint64_t end = header_.table_offset;
    return named(decode_store_index(index, end < first ? 0 : end - first, parts_));
  }

  Status read_checksums(const std::vector<StoreBlock>& blocks, Checkpoint& checkpoint) {
    if (header_.table_bytes != (blocks.size() + 1) * kChecksumBytes) {
      return reader_.corrupt("table", std::to_string(header_.table_bytes) + " bytes do not fit " +
                                          std::to_string(blocks.size()) + " blocks");
    }
    std::vector<std::uint64_t> sums(blocks.size());
    SLUICE_TRY(reader_.skip(header_.table_offset - reader_.position(), "table"));
    SLUICE_TRY(reader_.read(std::as_writable_bytes(std::span(sums)), "table"));
    SLUICE_ASSIGN(const auto own, reader_.read<std::uint64_t>("checksum of the table"));
    if (own != checksum(std::as_bytes(std::span(sums)))) {
      return reader_.corrupt(
          "table", "does not fit its checksum: the file is damaged; copy it again, or pack again");
    }
    checkpoint.blocks.reserve(blocks.size());
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      checkpoint.blocks.push_back(
          {0, header_.first_block() + blocks[i].offset, blocks[i].bytes, sums[i]});
    }
    return {};
  }

  HeaderReader reader_;
  CheckpointParts parts_;
  StoreHeader header_;
};

}  // namespace

bool is_store(const std::string& path) {
  auto reader = HeaderReader::open(path);
  std::array<char, kStoreMagic.size()> magic{};
  return reader.ok() && reader->file_size() >= magic.size() &&
         reader->read(std::as_writable_bytes(std::span(magic)), "magic").ok() &&
         magic == kStoreMagic;
}

Result<Checkpoint> planned_checkpoint(const StorePlan& plan, const std::string& path) {
  const auto head = std::span<const std::byte>(plan.head);
  SLUICE_ASSIGN(const StoreHeader header,
                decode_store_header(head.first<kStoreHeaderBytes>(), plan.file_bytes));
  SLUICE_ASSIGN(
      StoreIndex index,
      decode_store_index(head.subspan(header.index_offset, header.index_bytes),
                         header.table_offset - header.first_block(), CheckpointParts::kEverything));
  Checkpoint checkpoint = std::move(index.checkpoint);
  checkpoint.files = {path};
  checkpoint.settings_file = path;
  for (auto& [name, tensor] : checkpoint.tensors) move(tensor, header.first_block());
  return checkpoint;
}

Result<Checkpoint> open_store(const std::string& path, CheckpointParts parts) {
  SLUICE_ASSIGN(HeaderReader reader, HeaderReader::open(path));
  return StoreOpener(std::move(reader), parts).open();
}

}  // namespace sluice
