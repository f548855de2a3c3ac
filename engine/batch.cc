#include "engine/batch.h"

#include <fmt/format.h>

#include <algorithm>

#include "engine/session.h"

namespace sluice {
namespace {

constexpr std::size_t kKeepEvery = 256;  // tokens

}  // namespace

void Batch::eval(std::span<BatchPart> parts, const PassOptions& options) {
  works_.clear();
  for (BatchPart& part : parts) {
    const std::size_t before = part.session->length();
    const std::size_t needed = before + part.tokens.size();
    part.status = {};
    if (needed > part.session->context()) {
      part.status =
          Status(ErrorCode::kInvalidArgument,
                 fmt::format("the text needs {} tokens and the context holds {}: open the model "
                             "with a larger one, or truncate the session first",
                             needed, part.session->context()));
      continue;
    }
    works_.push_back({.part = &part, .before = before});
  }
  const Status status = attempt(works_, options);
  if (!status.ok()) recover(works_, status, options);
  for (Work& work : works_) finish(work);
}

/// All together; the error of the pass that failed, if one did.
Status Batch::attempt(std::span<Work> works, const PassOptions& options) {
  // What recurrent layers have forgotten with a truncation, or a device took along, is seen once
  // more; nobody watches that.
  for (const bool again : {true, false}) {
    for (Work& work : works) begin(work, again);
    SLUICE_TRY(compute(works, again, again ? PassOptions{.cancel = options.cancel} : options));
  }
  return {};
}

void Batch::begin(Work& work, bool again) {
  if (work.finished) return;
  Session& session = *work.part->session;
  if (again) {
    work.part->status = session.kv().reserve(work.before + work.part->tokens.size());
    if (!work.part->status.ok()) {
      give_back(work);
      work.finished = true;
      return;
    }
    work.first = std::min(session.kv().seen(), work.before);
    work.tokens = std::span(session.tokens()).subspan(work.first);
  } else {
    work.first = work.before;
    work.tokens = work.part->tokens;
  }
  work.given = work.done = 0;
}

Status Batch::compute(std::span<Work> works, bool again, const PassOptions& options) {
  if (works.empty()) return {};
  Model& model = works.front().part->session->model();
  const LogitsSink tell = [this](std::size_t row, std::span<const float> logits) {
    const Origin& origin = origins_[row];
    if (origin.index < origin.work->told) return;
    origin.work->told = origin.index + 1;
    if (origin.work->part->sink != nullptr) (*origin.work->part->sink)(origin.index, logits);
  };
  for (;;) {
    gather(works, model.max_rows(), again);
    if (rows_.empty()) return {};
    SLUICE_TRY(model.step(rows_, options, tell));
    for (Work& work : works) {
      if (work.given == work.done) continue;
      work.done = work.given;
      work.part->session->kv().set_seen(work.first + work.done);
      work.finished = !again && work.done == work.tokens.size();
    }
  }
}

/// The next pass' rows.
void Batch::gather(std::span<Work> works, std::size_t most, bool again) {
  rows_.clear();
  origins_.clear();
  for (Work& work : works) {
    if (work.finished) continue;
    const WantedLogits wanted = again ? WantedLogits::kNone : work.part->wanted;
    for (; work.given < work.tokens.size() && rows_.size() < most; ++work.given) {
      const bool last = work.given + 1 == work.tokens.size();
      rows_.push_back({.sequence = &work.part->session->kv(),
                       .token = work.tokens[work.given],
                       .position = static_cast<std::uint32_t>(work.first + work.given),
                       .wants_logits = wanted == WantedLogits::kAll ||
                                       (wanted == WantedLogits::kLast && last)});
      origins_.push_back({&work, work.given});
    }
  }
}

/// A device that is lost is everybody's: all go on together without it. What else may have failed
/// is one's own trouble, and shows whose when each tries alone.
void Batch::recover(std::span<Work> works, const Status& why, const PassOptions& options) {
  bool lost = false;
  std::size_t unfinished = 0;
  for (Work& work : works) {
    if (work.finished) continue;
    KvSequence& kv = work.part->session->kv();
    const bool forgets = why.code() == ErrorCode::kDeviceLost && kv.has_twins();
    if (forgets) kv.forget_twins();
    lost = lost || forgets;
    unfinished += 1;
    give_back(work);
  }
  if (lost) {
    const Status status = attempt(works, options);
    if (!status.ok()) recover(works, status, options);
    return;
  }
  for (Work& work : works) {
    if (work.finished) continue;
    if (unfinished > 1 && why.code() != ErrorCode::kCancelled) {
      const Status status = attempt({&work, 1}, options);
      if (!status.ok()) recover({&work, 1}, status, options);
    } else {
      work.part->status = why;
      work.finished = true;
    }
  }
}

/// The session is as it was.
void Batch::give_back(Work& work) {
  KvSequence& kv = work.part->session->kv();
  kv.restore_states(work.before);
  kv.truncate(work.before);
}

void Batch::finish(Work& work) {
  if (!work.part->status.ok()) return;
  work.part->session->appended(work.part->tokens);
  KvSequence& kv = work.part->session->kv();
  const std::size_t length = work.before + work.part->tokens.size();
  // The end of a prompt is where a conversation goes back to; and no way back shall be long.
  if (work.part->tokens.size() > 1 || length - kv.kept_length() >= kKeepEvery) kv.keep_states();
}

}  // namespace sluice
