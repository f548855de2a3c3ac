#pragma once
// A device that is none: its memory is the host's, its kernels are the CPU's, and its time is made
// up. What depends on a device is tested with it on any machine.
//
// It is as mean as a device may be. Work is done as late as possible, when somebody waits, and of
// all that may happen next a seed draws what does. The host cannot touch its memory in between. On
// request it fails. All that is repeatable: a seed and a program have one course.
//
// Time is virtual: work takes what FakeDeviceOptions says, each of the three engines (two copy, one
// computes) one piece after the other in the order given. The host's clock stands still but for
// `advance` and for what it waits for.

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/compute.h"
#include "base/device_backend.h"
#include "base/work_signature.h"

namespace sluice {

class FakeOperations;

struct FakeDeviceOptions {
  std::string name = "fake device";
  std::uint64_t memory = std::uint64_t{1} << 30;
  std::uint64_t others = 0;  // of it, that other processes have
  std::uint64_t batch_bytes = 0;
  double copy_start = 5e-6;  // seconds
  double operation = 5e-6;   // that is no expert's network
  double upload_byte = 1 / 20e9, download_byte = 1 / 20e9;
  std::function<double(const FfnTask&)> seconds = [](const FfnTask&) { return 20e-6; };
  std::function<bool(const WeightMatrix&)> multiplies = [](const WeightMatrix&) { return true; };
  std::uint64_t seed = 1;
  // The first that fails, counted from 1; 0: none does.
  std::uint64_t failing_allocation = 0, failing_copy = 0, failing_kernel = 0;
  // The copy that it refuses when it is given, and is as it was; likewise.
  std::uint64_t refused_copy = 0;
};

/// Not thread-safe.
class FakeDevice final : public DeviceBackend {
 public:
  /// Borrows `compute`, whose operations are the device's.
  FakeDevice(Compute& compute, FakeDeviceOptions options);
  ~FakeDevice() override;

  std::string_view name() const override { return options_.name; }
  Result<Memory> memory() override;
  Result<std::byte*> allocate(std::size_t bytes) override;
  void release(std::byte* memory) override;
  Result<std::byte*> allocate_pinned(std::size_t bytes) override;
  void release_pinned(std::byte* memory) override;
  Result<StreamIndex> make_stream() override;
  Status upload(StreamIndex stream, std::byte* device, const std::byte* host,
                std::size_t bytes) override;
  Status download(StreamIndex stream, std::byte* host, const std::byte* device,
                  std::size_t bytes) override;
  bool multiplies(const WeightMatrix& weight) const override { return options_.multiplies(weight); }
  Operations& operations(StreamIndex stream) override;
  void begin_batch(StreamIndex stream, std::uint64_t key) override;
  Status end_batch(StreamIndex stream) override;
  std::uint64_t batch_bytes() const override { return options_.batch_bytes; }
  Result<DeviceEvent> record(StreamIndex stream) override;
  Status wait(StreamIndex stream, DeviceEvent event) override;
  Result<bool> done(DeviceEvent event) override;
  Status finish(DeviceEvent event) override;
  Result<double> seconds_between(DeviceEvent first, DeviceEvent second) override;

  struct Traffic {
    std::uint64_t copies = 0, bytes = 0;
  };
  /// Copies that it was given so far.
  const Traffic& uploaded() const { return uploaded_; }
  const Traffic& downloaded() const { return downloaded_; }
  /// Batches so far, those of one piece of work at least that some earlier one had the signature of
  /// (of its stream and key), and pieces of work outside of batches.
  struct Batches {
    std::uint64_t given = 0, recurred = 0, alone = 0;
  };
  const Batches& batches() const { return batches_; }

  /// The host's clock, in seconds since the device was made.
  double now() const { return now_; }
  /// Whether it copies from the host's memory now.
  bool uploads() const { return engine_free_at_[kUploads] > now_; }
  /// The host did something else meanwhile.
  void advance(double seconds) { now_ += seconds; }
  /// It is gone from here on, as when a cable is.
  void lose();

 private:
  friend class FakeOperations;
  enum Engine { kUploads, kDownloads, kKernels, kEngines };
  struct Work {
    std::function<Status()> run = {};  // null: of an event
    std::uint64_t after_event = 0;     // 0: none
    std::uint64_t event = 0;           // that happens then; 0: none
  };
  struct Stream {
    std::deque<Work> work;
    std::optional<std::uint64_t> batch = {};  // that is open
    WorkSignature signature = {};             // its
    double free_at = 0;                       // virtual
  };
  struct Event {
    bool happened = false;
    double at = 0;  // virtual
  };

  /// What it is given is a part of the open batch, if there is one.
  template <typename... Work>
  void describe(StreamIndex stream, void (WorkSignature::*add)(Work...),
                std::type_identity_t<Work>... work) {
    if (streams_[stream].batch) {
      (streams_[stream].signature.*add)(work...);
    } else {
      ++batches_.alone;
    }
  }
  /// Nobody does so with a batch.
  void expect_batch(StreamIndex stream, bool open);
  /// A kernel. Errors come to the next `record`.
  void compute(StreamIndex stream, double seconds, std::function<void()> run);
  /// Else the device is lost: a kernel has touched memory that is not the device's.
  void expect_own(const void* pointer);
  Status give(StreamIndex stream, Engine engine, double seconds, std::function<Status()> run);
  Status copy(StreamIndex stream, Engine engine, std::byte* to, const std::byte* from,
              std::size_t bytes);
  bool may_run(const Stream& stream) const;
  void run_next(Stream& stream);
  bool run_something();
  void run_until(std::uint64_t event);
  void run_all();
  void open_memory(bool open);
  Status lost() const;
  static bool fails(std::uint64_t& count, std::uint64_t failing) { return ++count == failing; }

  Compute& compute_;
  const FakeDeviceOptions options_;
  std::mt19937_64 random_;
  std::map<std::byte*, AlignedBuffer> memory_, pinned_;
  std::uint64_t used_ = 0, allocations_ = 0, copies_ = 0, kernels_ = 0;
  Traffic uploaded_, downloaded_;
  std::vector<Stream> streams_;
  std::deque<FakeOperations> operations_;  // [streams]
  std::vector<Event> events_{1};           // number 0 is none
  double engine_free_at_[kEngines] = {};
  std::map<std::pair<StreamIndex, std::uint64_t>, std::set<std::string>> seen_;  // signatures
  Batches batches_;
  double now_ = 0;
  std::string lost_;  // why; empty: it is not
};

}  // namespace sluice
