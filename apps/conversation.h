#pragma once
// What a user and a model have said so far, as chat templates take it.

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "apps/run_files.h"
#include "base/status.h"

namespace sluice::apps {

/// Messages, and the other variables of the template (tools, enable_thinking …) in the order in
/// which the file has them. A *turn* is a user's message and all up to the next one.
class Conversation {
 public:
  using Json = nlohmann::ordered_json;

  /// From a file, or standard input for "-": as parse_conversation has it. kCorrupt names the file
  /// and the place; kNotFound the file and the option that gave it.
  static Result<Conversation> read(const std::string& path, std::string_view option);
  /// What `read` reads. kIo names the path.
  Status save(const std::string& path, const RunFiles& files) const;

  /// Bytes that are not UTF-8 become U+FFFD, here and below.
  void set_system(std::string_view text);
  void add_user(std::string_view text);
  void add(Json message) { messages_.push_back(std::move(message)); }
  /// REQUIRES: an object.
  void set_variables(const Json& variables);

  /// Takes the last turn back, or only what followed its first message. False if there is none.
  bool undo();
  bool undo_answer();

  std::size_t turns() const;
  /// The last word is not the assistant's.
  bool awaits_answer() const;
  const Json& messages() const { return messages_; }
  /// All that a template is given; without the first `left_out` turns.
  Json variables(std::size_t left_out = 0) const;

 private:
  bool take_back(std::size_t keep);
  std::size_t turn(std::size_t index) const;

  Json messages_ = Json::array();
  Json variables_ = Json::object();
};

}  // namespace sluice::apps
