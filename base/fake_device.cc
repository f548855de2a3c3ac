#include "base/fake_device.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "base/fake_operations.h"
#include "base/size.h"

namespace sluice {

FakeDevice::FakeDevice(Compute& compute, FakeDeviceOptions options)
    : compute_(compute), options_(std::move(options)), random_(options_.seed) {}

FakeDevice::~FakeDevice() { run_all(); }

Status FakeDevice::lost() const {
  return lost_.empty() ? Status()
                       : Status(ErrorCode::kDeviceLost, options_.name + " is lost: " + lost_);
}

void FakeDevice::lose() {
  if (lost_.empty()) lost_ = "it was taken away";
  run_all();
}

Result<DeviceBackend::Memory> FakeDevice::memory() {
  SLUICE_TRY(lost());
  return Memory{options_.memory,
                options_.memory - std::min(options_.memory, options_.others + used_)};
}

Result<std::byte*> FakeDevice::allocate(std::size_t bytes) {
  SLUICE_ASSIGN(const Memory now, memory());
  if (bytes > now.free || fails(allocations_, options_.failing_allocation)) {
    return Status(ErrorCode::kBudget, options_.name + " has " + format_size(now.free) +
                                          " free, and " + format_size(bytes) + " are wanted");
  }
  SLUICE_ASSIGN(AlignedBuffer buffer, AlignedBuffer::allocate(std::max<std::size_t>(bytes, 1)));
  std::byte* const data = buffer.data();
  // Whatever somebody else left there.
  std::memset(data, 0xfe, buffer.size());
  mprotect(data, buffer.size(), PROT_NONE);
  used_ += buffer.size();
  memory_.emplace(data, std::move(buffer));
  return data;
}

void FakeDevice::release(std::byte* memory) {
  run_all();
  const auto found = memory_.find(memory);
  used_ -= found->second.size();
  memory_.erase(found);
}

Result<std::byte*> FakeDevice::allocate_pinned(std::size_t bytes) {
  SLUICE_TRY(lost());
  SLUICE_ASSIGN(AlignedBuffer buffer, AlignedBuffer::allocate(std::max<std::size_t>(bytes, 1)));
  std::byte* const data = buffer.data();
  pinned_.emplace(data, std::move(buffer));
  return data;
}

void FakeDevice::release_pinned(std::byte* memory) {
  run_all();
  pinned_.erase(memory);
}

Result<StreamIndex> FakeDevice::make_stream() {
  SLUICE_TRY(lost());
  streams_.emplace_back();
  operations_.emplace_back(*this, compute_, static_cast<StreamIndex>(streams_.size() - 1));
  return static_cast<StreamIndex>(streams_.size() - 1);
}

/// Virtual time passes in the order in which work is given, whatever the course of it.
Status FakeDevice::give(StreamIndex stream, Engine engine, double seconds,
                        std::function<Status()> run) {
  SLUICE_TRY(lost());
  Stream& into = streams_[stream];
  const double start = std::max({now_, into.free_at, engine_free_at_[engine]});
  into.free_at = engine_free_at_[engine] = start + seconds;
  into.work.push_back({.run = std::move(run)});
  return {};
}

Status FakeDevice::copy(StreamIndex stream, Engine engine, std::byte* to, const std::byte* from,
                        std::size_t bytes) {
  const bool up = engine == kUploads;
  Traffic& traffic = up ? uploaded_ : downloaded_;
  traffic.copies += 1;
  traffic.bytes += bytes;
  if (uploaded_.copies + downloaded_.copies == options_.refused_copy) {
    return Status(ErrorCode::kInternal, options_.name + " refused a copy");
  }
  const double seconds =
      options_.copy_start +
      static_cast<double>(bytes) * (up ? options_.upload_byte : options_.download_byte);
  return give(stream, engine, seconds, [=, this] {
    if (fails(copies_, options_.failing_copy)) {
      return Status(ErrorCode::kIo, up ? "a copy to it failed" : "a copy from it failed");
    }
    std::memcpy(to, from, bytes);
    return Status();
  });
}

Status FakeDevice::upload(StreamIndex stream, std::byte* device, const std::byte* host,
                          std::size_t bytes) {
  describe(stream, &WorkSignature::add_upload, device, host, bytes);
  return copy(stream, kUploads, device, host, bytes);
}

Status FakeDevice::download(StreamIndex stream, std::byte* host, const std::byte* device,
                            std::size_t bytes) {
  describe(stream, &WorkSignature::add_download, host, device, bytes);
  return copy(stream, kDownloads, host, device, bytes);
}

Operations& FakeDevice::operations(StreamIndex stream) { return operations_[stream]; }

void FakeDevice::compute(StreamIndex stream, double seconds, std::function<void()> run) {
  // A device that is lost says so at the next record.
  static_cast<void>(give(stream, kKernels, seconds, [this, run = std::move(run)] {
    if (fails(kernels_, options_.failing_kernel)) return Status(ErrorCode::kIo, "a kernel failed");
    run();
    return Status();
  }));
}

void FakeDevice::expect_own(const void* pointer) {
  const auto* const at = static_cast<const std::byte*>(pointer);
  auto after = memory_.upper_bound(const_cast<std::byte*>(at));
  const bool own = after != memory_.begin() && at < (--after)->first + after->second.size();
  if (!own && lost_.empty()) lost_ = "a kernel was given memory that is not the device's";
}

void FakeDevice::expect_batch(StreamIndex stream, bool open) {
  if (streams_[stream].batch.has_value() == open || !lost_.empty()) return;
  lost_ = open ? "a batch ends that was not begun" : "a batch is open";
}

void FakeDevice::begin_batch(StreamIndex stream, std::uint64_t key) {
  expect_batch(stream, false);
  streams_[stream].batch = key;
  streams_[stream].signature.clear();
}

Status FakeDevice::end_batch(StreamIndex stream) {
  expect_batch(stream, true);
  SLUICE_TRY(lost());
  Stream& of = streams_[stream];
  const auto bytes = of.signature.bytes();
  if (!bytes.empty()) {
    batches_.given += 1;
    const bool is_new = seen_[{stream, *of.batch}]
                            .emplace(reinterpret_cast<const char*>(bytes.data()), bytes.size())
                            .second;
    batches_.recurred += is_new ? 0 : 1;
  }
  of.batch.reset();
  return {};
}

Result<DeviceEvent> FakeDevice::record(StreamIndex stream) {
  expect_batch(stream, false);
  SLUICE_TRY(lost());
  Stream& into = streams_[stream];
  events_.push_back({.at = std::max(now_, into.free_at)});
  into.work.push_back({.event = events_.size() - 1});
  return DeviceEvent{events_.size() - 1};
}

Status FakeDevice::wait(StreamIndex stream, DeviceEvent event) {
  expect_batch(stream, false);
  SLUICE_TRY(lost());
  Stream& into = streams_[stream];
  into.free_at = std::max(into.free_at, events_[event.number].at);
  into.work.push_back({.after_event = event.number});
  return {};
}

bool FakeDevice::may_run(const Stream& stream) const {
  if (stream.work.empty()) return false;
  const std::uint64_t after = stream.work.front().after_event;
  return after == 0 || events_[after].happened;
}

void FakeDevice::run_next(Stream& stream) {
  const Work work = std::move(stream.work.front());
  stream.work.pop_front();
  if (work.event != 0) events_[work.event].happened = true;
  if (!work.run || !lost_.empty()) return;
  if (const Status status = work.run(); !status.ok()) lost_ = status.message();
}

/// One piece of some stream's work. False: there is none that could happen now.
bool FakeDevice::run_something() {
  std::vector<Stream*> ready;
  for (Stream& stream : streams_) {
    if (may_run(stream)) ready.push_back(&stream);
  }
  if (ready.empty()) return false;
  run_next(*ready[random_() % ready.size()]);
  return true;
}

void FakeDevice::run_until(std::uint64_t event) {
  open_memory(true);
  while (!events_[event].happened && run_something()) {
  }
  open_memory(false);
}

void FakeDevice::run_all() {
  open_memory(true);
  while (run_something()) {
  }
  open_memory(false);
}

void FakeDevice::open_memory(bool open) {
  for (auto& [data, buffer] : memory_) {
    mprotect(data, buffer.size(), open ? PROT_READ | PROT_WRITE : PROT_NONE);
  }
}

Result<bool> FakeDevice::done(DeviceEvent event) {
  if (events_[event.number].at <= now_) run_until(event.number);
  SLUICE_TRY(lost());
  return events_[event.number].happened && events_[event.number].at <= now_;
}

Status FakeDevice::finish(DeviceEvent event) {
  run_until(event.number);
  now_ = std::max(now_, events_[event.number].at);
  return lost();
}

Result<double> FakeDevice::seconds_between(DeviceEvent first, DeviceEvent second) {
  SLUICE_TRY(lost());
  return events_[second.number].at - events_[first.number].at;
}

}  // namespace sluice
