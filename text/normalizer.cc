#include "text/normalizer.h"

#include <utility>

namespace sluice {

std::size_t Normalizing::held() const {
  std::size_t bytes = 0;
  for (const StageProgress& stage : stages_) bytes += stage.held.size();
  return bytes;
}

Normalizer::Normalizer(const TokenizerData& data)
    : marks_spaces_(data.model == TokenizerModel::kSentencePieceBpe ||
                    data.model == TokenizerModel::kUnigram),
      prefix_(data.add_space_prefix),
      metaspace_(data.space_prefix_unless_there) {}

Result<Normalizer> Normalizer::create(const TokenizerData& data) {
  Normalizer normalizer(data);
  for (const NormalizeStep& step : data.normalize) {
    SLUICE_ASSIGN(auto stage, create_normalize_stage(step));
    normalizer.stages_.push_back(std::move(stage));
  }
  return normalizer;
}

std::string Normalizer::with_marks(std::string_view text, bool prefix) const {
  const bool has_prefix = text.starts_with(' ') || text.starts_with(kSpaceMark);
  std::string marked;
  marked.reserve(text.size() + text.size() / 2);
  if (prefix && prefix_ && !(metaspace_ && has_prefix)) marked += kSpaceMark;
  for (const char c : text) {
    if (c == ' ') {
      marked += kSpaceMark;
    } else {
      marked += c;
    }
  }
  return marked;
}

std::string Normalizer::advance(std::string_view text, bool final, Normalizing& progress,
                                PatternScratch& scratch) const {
  progress.stages_.resize(stages_.size());
  std::string normal;
  for (std::size_t i = 0; i < stages_.size(); ++i) {
    StageProgress& stage = progress.stages_[i];
    std::string out;
    const std::string_view whole = stage.held.with(text);
    stage.held.keep_from(stages_[i]->advance(whole, final, stage, scratch, out));
    normal = std::move(out);
    text = normal;
  }
  if (stages_.empty()) normal = text;
  if (!marks_spaces_ || metaspace_ || normal.empty()) return normal;
  return with_marks(normal, std::exchange(progress.prefix_, false));
}

std::string Normalizer::mark(std::string text, bool prefix) const {
  if (marks_spaces_) return metaspace_ ? with_marks(text, prefix) : text;
  if (prefix && prefix_ && !text.starts_with(' ')) text.insert(0, 1, ' ');
  return text;
}

}  // namespace sluice
