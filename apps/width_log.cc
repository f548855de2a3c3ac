#include "apps/width_log.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "apps/drawn.h"

namespace sluice::apps {
namespace {

constexpr std::string_view kTitle = "sluice widths 1";
constexpr std::uint8_t kNone = TakenWidths::kNone;
constexpr char kAsItIs = 'e', kLeftOut = '-';

char character_of(unsigned bits) { return static_cast<char>('0' + bits); }

/// Of a layer whose experts are read as a whole.
char usual_of(const ExpertLayer& layer) {
  if (!layer.planes()) return kAsItIs;
  std::uint8_t bits = 0;
  for (const WeightView& view : layer.views) bits = std::max(bits, view.matrix.nested.width);
  return character_of(bits);
}

/// [the model's layers]: which of the layers of experts each is.
std::vector<std::size_t> turns_of(const ExpertCatalogue& catalogue) {
  std::vector<std::size_t> turns;
  for (std::size_t turn = 0; turn < catalogue.layers().size(); ++turn) {
    turns.resize(catalogue.layers()[turn].layer + std::size_t{1});
    turns.back() = turn;
  }
  return turns;
}

/// For errors: the option that wants one.
Status check_choice(const Model& model, const char* option) {
  if (model.widths() != nullptr) return {};
  return {ErrorCode::kInvalidArgument,
          fmt::format("{}: the model's experts have no widths to choose", option)};
}

/// As many of a log's tokens stand for all.
constexpr std::size_t kMostTokens = 4096;

}  // namespace

std::uint64_t width_log_bytes(const ModelOutline& model, std::size_t rows) {
  const std::uint64_t of_row = model.catalogue.layers().size() * model.description.router.top_k;
  return rows * (of_row + sizeof(TokenId));
}

Result<std::unique_ptr<WidthRecorder>> WidthRecorder::create(const std::string& path,
                                                             const RunFiles& files) {
  SLUICE_ASSIGN(OutputFile file, OutputFile::create(path, files));
  return std::unique_ptr<WidthRecorder>(new WidthRecorder(std::move(file)));
}

WidthRecorder::~WidthRecorder() {
  const Status status = finish();
  if (!status.ok()) spdlog::error("{}", status.message());
}

Status WidthRecorder::attach(Model& model) {
  top_k_ = model.description().router.top_k;
  turns_ = turns_of(model.catalogue());
  for (const ExpertLayer& layer : model.catalogue().layers()) {
    usual_ += usual_of(layer);
    chooses_.push_back(!layer.widths.empty());
  }
  if (usual_.size() * (top_k_ + 1) + 16 > GzipLines::kLongest) {
    return Status(ErrorCode::kUnsupported,
                  "--width-log: this model has too many experts a token for it");
  }
  model_ = &model;
  model.observe_routing(*this);
  return {};
}

void WidthRecorder::begin(std::span<const Row> rows) {
  write_pass();
  tokens_.clear();
  for (const Row& row : rows) tokens_.push_back(row.token);
  pass_.assign(rows.size() * usual_.size() * top_k_, kLeftOut);
  turns_seen_ = 0;
}

void WidthRecorder::narrowed(const TakenWidths& taken) {
  const std::size_t turn = turns_[taken.layer];
  if (chooses_[turn] && std::ranges::count(taken.bits, taken.bits + taken.rows * taken.top_k,
                                           std::uint8_t{kExactWidth}) > 0) {
    return;
  }
  turns_seen_ += 1;
  for (std::size_t row = 0; row < taken.rows; ++row) {
    char* const out = pass_.data() + (row * usual_.size() + turn) * top_k_;
    for (std::size_t rank = 0; rank < taken.top_k; ++rank) {
      const std::uint8_t bits = taken.bits[row * taken.top_k + rank];
      if (bits == kNone) continue;
      out[rank] = bits == kExactWidth ? usual_[turn] : character_of(bits);
    }
  }
}

void WidthRecorder::write_pass() {
  if (turns_seen_ < usual_.size() || !status_.ok()) return;
  line_.clear();
  if (!std::exchange(begun_, true)) line_ = fmt::format("{}\n", kTitle);
  const char* at = pass_.data();
  for (const TokenId token : tokens_) {
    line_ += std::to_string(token);
    for (std::size_t turn = 0; turn < usual_.size(); ++turn, at += top_k_) {
      line_ += ' ';
      line_.append(at, top_k_);
    }
    line_ += '\n';
    if (status_.ok()) status_ = file_.write(line_);
    line_.clear();
  }
  tokens_.clear();
}

Status WidthRecorder::finish() {
  if (model_ == nullptr) return {};
  std::exchange(model_, nullptr)->ignore_routing(*this);
  write_pass();
  if (!begun_) return {};  // what the file had is worth more
  if (status_.ok()) status_ = file_.close();
  return status_;
}

Result<WidthLogLines> WidthLogLines::open(const std::string& path) {
  SLUICE_ASSIGN(GzipLines lines, GzipLines::open(path));
  const auto title = lines.next();
  if (!title.ok()) return title.status().with_context(path);
  if (title->text != kTitle || !title->whole) {
    return Status(ErrorCode::kCorrupt,
                  fmt::format("{}: is no log of widths (--width-log): it does not begin with '{}'",
                              path, kTitle));
  }
  return WidthLogLines(path, std::move(lines));
}

Status WidthLogLines::misfit(const std::string& what) const {
  return {ErrorCode::kInvalidArgument, fmt::format("{}, line {}: {}", path_, line_, what)};
}

Result<std::optional<WidthLogLines::Line>> WidthLogLines::next() {
  auto line = lines_.next();
  line_ += 1;
  if (!line.ok()) return line.status().with_context(path_);
  if (!line->more) return std::optional<Line>();
  if (!line->whole) return misfit("is cut off");
  const char* const begin = line->text.data();
  const char* const end = begin + line->text.size();
  TokenId token = 0;
  const auto number = std::from_chars(begin, end, token);
  if (number.ec != std::errc()) return misfit("does not begin with a token");
  return std::optional(Line{token, std::string_view(number.ptr, end)});
}

Result<std::unique_ptr<WidthReplay>> WidthReplay::open(const std::string& path) {
  SLUICE_ASSIGN(WidthLogLines lines, WidthLogLines::open(path));
  return std::unique_ptr<WidthReplay>(new WidthReplay(std::move(lines)));
}

Status WidthReplay::attach(Model& model) {
  SLUICE_TRY(check_choice(model, "--width-replay"));
  top_k_ = model.description().router.top_k;
  turns_ = turns_of(model.catalogue());
  for (const ExpertLayer& layer : model.catalogue().layers()) {
    layers_.push_back(layer.layer);
    widths_.push_back(layer.widths);
  }
  model.replay_widths(*this);
  spdlog::warn("widths are as --width-replay has them, not as --width auto chooses");
  return {};
}

Status WidthReplay::begin(std::span<const Row> rows) {
  pass_.clear();
  for (const Row& row : rows) SLUICE_TRY(take_line(row));
  return {};
}

Status WidthReplay::take_line(const Row& row) {
  SLUICE_ASSIGN(const std::optional<WidthLogLines::Line> line, lines_.next());
  if (!line) {
    return lines_.misfit(fmt::format(
        "the log ends here, after {} tokens, and this run computes more: --width-replay repeats a "
        "run of the same texts and options",
        lines_.tokens() - 1));
  }
  if (line->token != row.token) {
    return lines_.misfit(
        fmt::format("is of token {} where this run computes {}: the log is of another "
                    "text, or of other draws (--seed)",
                    line->token, row.token));
  }
  const char* at = line->layers.data();
  const char* const end = at + line->layers.size();
  if (static_cast<std::size_t>(end - at) != widths_.size() * (top_k_ + 1)) {
    return lines_.misfit(
        fmt::format("should have {} layers of {} experts: the log is of another model",
                    widths_.size(), top_k_));
  }
  for (std::size_t turn = 0; turn < widths_.size(); ++turn) {
    const std::vector<std::uint8_t>& widths = widths_[turn];
    if (*at++ != ' ') return lines_.misfit("layers are not parted by blanks");
    for (std::size_t rank = 0; rank < top_k_; ++rank, ++at) {
      const auto found = std::ranges::find(widths, *at, character_of);
      if (*at == kLeftOut) {
        pass_.push_back(kNone);
      } else if (widths.empty() ? *at == kAsItIs : found != widths.end()) {
        pass_.push_back(static_cast<std::uint8_t>(found - widths.begin()));
      } else {
        return lines_.misfit(
            fmt::format("'{}' is no width of layer {}: the log is of another model{}", *at,
                        layers_[turn], *at == kAsItIs ? ", or of --width exact" : ""));
      }
    }
  }
  return {};
}

std::optional<std::uint8_t> WidthReplay::level(std::uint32_t layer, std::size_t row,
                                               std::size_t rank) const {
  const std::uint8_t level = pass_[(row * widths_.size() + turns_[layer]) * top_k_ + rank];
  return level == kNone ? std::nullopt : std::optional(level);
}

Result<std::unique_ptr<WidthMixture>> WidthMixture::read(const std::string& path) {
  SLUICE_ASSIGN(WidthLogLines lines, WidthLogLines::open(path));
  std::unique_ptr<WidthMixture> mixture(new WidthMixture(path));
  std::string first;  // what each line is cut like
  for (std::size_t tokens = 0; tokens < kMostTokens; ++tokens) {
    SLUICE_ASSIGN(const std::optional<WidthLogLines::Line> line, lines.next());
    if (!line) break;
    if (tokens == 0) first = line->layers;
    if (line->layers.size() != first.size()) return lines.misfit("is not as long as the first");
    for (std::size_t i = 0; i < first.size(); ++i) {
      const char at = line->layers[i];
      if ((at == ' ') != (first[i] == ' ')) return lines.misfit("is not cut as the first is");
      const bool width = at >= '2' && at <= '8';
      if (at != ' ' && !width) return lines.misfit(fmt::format("'{}' is no number of bits", at));
      if (width) mixture->log_ += at;
    }
    mixture->log_layers_ = static_cast<std::size_t>(std::ranges::count(first, ' '));
    mixture->log_ranks_ =
        (first.size() - mixture->log_layers_) / std::max<std::size_t>(1, mixture->log_layers_);
    if (mixture->log_layers_ * (mixture->log_ranks_ + 1) != first.size() ||
        mixture->log_ranks_ == 0) {
      return lines.misfit("its layers have not all as many experts");
    }
  }
  if (mixture->log_.empty()) return lines.misfit("there is no token in it");
  return mixture;
}

Status WidthMixture::attach(Model& model, std::size_t top_k) {
  SLUICE_TRY(check_choice(model, "--widths-like"));
  top_k_ = top_k;
  turns_ = turns_of(model.catalogue());
  for (const ExpertLayer& layer : model.catalogue().layers()) widths_.push_back(layer.widths);
  model.replay_widths(*this);
  spdlog::warn("widths are spread as in {}, not as --width auto chooses", path_);
  return {};
}

Status WidthMixture::begin(std::span<const Row> rows) {
  first_ = std::exchange(next_, next_ + rows.size());
  return {};
}

std::optional<std::uint8_t> WidthMixture::level(std::uint32_t layer, std::size_t row,
                                                std::size_t rank) const {
  const std::size_t turn = turns_[layer], token = first_ + row;
  const std::size_t tokens = log_.size() / (log_layers_ * log_ranks_);
  const std::size_t log_layer = turn * log_layers_ / widths_.size();
  const double high =
      static_cast<double>(rank) + unit(mixed((token * widths_.size() + turn) * top_k_ + rank));
  const auto log_rank = static_cast<std::size_t>(high * static_cast<double>(log_ranks_) /
                                                 static_cast<double>(top_k_));
  const char bits = log_[(token % tokens * log_layers_ + log_layer) * log_ranks_ +
                         std::min(log_rank, log_ranks_ - 1)];
  const std::vector<std::uint8_t>& widths = widths_[turn];
  const auto found =
      std::ranges::find_if(widths, [&](std::uint8_t width) { return character_of(width) >= bits; });
  return static_cast<std::uint8_t>(found == widths.end() ? widths.size() - (widths.empty() ? 0 : 1)
                                                         : found - widths.begin());
}

}  // namespace sluice::apps
