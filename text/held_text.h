#pragma once
// The end of a text that arrives in parts, kept until more of it is there.

#include <string>
#include <string_view>

namespace sluice {

class HeldText {
 public:
  /// What was kept and `more` after it, valid until the next call. Nothing is copied while nothing
  /// is kept: `more` must stay as it is until `keep_from`.
  std::string_view with(std::string_view more) {
    if (!held_.empty()) {
      held_.append(more);
      more = held_;
    }
    view_ = more;
    return more;
  }
  /// Of what `with` gave last, bytes from `begin` on are kept.
  void keep_from(std::size_t begin) {
    if (view_.data() == held_.data()) {
      held_.erase(0, begin);
    } else {
      held_.assign(view_.substr(begin));
    }
    view_ = held_;
  }
  std::string_view text() const { return held_; }
  std::size_t size() const { return held_.size(); }

 private:
  std::string held_;
  std::string_view view_;
};

}  // namespace sluice
