#pragma once
// The arguments of a call matched with the names of a built-in function's parameters.

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/render_state.h"

namespace sluice::jinja {

class Parameters {
 public:
  /// Fails for a missing one of the first `required`, for too many, for unknown names and for
  /// doubles. A parameter whose name is empty can only be given by its position.
  Parameters(RenderState& state, std::string_view function, const Arguments& arguments,
             std::initializer_list<std::string_view> names, std::size_t required = 0);

  /// nullptr: not given.
  const Value* get(std::size_t index) const {
    return index < values_.size() ? values_[index] : nullptr;
  }
  /// Given, and not None.
  bool has(std::size_t index) const {
    return get(index) != nullptr && !get(index)->is(Kind::kNone);
  }
  /// The argument or what stands for it. The typed ones fail for another type.
  Value value(std::size_t index, const Value& otherwise) const;
  std::int64_t integer(std::size_t index, std::int64_t otherwise) const;
  std::string_view text(std::size_t index, std::string_view otherwise) const;
  bool flag(std::size_t index, bool otherwise) const;

 private:
  RenderState& state_;
  std::string function_;
  std::vector<const Value*> values_;
};

}  // namespace sluice::jinja
