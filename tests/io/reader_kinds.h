#pragma once
// Runs a test over every reader, direct and buffered.

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "io/reader_options.h"

namespace sluice::test {

struct ReaderSetup {
  ReaderKind kind;
  bool direct;
  std::string name;
};

inline const std::vector<ReaderSetup>& reader_setups() {
  static const std::vector<ReaderSetup> setups = {
      {ReaderKind::kUring, true, "UringDirect"},
      {ReaderKind::kUring, false, "UringBuffered"},
      {ReaderKind::kPread, true, "PreadDirect"},
      {ReaderKind::kPread, false, "PreadBuffered"},
  };
  return setups;
}

inline Result<std::unique_ptr<BlockReader>> make_reader(ReaderKind kind,
                                                        const ReaderOptions& options) {
  return kind == ReaderKind::kUring ? make_uring_reader(options) : make_pread_reader(options);
}

/// The reader under test is reader(); each test is skipped where the system refuses it.
class EveryReader : public testing::TestWithParam<ReaderSetup> {
 protected:
  void SetUp() override { remake({}); }

  void remake(ReaderOptions options) {
    options.direct = GetParam().direct;
    auto made = make_reader(GetParam().kind, options);
    if (!made.ok()) GTEST_SKIP() << "no such reader here: " << made.status().message();
    reader_ = std::move(made).value();
  }

  BlockReader& reader() { return *reader_; }
  void drop_reader() { reader_.reset(); }

  /// Submits one request and waits for it.
  Status read(const ReadRequest& request) {
    SLUICE_TRY(reader_->submit(std::span(&request, 1)));
    ReadCompletion completion;
    if (reader_->reap(std::span(&completion, 1), true) != 1) {
      return Status(ErrorCode::kInternal, "nothing came");
    }
    if (completion.tag != request.tag) return Status(ErrorCode::kInternal, "another tag came");
    return completion.status;
  }

  static AlignedBuffer memory(std::size_t bytes) {
    return std::move(AlignedBuffer::allocate(bytes)).value();
  }

 private:
  std::unique_ptr<BlockReader> reader_;
};

inline std::string setup_name(const testing::TestParamInfo<ReaderSetup>& setup) {
  return setup.param.name;
}

}  // namespace sluice::test
