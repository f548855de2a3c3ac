#pragma once
// How deep the parser may recurse, and trees may become.

#include "text/jinja/parser.h"

namespace sluice::jinja {

inline constexpr int kMaxSyntaxDepth = 200;

class Parser::Level {
 public:
  explicit Level(Parser& parser) : parser_(parser) {
    if (++parser_.depth_ > kMaxSyntaxDepth) parser_.fail("the template is nested too deeply");
  }
  ~Level() { --parser_.depth_; }
  Level(const Level&) = delete;
  Level& operator=(const Level&) = delete;

 private:
  Parser& parser_;
};

}  // namespace sluice::jinja
