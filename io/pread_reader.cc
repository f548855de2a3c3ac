#include "io/pread_reader.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

namespace sluice {

PreadReader::PreadReader(const ReaderOptions& options)
    : options_(options), queue_(options.piece_bytes != 0 ? options.piece_bytes : kPieceBytes) {}

PreadReader::~PreadReader() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  work_waits_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

Status PreadReader::start() {
  const unsigned wanted = std::clamp(options_.depth, 1u, kPoolThreads);
  try {
    threads_.reserve(wanted);
    while (threads_.size() < wanted) threads_.emplace_back([this] { work(); });
  } catch (const std::system_error& error) {
    // Fewer threads read more slowly, but as rightly.
    if (threads_.empty()) {
      return Status(ErrorCode::kIo,
                    std::string("pread pool: cannot start a thread: ") + error.what());
    }
  }
  return {};
}

void PreadReader::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    work_waits_.wait(lock, [this] { return stopping_ || queue_.has_piece(); });
    if (stopping_) return;
    ReadPiece piece;
    queue_.take_piece(&piece);
    // Threads wake one another, as many as there is work for, rather than all at each submission.
    if (queue_.has_piece()) work_waits_.notify_one();
    bool again = true;
    while (again) {
      lock.unlock();
      const std::size_t from = piece.resume();
      const std::uint64_t offset = piece.offset + from;
      const ssize_t got = ::pread(piece.file->descriptor(), piece.destination + from,
                                  piece.bytes - from, static_cast<off_t>(offset));
      const long outcome = got < 0 ? -static_cast<long>(errno) : static_cast<long>(got);
      if (got > 0) piece.file->drop_cached(offset, static_cast<std::size_t>(got));
      lock.lock();
      again = queue_.advance(&piece, outcome) && !stopping_;
    }
    if (queue_.has_done()) done_waits_.notify_one();
  }
}

Result<FileIndex> PreadReader::open(const std::string& path) {
  SLUICE_ASSIGN(OpenFile file, OpenFile::open(path, options_.direct));
  const std::lock_guard lock(mutex_);
  return queue_.add_file(std::move(file));
}

std::uint64_t PreadReader::file_size(FileIndex file) const {
  const std::lock_guard lock(mutex_);
  const OpenFile* const found = queue_.file(file);
  return found != nullptr ? found->size() : 0;
}

std::size_t PreadReader::alignment(FileIndex file) const {
  const std::lock_guard lock(mutex_);
  const OpenFile* const found = queue_.file(file);
  return found != nullptr ? found->alignment() : 1;
}

void PreadReader::register_memory(std::span<std::byte>) {}  // pread has nothing to gain from it

void PreadReader::limit_in_flight(std::size_t bytes) {
  {
    const std::lock_guard lock(mutex_);
    queue_.limit_in_flight(bytes);
  }
  work_waits_.notify_one();
}

Status PreadReader::submit(std::span<const ReadRequest> requests) {
  bool done = false;
  {
    const std::lock_guard lock(mutex_);
    SLUICE_TRY(queue_.add(requests));
    done = queue_.has_done();
  }
  work_waits_.notify_one();
  if (done) done_waits_.notify_one();
  return {};
}

std::size_t PreadReader::reap(std::span<ReadCompletion> out, bool wait) {
  std::unique_lock lock(mutex_);
  if (wait && !out.empty()) {
    done_waits_.wait(lock, [this] { return queue_.has_done() || queue_.idle(); });
  }
  const std::size_t count = queue_.take_done(out);
  // One wake-up may stand for several requests, and the last one frees all who wait.
  if (queue_.has_done()) {
    done_waits_.notify_one();
  } else if (queue_.idle()) {
    done_waits_.notify_all();
  }
  return count;
}

ReaderInfo PreadReader::info() const {
  const std::lock_guard lock(mutex_);
  ReaderInfo info;
  info.name = "pread pool";
  info.why = options_.why;
  info.direct = queue_.all_direct();
  info.depth = static_cast<unsigned>(threads_.size());
  return info;
}

ReaderCounters PreadReader::counters() const {
  const std::lock_guard lock(mutex_);
  return queue_.counters();
}

Result<std::unique_ptr<BlockReader>> make_pread_reader(const ReaderOptions& options) {
  auto reader = std::make_unique<PreadReader>(options);
  SLUICE_TRY(reader->start());
  return std::unique_ptr<BlockReader>(std::move(reader));
}

}  // namespace sluice
