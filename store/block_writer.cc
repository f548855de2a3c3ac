#include "store/block_writer.h"

#include <algorithm>

namespace sluice {

std::uint64_t offset_after(const StorePlan& plan, std::size_t blocks) {
  if (blocks == 0) return 0;
  return blocks < plan.blocks.size() ? plan.blocks[blocks].offset : plan.table_offset;
}

BlockWriter::BlockWriter(const StorePlan& plan, PackFile& file, PackJournal& journal,
                         std::uint64_t sync_bytes)
    : plan_(plan),
      file_(file),
      journal_(journal),
      sync_bytes_(sync_bytes),
      offset_(offset_after(plan, journal.checksums().size())),
      synced_(offset_),
      block_(journal.checksums().size()) {}

void BlockWriter::hash(std::span<const std::byte> bytes) {
  const std::uint64_t end = offset_ + bytes.size();
  for (; block_ < plan_.blocks.size(); ++block_) {
    const StoreBlock& block = plan_.blocks[block_];
    const std::uint64_t block_end = block.offset + block.bytes;
    const std::uint64_t first = std::max(block.offset, offset_);
    const std::uint64_t last = std::min(block_end, end);
    if (first < last) hash_.add(bytes.subspan(first - offset_, last - first));
    if (block_end > end) return;
    checksums_.push_back(hash_.value());
    hash_.restart();
  }
}

Status BlockWriter::write(std::span<const std::byte> bytes) {
  SLUICE_TRY(file_.write(offset_, bytes));
  hash(bytes);
  offset_ += bytes.size();
  return offset_ - synced_ < sync_bytes_ ? Status() : settle();
}

Status BlockWriter::sync() {
  Status status = file_.sync();
  unsure_ = !status.ok();
  return status;
}

Status BlockWriter::settle() {
  if (unsure_) return {};
  SLUICE_TRY(sync());
  synced_ = offset_;
  SLUICE_TRY(journal_.append(checksums_));
  checksums_.clear();
  return {};
}

Status BlockWriter::finish() {
  hash({});  // blocks without bytes
  SLUICE_TRY(settle());
  SLUICE_TRY(file_.write(plan_.table_offset, store_table(journal_.checksums())));
  return sync();
}

}  // namespace sluice
