#include "cuda/host_shim.h"

#include <ucontext.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <vector>

#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#endif

namespace sluice::cuda::host_shim {
namespace {

constexpr std::size_t kStackBytes = 128 << 10;
constexpr unsigned kMaxThreads = 1024;

bool reverse_order = false;

// Opens when every thread that has not returned has arrived.
struct Barrier {
  unsigned members = 0;
  unsigned arrived = 0;
  unsigned generation = 0;

  void arrive() {
    ++arrived;
    open_if_complete();
  }
  void leave() {
    --members;
    open_if_complete();
  }
  void open_if_complete() {
    if (arrived == 0 || arrived < members) return;
    arrived = 0;
    ++generation;
  }
};

struct Warp {
  Barrier barrier;
  // Two sets by turns, so that a lane's next value cannot overwrite one that others have yet to
  // read.
  Traded values[2][32] = {};
};

struct Fiber {
  ucontext_t context;
  const Barrier* awaited = nullptr;
  unsigned awaited_generation = 0;
  unsigned trades = 0;
  bool done = false;
  void* sanitizer_fiber = nullptr;

  bool runnable() const {
    return !done && (awaited == nullptr || awaited->generation != awaited_generation);
  }
};

class Block {
 public:
  Block(unsigned threads, std::size_t shared_bytes, const std::function<void()>& body)
      : body_(body),
        shared_(new (std::align_val_t{16}) unsigned char[shared_bytes]),
        shared_bytes_(shared_bytes),
        stacks_(std::make_unique_for_overwrite<std::byte[]>(threads * kStackBytes)),
        fibers_(threads),
        warps_(threads / 32) {
#ifdef __SANITIZE_THREAD__
    scheduler_fiber_ = __tsan_get_current_fiber();
    for (Fiber& fiber : fibers_) fiber.sanitizer_fiber = __tsan_create_fiber(0);
#endif
  }
  ~Block() {
#ifdef __SANITIZE_THREAD__
    for (Fiber& fiber : fibers_) __tsan_destroy_fiber(fiber.sanitizer_fiber);
#endif
    ::operator delete[](shared_, std::align_val_t{16});
  }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

  bool run();
  void wait(Barrier& barrier);
  void wait_for_block() { wait(barrier_); }
  void wait_for_warp() { wait(warps_[current_ / 32].barrier); }
  const Traded* trade(const std::uint32_t* words, unsigned count);
  unsigned char* shared() { return shared_; }

 private:
  static void start();
  void prepare(Fiber& fiber, std::byte* stack);
  void resume(unsigned thread);
  void yield();

  const std::function<void()>& body_;
  unsigned char* shared_;
  std::size_t shared_bytes_;
  std::unique_ptr<std::byte[]> stacks_;
  std::vector<Fiber> fibers_;
  std::vector<Warp> warps_;
  Barrier barrier_;
  ucontext_t scheduler_;
  [[maybe_unused]] void* scheduler_fiber_ = nullptr;  // a thread sanitizer's
  unsigned current_ = 0;
};

thread_local Block* active = nullptr;

void Block::start() {
  Block& block = *active;
  block.body_();
  block.fibers_[block.current_].done = true;
  block.barrier_.leave();
  block.warps_[block.current_ / 32].barrier.leave();
  block.yield();  // for good
}

void Block::resume(unsigned thread) {
  current_ = thread;
  threadIdx = {thread, 0, 0};
#ifdef __SANITIZE_THREAD__
  __tsan_switch_to_fiber(fibers_[thread].sanitizer_fiber, 0);
#endif
  swapcontext(&scheduler_, &fibers_[thread].context);
}

void Block::yield() {
#ifdef __SANITIZE_THREAD__
  __tsan_switch_to_fiber(scheduler_fiber_, 0);
#endif
  swapcontext(&fibers_[current_].context, &scheduler_);
}

void Block::wait(Barrier& barrier) {
  Fiber& fiber = fibers_[current_];
  fiber.awaited = &barrier;
  fiber.awaited_generation = barrier.generation;
  barrier.arrive();
  while (!fiber.runnable()) yield();
  fiber.awaited = nullptr;
}

const Traded* Block::trade(const std::uint32_t* words, unsigned count) {
  Warp& warp = warps_[current_ / 32];
  Traded* const values = warp.values[fibers_[current_].trades++ % 2];
  std::copy_n(words, count, values[current_ % 32]);
  wait(warp.barrier);
  return values;
}

void Block::prepare(Fiber& fiber, std::byte* stack) {
  fiber.awaited = nullptr;
  fiber.trades = 0;
  fiber.done = false;
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = stack;
  fiber.context.uc_stack.ss_size = kStackBytes;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, &Block::start, 0);
}

// One block, from the first thread's start to the last one's end; false where nobody can go on.
bool Block::run() {
  std::memset(shared_, 0xcd, shared_bytes_);
  const auto threads = static_cast<unsigned>(fibers_.size());
  barrier_ = {.members = threads};
  for (Warp& warp : warps_) warp.barrier = {.members = 32};
  for (unsigned i = 0; i < threads; ++i) {
    prepare(fibers_[i], stacks_.get() + i * kStackBytes);
  }
  while (barrier_.members > 0) {
    bool progress = false;
    for (unsigned i = 0; i < threads; ++i) {
      const unsigned thread = reverse_order ? threads - 1 - i : i;
      if (!fibers_[thread].runnable()) continue;
      progress = true;
      resume(thread);
    }
    if (!progress) return false;
  }
  return true;
}

}  // namespace

cudaError_t run_grid(dim3 grid, dim3 block, std::size_t shared_bytes,
                     const std::function<void()>& body) {
  const unsigned threads = block.x;
  if (threads == 0 || threads % 32 != 0 || threads > kMaxThreads || block.y != 1 || block.z != 1 ||
      grid.x == 0 || grid.y == 0 || grid.z == 0) {
    return cudaErrorInvalidValue;
  }
  Block fibers(threads, shared_bytes, body);
  active = &fibers;
  blockDim = block;
  gridDim = grid;
  bool finished = true;
  for (unsigned z = 0; z < grid.z && finished; ++z) {
    for (unsigned y = 0; y < grid.y && finished; ++y) {
      for (unsigned x = 0; x < grid.x && finished; ++x) {
        blockIdx = {x, y, z};
        finished = fibers.run();
      }
    }
  }
  active = nullptr;
  return finished ? cudaSuccess : cudaErrorLaunchFailure;
}

void set_reverse_order(bool reverse) { reverse_order = reverse; }

unsigned char* shared_memory() { return active->shared(); }
void wait_for_block() { active->wait_for_block(); }
void wait_for_warp() { active->wait_for_warp(); }
const Traded* trade(const std::uint32_t* words, unsigned count) {
  return active->trade(words, count);
}

}  // namespace sluice::cuda::host_shim
