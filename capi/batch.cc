#include "capi/handles.h"

using namespace sluice;        // NOLINT: an entry point is not of any namespace
using namespace sluice::capi;  // NOLINT

namespace {

/// The items as this library knows them, whatever the size of the caller's.
class Items {
 public:
  Items(sluice_batch_item* first, std::size_t count, std::size_t size)
      : first_(reinterpret_cast<unsigned char*>(first)), count_(count), size_(size) {}
  std::size_t count() const { return count_; }
  sluice_batch_item& operator[](std::size_t index) const {
    return *reinterpret_cast<sluice_batch_item*>(first_ + index * size_);
  }

 private:
  unsigned char* first_;
  std::size_t count_, size_;
};

Status check(const Items& items) {
  for (std::size_t i = 0; i < items.count(); ++i) {
    const sluice_batch_item& item = items[i];
    SLUICE_TRY(expect(item.session, "an item's session"));
    if (item.count > 0) SLUICE_TRY(expect(item.tokens, "an item's tokens"));
    if (item.session->state->model != items[0].session->state->model) {
      return invalid("sessions of different models cannot step together");
    }
    for (std::size_t j = 0; j < i; ++j) {
      if (items[j].session->state == item.session->state) {
        return invalid("items " + std::to_string(j) + " and " + std::to_string(i) +
                       " are the same session");
      }
    }
  }
  return {};
}

LogitsSink sink_of(const sluice_batch_item& item) {
  return [to = item.logits, all = item.all_logits != 0](std::size_t row,
                                                        std::span<const float> values) {
    std::copy(values.begin(), values.end(), to + (all ? row * values.size() : 0));
  };
}

}  // namespace

sluice_status sluice_batch_eval(sluice_batch_item* items, size_t count, size_t item_size,
                                sluice_error* error) {
  return guard(error, [&]() -> Status {
    if (count == 0) return {};
    SLUICE_TRY(expect(items, "items"));
    if (item_size < sizeof(sluice_batch_item) || item_size % alignof(sluice_batch_item) != 0) {
      return invalid("item_size is not sizeof(sluice_batch_item)");
    }
    const Items all(items, count, item_size);
    SLUICE_TRY(check(all));
    std::vector<std::unique_lock<std::mutex>> locks;
    for (std::size_t i = 0; i < count; ++i) {
      SLUICE_ASSIGN(locks.emplace_back(), all[i].session->state->enter());
    }
    std::vector<BatchPart> parts;
    std::vector<LogitsSink> sinks(count);
    std::vector<std::size_t> part_items;
    for (std::size_t i = 0; i < count; ++i) {
      const sluice_batch_item& item = all[i];
      if (item.session->state->abort.exchange(false)) {
        all[i].status = report(Status(ErrorCode::kCancelled, "stopped on request"), item.error);
        continue;
      }
      sinks[i] = sink_of(item);
      const bool every = item.all_logits != 0;
      parts.push_back({.session = &item.session->state->session,
                       .tokens = {item.tokens, item.count},
                       .wanted = item.logits == nullptr ? WantedLogits::kNone
                                 : every                ? WantedLogits::kAll
                                                        : WantedLogits::kLast,
                       .sink = &sinks[i]});
      part_items.push_back(i);
    }
    Batch().eval(parts, {});
    for (std::size_t i = 0; i < parts.size(); ++i) {
      sluice_batch_item& item = all[part_items[i]];
      item.session->state->length = parts[i].session->length();
      item.status = report(parts[i].status, item.error);
    }
    return {};
  });
}
