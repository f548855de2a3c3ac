#include "apps/width_log.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <charconv>
#include <utility>

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

Result<std::unique_ptr<WidthReplay>> WidthReplay::open(const std::string& path) {
  SLUICE_ASSIGN(GzipLines lines, GzipLines::open(path));
  std::unique_ptr<WidthReplay> replay(new WidthReplay(path, std::move(lines)));
  auto title = replay->lines_.next();
  replay->line_ = 1;
  if (!title.ok()) return title.status().with_context(path);
  if (title->text != kTitle || !title->whole) {
    return Status(ErrorCode::kCorrupt,
                  fmt::format("{}: is no log of widths (--width-log): it does not begin with '{}'",
                              path, kTitle));
  }
  return replay;
}

Status WidthReplay::attach(Model& model) {
  if (model.widths() == nullptr) {
    return Status(
        ErrorCode::kInvalidArgument,
        fmt::format("{}: --width-replay: the model's experts have no widths to choose", path_));
  }
  top_k_ = model.description().router.top_k;
  turns_ = turns_of(model.catalogue());
  for (const ExpertLayer& layer : model.catalogue().layers()) {
    layers_.push_back(layer.layer);
    widths_.push_back(layer.widths);
  }
  model.replay_widths(*this);
  spdlog::warn("widths are as {} has them, not as --width auto chooses", path_);
  return {};
}

Status WidthReplay::misfit(const std::string& what) const {
  return {ErrorCode::kInvalidArgument,
          fmt::format("--width-replay {}, line {}: {}", path_, line_, what)};
}

Status WidthReplay::begin(std::span<const Row> rows) {
  pass_.clear();
  for (const Row& row : rows) SLUICE_TRY(take_line(row));
  return {};
}

Status WidthReplay::take_line(const Row& row) {
  auto line = lines_.next();
  line_ += 1;
  if (!line.ok()) return line.status().with_context(path_);
  if (!line->more) {
    return misfit(fmt::format(
        "the log ends here, after {} tokens, and this run computes more: it repeats a run of the "
        "same texts and options",
        line_ - 2));
  }
  if (!line->whole) return misfit("is cut off");
  const char* at = line->text.data();
  const char* const end = at + line->text.size();
  TokenId token = 0;
  const auto number = std::from_chars(at, end, token);
  if (number.ec != std::errc()) return misfit("does not begin with a token");
  if (token != row.token) {
    return misfit(
        fmt::format("is of token {} where this run computes {}: the log is of another "
                    "text, or of other draws (--seed)",
                    token, row.token));
  }
  at = number.ptr;
  if (static_cast<std::size_t>(end - at) != widths_.size() * (top_k_ + 1)) {
    return misfit(fmt::format("should have {} layers of {} experts: the log is of another model",
                              widths_.size(), top_k_));
  }
  for (std::size_t turn = 0; turn < widths_.size(); ++turn) {
    const std::vector<std::uint8_t>& widths = widths_[turn];
    if (*at++ != ' ') return misfit("layers are not parted by blanks");
    for (std::size_t rank = 0; rank < top_k_; ++rank, ++at) {
      const auto found = std::ranges::find(widths, *at, character_of);
      if (*at == kLeftOut) {
        pass_.push_back(kNone);
      } else if (widths.empty() ? *at == kAsItIs : found != widths.end()) {
        pass_.push_back(static_cast<std::uint8_t>(found - widths.begin()));
      } else {
        return misfit(fmt::format("'{}' is no width of layer {}: the log is of another model{}",
                                  *at, layers_[turn],
                                  *at == kAsItIs ? ", or of --width exact" : ""));
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

}  // namespace sluice::apps
