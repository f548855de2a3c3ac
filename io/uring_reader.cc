#include "io/uring_reader.h"

#include <linux/capability.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>
#include <utility>

namespace sluice {
namespace {

constexpr unsigned kMaxDepth = 4096;
constexpr unsigned kFileSlots = 256;  // files beyond these are read unregistered
constexpr unsigned kBufferSlots = 256;
constexpr std::size_t kLargestBuffer = std::size_t{1} << 30;  // the kernel's limit for one
constexpr unsigned kMaxRefusals = 2000;
constexpr std::chrono::milliseconds kNap{1};

Status ring_error(const char* call, int error) {
  return Status(ErrorCode::kUnsupported, std::string(call) + ": " + std::strerror(error));
}

/// Whether RLIMIT_MEMLOCK leaves room, judged before trying: the kernel pins the pages first and
/// counts afterwards.
std::string lock_limit_objects(std::size_t bytes) {
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> capabilities = {};
  if (::syscall(SYS_capget, &header, capabilities.data()) == 0 &&
      (capabilities[0].effective & (1u << CAP_IPC_LOCK)) != 0) {
    return {};
  }
  struct rlimit limit = {};
  if (::getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY ||
      bytes <= limit.rlim_cur) {
    return {};
  }
  return "lock limit of " + std::to_string(limit.rlim_cur >> 10) + " KiB (ulimit -l)";
}

}  // namespace

UringReader::UringReader(const ReaderOptions& options)
    : options_(options), queue_(options.piece_bytes != 0 ? options.piece_bytes : kPieceBytes) {}

UringReader::~UringReader() {
  if (!ring_made_) return;
  std::unique_lock lock(mutex_);
  give_up("the reader is closing");  // so that nothing is continued
  while (in_flight() > 0) {
    await_kernel(lock);
    harvest();
  }
  io_uring_queue_exit(&ring_);
}

Status UringReader::start() {
  const unsigned depth = std::clamp(options_.depth, 1u, kMaxDepth);
  if (const int error = io_uring_queue_init(depth, &ring_, 0); error < 0) {
    return ring_error("io_uring_setup", -error);
  }
  ring_made_ = true;
  SLUICE_TRY(probe());
  pieces_.resize(depth);
  for (std::uint32_t slot = depth; slot > 0; --slot) free_pieces_.push_back(slot - 1);
  // Registration saves work for each read; kernels before 5.19 read as rightly without it.
  if (io_uring_register_files_sparse(&ring_, kFileSlots) == 0) file_slots_ = kFileSlots;
  if (io_uring_register_buffers_sparse(&ring_, kBufferSlots) == 0) buffer_slots_ = kBufferSlots;
  return {};
}

/// Sandboxes may grant the set-up and refuse the use, so a read of known bytes has to succeed.
Status UringReader::probe() {
  const int descriptor = ::memfd_create("sluice-probe", MFD_CLOEXEC);
  if (descriptor < 0) return ring_error("io_uring probe: memfd_create", errno);
  constexpr std::array<char, 16> kPattern = {'i', 'o', '_', 'u', 'r', 'i', 'n', 'g',
                                             ' ', 'w', 'o', 'r', 'k', 's', '!', '\n'};
  std::array<char, kPattern.size()> seen = {};
  Status status;
  if (::pwrite(descriptor, kPattern.data(), kPattern.size(), 0) != ssize_t{kPattern.size()}) {
    status = ring_error("io_uring probe: pwrite", errno);
  } else {
    io_uring_prep_read(io_uring_get_sqe(&ring_), descriptor, seen.data(), unsigned{seen.size()}, 0);
    io_uring_cqe* completion = nullptr;
    int error = io_uring_submit_and_wait(&ring_, 1);
    if (error >= 0) error = io_uring_peek_cqe(&ring_, &completion);
    if (error < 0) {
      status = ring_error("io_uring_enter", -error);
    } else {
      const int got = completion->res;
      io_uring_cqe_seen(&ring_, completion);
      if (got < 0) {
        status = ring_error("io_uring read", -got);
      } else if (seen != kPattern) {
        status = Status(ErrorCode::kUnsupported, "io_uring probe: the bytes read are wrong");
      }
    }
  }
  ::close(descriptor);
  return status;
}

Result<FileIndex> UringReader::open(const std::string& path) {
  SLUICE_ASSIGN(OpenFile file, OpenFile::open(path, options_.direct));
  const std::lock_guard lock(mutex_);
  const int descriptor = file.descriptor();
  const FileIndex index = queue_.add_file(std::move(file));
  if (index < file_slots_ && io_uring_register_files_update(&ring_, index, &descriptor, 1) != 1) {
    file_slots_ = index;  // from here on unregistered
  }
  return index;
}

std::uint64_t UringReader::file_size(FileIndex file) const {
  const std::lock_guard lock(mutex_);
  const OpenFile* const found = queue_.file(file);
  return found != nullptr ? found->size() : 0;
}

std::size_t UringReader::alignment(FileIndex file) const {
  const std::lock_guard lock(mutex_);
  const OpenFile* const found = queue_.file(file);
  return found != nullptr ? found->alignment() : 1;
}

void UringReader::register_memory(std::span<std::byte> memory) {
  const std::lock_guard lock(mutex_);
  while (!memory.empty()) {
    const auto chunk = memory.first(std::min(memory.size(), kLargestBuffer));
    memory = memory.subspan(chunk.size());
    if (std::string objection = register_chunk(chunk); !objection.empty()) {
      buffer_note_ = std::move(objection);
      return;
    }
  }
}

/// Empty, or why the chunk stays unregistered.
std::string UringReader::register_chunk(std::span<std::byte> chunk) {
  if (buffer_slots_ == 0) return "the kernel has no table of buffers";
  auto slot = std::find_if(buffers_.begin(), buffers_.end(),
                           [](const RegisteredBuffer& buffer) { return buffer.begin == nullptr; });
  if (slot == buffers_.end() && buffers_.size() == buffer_slots_) return "too many of them";
  if (std::string objection = lock_limit_objects(registered_bytes_ + chunk.size());
      !objection.empty()) {
    return objection;
  }
  if (slot == buffers_.end()) slot = buffers_.insert(slot, RegisteredBuffer{});
  const iovec range = {chunk.data(), chunk.size()};
  const auto index = static_cast<unsigned>(slot - buffers_.begin());
  const int outcome = io_uring_register_buffers_update_tag(&ring_, index, &range, nullptr, 1);
  if (outcome < 0) return std::strerror(-outcome);
  *slot = {chunk.data(), chunk.size()};
  registered_bytes_ += chunk.size();
  return {};
}

void UringReader::forget_memory(std::span<std::byte> memory) {
  const std::lock_guard lock(mutex_);
  for (std::size_t index = 0; index < buffers_.size(); ++index) {
    RegisteredBuffer& buffer = buffers_[index];
    if (buffer.begin < memory.data() || buffer.begin >= memory.data() + memory.size()) continue;
    const iovec nothing = {nullptr, 0};
    io_uring_register_buffers_update_tag(&ring_, static_cast<unsigned>(index), &nothing, nullptr,
                                         1);
    registered_bytes_ -= buffer.bytes;
    buffer = {};
  }
}

int UringReader::buffer_slot(const std::byte* begin, std::size_t bytes) const {
  for (std::size_t index = 0; index < buffers_.size(); ++index) {
    const RegisteredBuffer& buffer = buffers_[index];
    if (buffer.begin != nullptr && begin >= buffer.begin &&
        begin + bytes <= buffer.begin + buffer.bytes) {
      return static_cast<int>(index);
    }
  }
  return -1;
}

Status UringReader::submit(std::span<const ReadRequest> requests) {
  const std::lock_guard lock(mutex_);
  SLUICE_TRY(queue_.add(requests));
  pump();
  if (queue_.has_done()) waiter_back_.notify_all();
  return {};
}

void UringReader::limit_in_flight(std::size_t bytes) {
  const std::lock_guard lock(mutex_);
  queue_.limit_in_flight(bytes);
  pump();
}

std::size_t UringReader::reap(std::span<ReadCompletion> out, bool wait) {
  if (out.empty()) return 0;
  std::unique_lock lock(mutex_);
  for (;;) {
    if (!waiter_away_) harvest();
    pump();
    if (const std::size_t count = queue_.take_done(out); count > 0) {
      // What is left, or the news that nothing is, concerns the others who wait.
      waiter_back_.notify_all();
      return count;
    }
    if (!wait || queue_.idle()) return 0;
    if (waiter_away_) {
      waiter_back_.wait(lock);
    } else {
      await_kernel(lock);
    }
  }
}

/// Sleeps, without the lock, until the kernel has news or is worth asking again.
void UringReader::await_kernel(std::unique_lock<std::mutex>& lock) {
  const bool enter = broken_.ok() && in_kernel() > 0;
  const int ring = ring_.ring_fd;
  int outcome = 0;
  waiter_away_ = true;
  lock.unlock();
  if (enter) {
    outcome = io_uring_enter(static_cast<unsigned>(ring), 0, 1, IORING_ENTER_GETEVENTS, nullptr);
  } else {
    std::this_thread::sleep_for(kNap);
  }
  lock.lock();
  waiter_away_ = false;
  waiter_back_.notify_all();
  if (!enter && broken_.ok() && ++refusals_ > kMaxRefusals) {
    give_up(std::strerror(EAGAIN));
  }
  if (outcome < 0 && outcome != -EINTR && outcome != -EAGAIN && outcome != -EBUSY) {
    give_up(std::strerror(-outcome));
  }
}

/// Moves waiting pieces into the ring as far as the depth allows, and tells the kernel once.
void UringReader::pump() {
  ReadPiece piece;
  if (!broken_.ok()) {
    while (queue_.take_piece(&piece)) queue_.fail(piece, broken_);
    return;
  }
  while (!free_pieces_.empty() && queue_.take_piece(&piece)) {
    const std::uint32_t slot = free_pieces_.back();
    free_pieces_.pop_back();
    pieces_[slot] = piece;
    prepare(slot);
  }
  flush();
}

/// Never meets a full queue: it has a place for each of the `depth` pieces.
void UringReader::prepare(std::uint32_t slot) {
  const ReadPiece& piece = pieces_[slot];
  const std::size_t from = piece.resume();
  std::byte* const destination = piece.destination + from;
  const auto bytes = static_cast<unsigned>(piece.bytes - from);
  const std::uint64_t offset = piece.offset + from;
  const bool registered_file = piece.file_index < file_slots_;
  const int file = registered_file ? static_cast<int>(piece.file_index) : piece.file->descriptor();

  io_uring_sqe* const entry = io_uring_get_sqe(&ring_);
  if (const int buffer = buffer_slot(destination, bytes); buffer >= 0) {
    io_uring_prep_read_fixed(entry, file, destination, bytes, offset, buffer);
  } else {
    io_uring_prep_read(entry, file, destination, bytes, offset);
  }
  if (registered_file) io_uring_sqe_set_flags(entry, IOSQE_FIXED_FILE);
  io_uring_sqe_set_data64(entry, slot);
  ++queued_;
}

/// Submits what is in the queue. A kernel that is short of something is asked again at the next
/// occasion.
void UringReader::flush() {
  while (queued_ > 0) {
    const int outcome = io_uring_submit(&ring_);
    queued_ = io_uring_sq_ready(&ring_);
    if (outcome > 0) {
      refusals_ = 0;
    } else if (outcome == 0 || outcome == -EAGAIN || outcome == -EBUSY) {
      return;
    } else if (outcome != -EINTR) {
      give_up(std::strerror(-outcome));
      return;
    }
  }
}

/// Books all completions. REQUIRES: no waiter is away, for the queue is the waiter's then.
void UringReader::harvest() {
  io_uring_cqe* completion = nullptr;
  while (io_uring_peek_cqe(&ring_, &completion) == 0) {
    const auto slot = static_cast<std::uint32_t>(io_uring_cqe_get_data64(completion));
    const int outcome = completion->res;
    io_uring_cqe_seen(&ring_, completion);
    ReadPiece& piece = pieces_[slot];
    if (outcome > 0) {
      piece.file->drop_cached(piece.offset + piece.resume(), static_cast<std::size_t>(outcome));
    }
    if (!queue_.advance(&piece, outcome)) {
      free_pieces_.push_back(slot);
    } else if (broken_.ok()) {
      prepare(slot);
    } else {
      queue_.fail(piece, broken_);
      free_pieces_.push_back(slot);
    }
  }
}

/// The kernel takes no more reads: those that it has come to their end, the others fail.
void UringReader::give_up(const std::string& reason) {
  broken_ = Status(ErrorCode::kIo, "io_uring_enter: " + reason);
  const unsigned tail = ring_.sq.sqe_tail;
  for (unsigned place = tail - queued_; place != tail; ++place) {
    const io_uring_sqe& entry = ring_.sq.sqes[place & (ring_.sq.ring_entries - 1)];
    const auto slot = static_cast<std::uint32_t>(entry.user_data);
    queue_.fail(pieces_[slot], broken_);
    free_pieces_.push_back(slot);
  }
  queued_ = 0;
}

ReaderInfo UringReader::info() const {
  const std::lock_guard lock(mutex_);
  ReaderInfo info;
  info.name = "io_uring";
  info.why = options_.why;
  if (file_slots_ < queue_.file_count()) info.why += "; files not registered";
  if (registered_bytes_ > 0) {
    info.why += "; " + std::to_string(registered_bytes_ >> 20) + " MiB of buffers registered";
  }
  if (!buffer_note_.empty()) {
    info.why += std::string("; ") + (registered_bytes_ > 0 ? "more" : "buffers") +
                " not registered: " + buffer_note_;
  }
  if (!broken_.ok()) info.why += "; out of order: " + broken_.message();
  info.direct = queue_.all_direct();
  info.depth = static_cast<unsigned>(pieces_.size());
  return info;
}

ReaderCounters UringReader::counters() const {
  const std::lock_guard lock(mutex_);
  return queue_.counters();
}

Result<std::unique_ptr<BlockReader>> make_uring_reader(const ReaderOptions& options) {
  auto reader = std::make_unique<UringReader>(options);
  SLUICE_TRY(reader->start());
  return std::unique_ptr<BlockReader>(std::move(reader));
}

}  // namespace sluice
