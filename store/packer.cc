#include "store/packer.h"

#include <algorithm>
#include <future>
#include <system_error>
#include <utility>

#include "base/size.h"
#include "store/kept_blocks.h"

namespace sluice {
namespace {

/// Beside the caller, where there is a thread to be had.
template <typename Work>
std::future<Status> start(Work work) {
  try {
    return std::async(std::launch::async, work);
  } catch (const std::system_error&) {
    return std::async(std::launch::deferred, work);
  }
}

}  // namespace

Result<std::unique_ptr<Packer>> Packer::begin(const StorePlan& plan, BlockReader& reader,
                                              PackTarget& target, PackOptions options) {
  SLUICE_ASSIGN(const PackIdentity identity, identity_of(plan, options.importance));
  SLUICE_ASSIGN(PlanReader source, PlanReader::open(plan, reader, options.importance));
  SLUICE_ASSIGN(PackJournal journal, PackJournal::open(target.journal(), plan.blocks.size()));
  std::unique_ptr<Packer> packer(
      new Packer(plan, std::move(source), target, std::move(journal), std::move(options)));
  packer->identity_ = identity;
  for (AlignedBuffer& chunk : packer->chunks_) {
    SLUICE_ASSIGN(chunk, AlignedBuffer::allocate(packer->options_.chunk_bytes));
  }
  if (target.has_its_name()) {
    SLUICE_TRY(packer->check_finished());
    return packer;
  }
  SLUICE_TRY(packer->make_room());
  packer->writer_.emplace(plan, target.partial(), packer->journal_, packer->options_.sync_bytes);
  return packer;
}

/// The journal has what every block had when it was written, and so has the file's table.
Status Packer::check_finished() {
  const Status taken = name_is_taken(target_.path());
  const std::vector<std::uint64_t>& checksums = journal_.checksums();
  SLUICE_ASSIGN(const std::uint64_t size, target_.partial().size());
  const bool of_this = journal_.identity() == identity_;
  if (!of_this || checksums.size() != plan_.blocks.size() || size != plan_.file_bytes) return taken;
  const auto has = [&](std::uint64_t offset, std::span<const std::byte> right) -> Result<bool> {
    std::vector<std::byte> bytes(right.size());
    SLUICE_TRY(target_.partial().read(offset, bytes));
    return std::ranges::equal(bytes, right);
  };
  SLUICE_ASSIGN(const bool head, has(0, plan_.head));
  SLUICE_ASSIGN(const bool table, has(plan_.table_offset, store_table(checksums)));
  if (!head || !table) return taken;
  resumed_ = plan_.file_bytes;
  return {};
}

Status Packer::make_room() {
  PackFile& partial = target_.partial();
  SLUICE_ASSIGN(const std::uint64_t there, partial.size());
  if (there > 0 && !journal_.identity()) {
    return {ErrorCode::kInvalidArgument,
            partial.path() +
                ": is there without the journal of a pack, and is left as it is: "
                "remove it, or choose another name"};
  }
  const bool other = journal_.identity() && *journal_.identity() != identity_;
  if (there > 0 && other && !journal_.checksums().empty()) {
    return {ErrorCode::kInvalidArgument,
            partial.path() + ": was begun with " + journal_.identity()->difference(identity_) +
                ": repeat the command that began it, or remove this file to begin anew"};
  }
  const std::span<const std::uint64_t> checksums =
      other ? std::span<const std::uint64_t>() : journal_.checksums();
  const std::uint64_t listed = offset_after(plan_, checksums.size());
  const auto progress = [&](std::uint64_t right) {
    if (options_.checking) options_.checking(right, listed);
  };
  SLUICE_ASSIGN(
      const std::size_t blocks,
      count_right_blocks(plan_, partial, checksums, {chunks_[0].data(), options_.chunk_bytes},
                         progress, options_.cancel));
  resumed_ = offset_after(plan_, blocks);
  damaged_ = listed - resumed_;
  SLUICE_TRY(partial.truncate(resumed_));
  SLUICE_TRY(partial.sync());
  SLUICE_ASSIGN(const std::uint64_t free, target_.free_bytes());
  const std::uint64_t needed = plan_.file_bytes - resumed_;
  if (free < needed) {
    return {ErrorCode::kIo, target_.path() + ": takes " + format_size(needed) + " and there are " +
                                format_size(free) + " free: " + format_size(needed - free) +
                                " are missing"};
  }
  return journal_.restart(identity_, blocks);
}

Status Packer::copy() {
  if (writer_->offset() == 0) {
    SLUICE_TRY(writer_->write(plan_.head));
  } else {
    // No block, and so nothing that was checked: written again, it is right.
    SLUICE_TRY(target_.partial().write(0, plan_.head));
  }
  std::future<Status> writing;
  std::uint64_t at = writer_->offset();
  for (std::size_t turn = 0; at < plan_.table_offset; turn ^= 1) {
    const std::uint64_t left = plan_.table_offset - at;
    const std::span<std::byte> chunk(
        chunks_[turn].data(),
        static_cast<std::size_t>(std::min<std::uint64_t>(options_.chunk_bytes, left)));
    const Status read = source_.read(at, chunk, options_.cancel);
    if (writing.valid()) SLUICE_TRY(writing.get());
    SLUICE_TRY(read);
    if (options_.progress) options_.progress(at);
    writing = start([this, chunk] { return writer_->write(chunk); });
    at += chunk.size();
  }
  if (writing.valid()) SLUICE_TRY(writing.get());
  if (options_.progress) options_.progress(plan_.file_bytes);
  return {};
}

Status Packer::check_source() {
  SLUICE_ASSIGN(const PackIdentity now, identity_of(plan_, options_.importance));
  if (now == identity_) return {};
  // Nobody knows which of its blocks are old and which are new.
  SLUICE_TRY(journal_.restart(identity_, 0));
  SLUICE_TRY(target_.partial().truncate(0));
  return {ErrorCode::kCorrupt, plan_.files.front() +
                                   ": the source changed while it was packed: "
                                   "pack again"};
}

Status Packer::run() {
  if (was_packed()) return target_.publish();
  Status status = copy();
  if (!status.ok()) {
    // Why it ends is what is told; what this fails to keep is packed again.
    static_cast<void>(writer_->settle());
    // A file that nobody can go on with would only be in the way.
    if (kept_bytes() == 0) static_cast<void>(target_.partial().truncate(0));
    return status;
  }
  SLUICE_TRY(writer_->finish());
  SLUICE_TRY(check_source());
  return target_.publish();
}

}  // namespace sluice
