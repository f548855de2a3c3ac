#include "io/read_queue.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace sluice {
namespace {

/// Refusals in a row after which a piece is given up; a healthy system needs a handful.
constexpr unsigned kMaxStalls = 1000;

/// Outcomes that say "not now" and nothing of the file. The last two are what a ring makes of the
/// reads that a thread left behind when it ended: they were cancelled, or went on where the
/// process's memory is out of reach.
bool passes(long error) {
  return error == EAGAIN || error == EINTR || error == EBUSY || error == ECANCELED ||
         error == EFAULT;
}

std::size_t round_up(std::size_t value, std::size_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

std::string describe(const ReadPiece& piece) {
  return piece.file->path() + ": reading " + std::to_string(piece.bytes) + " bytes at offset " +
         std::to_string(piece.offset);
}

}  // namespace

FileIndex ReadQueue::add_file(OpenFile file) {
  all_direct_ = all_direct_ && file.direct();
  files_.push_back(std::move(file));
  return static_cast<FileIndex>(files_.size() - 1);
}

const OpenFile* ReadQueue::file(FileIndex index) const {
  return index < files_.size() ? &files_[index] : nullptr;
}

Status ReadQueue::check(const ReadRequest& request) const {
  const OpenFile* const target = file(request.file);
  if (target == nullptr) {
    return Status(ErrorCode::kInvalidArgument,
                  "read request: no file " + std::to_string(request.file) + " is open");
  }
  const auto refuse = [&](const char* why) {
    return Status(ErrorCode::kInvalidArgument,
                  target->path() + ": read request of " + std::to_string(request.bytes) +
                      " bytes at offset " + std::to_string(request.offset) + " " + why);
  };
  const std::size_t alignment = target->alignment();
  if (request.offset % alignment != 0 || request.bytes % alignment != 0 ||
      reinterpret_cast<std::uintptr_t>(request.destination) % alignment != 0) {
    return refuse("is not aligned to the file's blocks");
  }
  if (request.needed > request.bytes) return refuse("needs more bytes than it asks for");
  if (request.bytes > 0 && request.destination == nullptr) return refuse("has no destination");
  constexpr auto kLargest = static_cast<std::uint64_t>(INT64_MAX);
  if (request.bytes > kLargest || request.offset > kLargest - request.bytes) {
    return refuse("is out of range");
  }
  return {};
}

Status ReadQueue::add(std::span<const ReadRequest> requests) {
  for (const ReadRequest& request : requests) SLUICE_TRY(check(request));
  for (const ReadRequest& request : requests) {
    std::uint32_t slot = delist(&first_free_, &last_free_);
    if (slot == kNone) {
      slot = static_cast<std::uint32_t>(slots_.size());
      slots_.emplace_back();
    }
    const std::uint64_t size = files_[request.file].size();
    const std::uint64_t present = size > request.offset ? size - request.offset : 0;
    Pending& pending = slots_[slot];
    pending.request = request;
    pending.goal =
        std::max<std::size_t>(request.needed, std::min<std::uint64_t>(request.bytes, present));
    pending.next = 0;
    pending.in_flight = 0;
    ++live_;
    ++counters_.requests;
    // A request of nothing, or wholly beyond the end and not needed, is done as it comes.
    if (wholly_taken(pending)) {
      enlist(slot, &first_done_, &last_done_);
    } else {
      enlist(slot, &first_waiting_, &last_waiting_);
    }
  }
  return {};
}

bool ReadQueue::take_piece(ReadPiece* piece) {
  if (!has_piece()) return false;
  const std::uint32_t slot = first_waiting_;
  Pending& pending = slots_[slot];
  const ReadRequest& request = pending.request;
  const OpenFile& source = files_[request.file];
  const std::size_t begin = pending.next;
  const std::size_t step = round_up(piece_bytes_, source.alignment());
  // Whole blocks, and no piece that would lie wholly past the end of the file.
  const std::size_t end = std::min(begin + step, round_up(pending.goal, source.alignment()));

  *piece = ReadPiece{};
  piece->file = &source;
  piece->file_index = request.file;
  piece->offset = request.offset + begin;
  piece->bytes = end - begin;
  piece->goal = std::min(end, pending.goal) - begin;
  piece->needed = request.needed > begin ? std::min(end, request.needed) - begin : 0;
  piece->destination = request.destination + begin;
  piece->request = slot;

  pending.next = end;
  ++pending.in_flight;
  in_flight_ += piece->bytes;
  if (wholly_taken(pending)) delist(&first_waiting_, &last_waiting_);
  return true;
}

bool ReadQueue::advance(ReadPiece* piece, long outcome) {
  if (outcome < 0) {
    if (passes(-outcome) && ++piece->stalls < kMaxStalls) {
      ++counters_.retries;
      return true;
    }
    finish_piece(*piece, Status(ErrorCode::kIo, describe(*piece) + ": " +
                                                    std::strerror(static_cast<int>(-outcome))));
    return false;
  }
  counters_.bytes += static_cast<std::uint64_t>(outcome);
  piece->stalls = 0;
  const std::size_t reached = piece->resume() + static_cast<std::size_t>(outcome);
  const bool progressed = reached > piece->done;
  piece->done = std::max(piece->done, reached);
  if (piece->done >= piece->goal) {
    finish_piece(*piece, {});
    return false;
  }
  if (progressed) {
    ++counters_.retries;
    return true;
  }
  // A read that brings nothing new has met the end of the file.
  if (piece->done >= piece->needed) {
    finish_piece(*piece, {});
  } else {
    finish_piece(
        *piece,
        Status(ErrorCode::kIo, describe(*piece) + ": only " + std::to_string(piece->done) +
                                   " came: the file has " +
                                   std::to_string(piece->file->size_now()) + " bytes now and had " +
                                   std::to_string(piece->file->size()) + " when it was opened"));
  }
  return false;
}

void ReadQueue::fail(const ReadPiece& piece, Status status) {
  finish_piece(piece, status.with_context(describe(piece)));
}

void ReadQueue::finish_piece(const ReadPiece& piece, Status status) {
  Pending& pending = slots_[piece.request];
  if (pending.status.ok()) pending.status = std::move(status);
  --pending.in_flight;
  in_flight_ -= piece.bytes;
  // The pieces still in flight write to the destination: the request is done only after the last of
  // them.
  if (pending.in_flight == 0 && wholly_taken(pending)) {
    enlist(piece.request, &first_done_, &last_done_);
  }
}

std::size_t ReadQueue::take_done(std::span<ReadCompletion> out) {
  std::size_t count = 0;
  while (count < out.size() && first_done_ != kNone) {
    const std::uint32_t slot = delist(&first_done_, &last_done_);
    Pending& pending = slots_[slot];
    out[count].tag = pending.request.tag;
    out[count].status = std::exchange(pending.status, Status());
    enlist(slot, &first_free_, &last_free_);
    --live_;
    ++count;
  }
  return count;
}

void ReadQueue::enlist(std::uint32_t slot, std::uint32_t* first, std::uint32_t* last) {
  slots_[slot].link = kNone;
  if (*first == kNone) {
    *first = slot;
  } else {
    slots_[*last].link = slot;
  }
  *last = slot;
}

std::uint32_t ReadQueue::delist(std::uint32_t* first, std::uint32_t* last) {
  const std::uint32_t slot = *first;
  if (slot == kNone) return kNone;
  *first = slots_[slot].link;
  if (*first == kNone) *last = kNone;
  return slot;
}

}  // namespace sluice
