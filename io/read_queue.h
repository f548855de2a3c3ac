#pragma once
// The bookkeeping that both readers share: open files, requests split into pieces, pieces continued
// after short reads, and finished requests waiting to be reaped.
//
//   add ──► waiting ── take_piece ──► in flight ── advance ──► done ── take_done ──► the caller
//                                        ▲            │
//                                        └── again ───┘   short read, EAGAIN, EINTR …
//
// Thread safety: none, the reader's mutex guards it; but a ReadPiece that was taken, and the file
// it points to, may be used without the mutex.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <vector>

#include "io/block_reader.h"
#include "io/open_file.h"

namespace sluice {

/// A part of a request that goes to the system as one read.
struct ReadPiece {
  const OpenFile* file = nullptr;
  FileIndex file_index = 0;
  std::uint64_t offset = 0;  // in the file
  std::size_t bytes = 0;     // a multiple of the file's alignment
  std::size_t goal = 0;      // bytes that the file should have of it; done when these have come
  std::size_t needed = 0;    // bytes without which the request fails
  std::byte* destination = nullptr;
  std::size_t done = 0;       // bytes that have come
  unsigned stalls = 0;        // refusals in a row
  std::uint32_t request = 0;  // ReadQueue's own

  /// Where the next read starts: a direct read that ended inside a sector is taken up from that
  /// sector's start.
  std::size_t resume() const { return done - done % file->alignment(); }
};

class ReadQueue {
 public:
  explicit ReadQueue(std::size_t piece_bytes)
      : piece_bytes_(std::min(piece_bytes, kLargestPiece)) {}

  FileIndex add_file(OpenFile file);
  /// Null for an index that was never given out.
  const OpenFile* file(FileIndex index) const;
  std::size_t file_count() const { return files_.size(); }
  /// Whether every file so far is read directly (and there is one).
  bool all_direct() const { return !files_.empty() && all_direct_; }

  /// Takes all requests or, with kInvalidArgument, none.
  Status add(std::span<const ReadRequest> requests);
  /// The next piece to read; false when none waits or enough are in flight.
  bool take_piece(ReadPiece* piece);
  bool has_piece() const { return first_waiting_ != kNone && in_flight_ < limit_; }
  /// Of bytes in flight, from which on no piece is given; 0: none.
  void limit_in_flight(std::size_t bytes) { limit_ = bytes != 0 ? bytes : SIZE_MAX; }
  /// Books one read's outcome, bytes or -errno, that started at piece.resume(). True: read on from
  /// the new piece.resume(). False: the piece is finished, and its request too if it was the last
  /// one.
  bool advance(ReadPiece* piece, long outcome);
  /// Finishes a piece that can not be read.
  void fail(const ReadPiece& piece, Status status);

  /// Hands over finished requests, oldest first; returns how many.
  std::size_t take_done(std::span<ReadCompletion> out);
  bool has_done() const { return first_done_ != kNone; }
  /// Whether no request is waiting, in flight or waiting to be reaped.
  bool idle() const { return live_ == 0; }

  const ReaderCounters& counters() const { return counters_; }

 private:
  static constexpr std::uint32_t kNone = 0xffffffffu;
  static constexpr std::size_t kLargestPiece = std::size_t{1}
                                               << 30;  // system calls stop short of 2 GiB

  struct Pending {
    ReadRequest request;
    std::size_t goal = 0;    // bytes that the file should have of the request
    std::size_t next = 0;    // where the next piece starts
    unsigned in_flight = 0;  // pieces taken and not finished
    Status status;
    std::uint32_t link = kNone;  // the next of whichever list it is in
  };

  Status check(const ReadRequest& request) const;
  bool wholly_taken(const Pending& pending) const { return pending.next >= pending.goal; }
  void enlist(std::uint32_t slot, std::uint32_t* first, std::uint32_t* last);
  std::uint32_t delist(std::uint32_t* first, std::uint32_t* last);
  void finish_piece(const ReadPiece& piece, Status status);

  const std::size_t piece_bytes_;
  std::deque<OpenFile> files_;  // a deque: pieces point into it
  bool all_direct_ = true;
  // Slots are reused through a free list, so that nothing is allocated once the busiest moment has
  // passed.
  std::vector<Pending> slots_;
  std::uint32_t first_free_ = kNone, last_free_ = kNone;
  std::uint32_t first_waiting_ = kNone, last_waiting_ = kNone;
  std::uint32_t first_done_ = kNone, last_done_ = kNone;
  std::size_t live_ = 0;
  std::size_t in_flight_ = 0;  // bytes of pieces taken and not finished
  std::size_t limit_ = SIZE_MAX;
  ReaderCounters counters_;
};

}  // namespace sluice
