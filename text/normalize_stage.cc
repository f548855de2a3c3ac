#include "text/normalize_stage.h"

#include <utf8proc.h>

#include <algorithm>
#include <utility>

#include "text/character_map.h"
#include "text/normal_form.h"
#include "text/utf8.h"
#include "text/white_space.h"

namespace sluice {
namespace {

/// A text may become this many times as long with every match.
constexpr std::size_t kLongestContent = 1024;

class NormalFormStage final : public NormalizeStage {
 public:
  explicit NormalFormStage(NormalForm form) : form_(form) {}

  std::size_t advance(std::string_view text, bool final, StageProgress&, PatternScratch&,
                      std::string& out) const override {
    const std::size_t settled = final ? text.size() : settled_in_normal_form(text, form_);
    out += to_normal_form(text.substr(0, settled), form_);
    return settled;
  }

 private:
  NormalForm form_;
};

class ReplaceStage final : public NormalizeStage {
 public:
  ReplaceStage(Pattern pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}

  std::size_t advance(std::string_view text, bool final, StageProgress& progress,
                      PatternScratch& scratch, std::string& out) const override {
    PatternSearch& search = progress.search;
    std::vector<TextPart> parts;
    find_parts(pattern_, text, final, search, scratch, parts);
    for (const TextPart& part : parts) {
      out += part.matched ? std::string_view(content_)
                          : text.substr(part.begin, part.end - part.begin);
    }
    if (final) return text.size();
    // Matches to come begin where the search goes on, or later; of plain text that may be within a
    // character.
    const std::size_t certain = character_floor(text, std::min(search.from, text.size()));
    if (search.done < certain) {
      out += text.substr(search.done, certain - search.done);
      search.done = certain;
    }
    const std::size_t seen =
        character_floor(text, search.done - std::min(search.done, pattern_.context()));
    search.drop(seen);
    return seen;
  }

 private:
  Pattern pattern_;
  std::string content_;
};

class StripStage final : public NormalizeStage {
 public:
  explicit StripStage(const NormalizeStep& step)
      : left_(step.left), right_(step.right), only_spaces_(step.only_spaces) {}

  std::size_t advance(std::string_view text, bool final, StageProgress& progress, PatternScratch&,
                      std::string& out) const override {
    std::size_t begin = 0;
    while (left_ && !progress.begun && begin < text.size() && is_space(text.substr(begin))) {
      begin += utf8_length(text[begin]);
    }
    std::size_t end = text.size();
    while (right_ && end > begin) {
      const std::size_t last = character_floor(text, end - 1);
      if (!is_space(text.substr(last))) break;
      end = last;
    }
    progress.begun |= begin < end;
    out += text.substr(begin, end - begin);
    return final ? text.size() : end;
  }

 private:
  bool is_space(std::string_view text) const {
    return only_spaces_ ? text.front() == ' ' : is_white_space(utf8_front(text).code_point);
  }

  bool left_;
  bool right_;
  bool only_spaces_;
};

/// SentencePiece's own way: the longest text that the map knows, then on behind it.
class CharacterMapStage final : public NormalizeStage {
 public:
  explicit CharacterMapStage(CharacterMap map) : map_(std::move(map)) {}

  std::size_t advance(std::string_view text, bool final, StageProgress&, PatternScratch&,
                      std::string& out) const override {
    std::size_t at = 0;
    while (at < text.size()) {
      const CharacterMap::Found found = map_.longest(text.substr(at));
      if (found.open && !final) break;
      const std::size_t length = found.length > 0 ? found.length : utf8_length(text[at]);
      out += found.length > 0 ? found.replacement : text.substr(at, length);
      at += length;
    }
    return at;
  }

 private:
  CharacterMap map_;
};

/// The tokenizers package's way: a short grapheme cluster that begins with a text that the map
/// knows becomes what the shortest such text does, the rest of it is lost; else each character
/// likewise.
class ClusterMapStage final : public NormalizeStage {
 public:
  explicit ClusterMapStage(CharacterMap map) : map_(std::move(map)) {}

  std::size_t advance(std::string_view text, bool final, StageProgress&, PatternScratch&,
                      std::string& out) const override {
    std::size_t at = 0;
    while (at < text.size()) {
      const std::size_t length = cluster_length(text.substr(at));
      if (!final && at + length == text.size()) break;  // it may go on
      put_cluster(text.substr(at, length), out);
      at += length;
    }
    return at;
  }

 private:
  static constexpr std::size_t kLongestCluster = 5;  // bytes

  static std::size_t cluster_length(std::string_view text) {
    Utf8Front front = utf8_front(text);
    std::size_t length = front.length;
    for (utf8proc_int32_t state = 0; length < text.size(); length += front.length) {
      const char32_t before = front.code_point;
      front = utf8_front(text.substr(length));
      if (utf8proc_grapheme_break_stateful(static_cast<utf8proc_int32_t>(before),
                                           static_cast<utf8proc_int32_t>(front.code_point),
                                           &state)) {
        break;
      }
    }
    return length;
  }

  void put_cluster(std::string_view cluster, std::string& out) const {
    if (cluster.size() <= kLongestCluster && put(cluster, out)) return;
    while (!cluster.empty()) {
      const std::string_view character = cluster.substr(0, utf8_length(cluster.front()));
      if (!put(character, out)) out += character;
      cluster.remove_prefix(character.size());
    }
  }
  bool put(std::string_view text, std::string& out) const {
    const CharacterMap::Found found = map_.shortest(text);
    out += found.replacement;
    return found.length > 0;
  }

  CharacterMap map_;
};

template <typename Stage, typename... Arguments>
std::unique_ptr<NormalizeStage> make_stage(Arguments&&... arguments) {
  return std::make_unique<Stage>(std::forward<Arguments>(arguments)...);
}

}  // namespace

Result<std::unique_ptr<NormalizeStage>> create_normalize_stage(const NormalizeStep& step) {
  using Kind = NormalizeStep::Kind;
  switch (step.kind) {
    case Kind::kNfc:
      return make_stage<NormalFormStage>(NormalForm{true, false});
    case Kind::kNfd:
      return make_stage<NormalFormStage>(NormalForm{false, false});
    case Kind::kNfkc:
      return make_stage<NormalFormStage>(NormalForm{true, true});
    case Kind::kNfkd:
      return make_stage<NormalFormStage>(NormalForm{false, true});
    case Kind::kStrip:
      return make_stage<StripStage>(step);
    case Kind::kReplace: {
      if (step.content.size() > kLongestContent) {
        return Status(ErrorCode::kUnsupported, "tokenizer: a replacement of " +
                                                   std::to_string(step.content.size()) + " bytes");
      }
      SLUICE_ASSIGN(Pattern pattern, Pattern::compile(step.pattern, step.literal));
      return make_stage<ReplaceStage>(std::move(pattern), step.content);
    }
    case Kind::kCharacterMap: {
      SLUICE_ASSIGN(CharacterMap map, CharacterMap::create(step.content));
      if (step.by_cluster) return make_stage<ClusterMapStage>(std::move(map));
      return make_stage<CharacterMapStage>(std::move(map));
    }
  }
  return Status(ErrorCode::kInternal, "not a kind of step");
}

}  // namespace sluice
