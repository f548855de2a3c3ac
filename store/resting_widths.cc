#include "store/resting_widths.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <string>

#include "formats/expert_tensors.h"
#include "store/nested_maker.h"

namespace sluice {
namespace {

/// Of the source, that are held together.
constexpr std::uint64_t kMeasuredBytes = std::uint64_t{64} << 20;

/// Of stacked experts as they lie in the source.
std::uint64_t bytes_of(const TensorInfo& tensor) {
  const std::uint64_t elements = tensor.elements();
  if (!tensor.stored) return tensor_format(tensor.type).bytes(elements);
  std::uint64_t bytes = 0;
  for (const FileRange& scales : tensor.stored->scales) bytes += scales.bytes;
  switch (tensor.stored->code) {
    case StoredCode::kType:
      return tensor_format(tensor.stored->type).bytes(elements);
    case StoredCode::kF8E4M3:
      return bytes + elements;
    case StoredCode::kSplitMxfp4:
      return bytes + elements / 2;
  }
  return bytes;
}

std::uint32_t number_of(const StoreNestedLayer& layer) {
  return layer_of_experts(layer.tensors[0].name).value_or(0);
}

std::string bits_text(double bits) {
  std::string text = std::to_string(bits);
  return text.substr(0, text.find('.') + 4);
}

/// Of the widths that `pick` names of each expert's options.
template <typename Pick>
std::uint64_t sum_of(const RestingWidths& widths, const Pick& pick) {
  std::uint64_t bytes = widths.kept_bytes;
  for (const std::vector<WidthOption>& options : widths.options) bytes += pick(options).bytes;
  return bytes;
}

Status check(const RestingWidths& widths, double bits) {
  const std::string kept =
      widths.kept_bytes == 0 ? "" : ", with the layers that are not nested as they are";
  if (bits < widths.least_bits()) {
    return {ErrorCode::kInvalidArgument, "experts have " + bits_text(widths.least_bits()) +
                                             " bits at the least, scales and offsets included" +
                                             kept + ": ask for more than that"};
  }
  if (bits > widths.most_bits()) {
    return {ErrorCode::kInvalidArgument, "experts have " + bits_text(widths.most_bits()) +
                                             " bits at the most, scales and offsets included" +
                                             kept + ": ask for fewer, or leave it out"};
  }
  return {};
}

class Measurer {
 public:
  Measurer(const Checkpoint& source, const StorePlan& plan, const RestingOptions& options)
      : plan_(plan), options_(options) {
    std::set<std::string> nested;
    for (const StoreNestedLayer& layer : plan.nested_layers) {
      for (const TensorInfo& tensor : layer.tensors) nested.insert(tensor.name);
    }
    for (const auto& [name, tensor] : source.tensors) {
      if (!layer_of_experts(name)) continue;
      made_.weights += static_cast<double>(tensor.elements());
      if (!nested.contains(name)) made_.kept_bytes += bytes_of(tensor);
    }
    for (const StoreNestedExpert& expert : plan.nested) add_widths(expert);
  }

  /// Whether there are widths of so many bits: known before anything is read.
  Status check_bits() const { return check(made_, options_.bits); }

  Status measure(BlockReader& reader) {
    std::vector<FileIndex> files;
    for (const std::string& path : plan_.files) {
      SLUICE_ASSIGN(const FileIndex file, reader.open(path));
      files.push_back(file);
    }
    std::uint64_t all = 0, done = 0;
    for (const StoreNestedExpert& expert : plan_.nested) all += source_bytes(expert);
    NestedMaker maker(plan_, reader, files, options_.importance);
    for (std::size_t first = 0; first < plan_.nested.size();) {
      std::size_t count = 0;
      std::uint64_t bytes = 0;
      while (first + count < plan_.nested.size() && (count == 0 || bytes < kMeasuredBytes)) {
        bytes += source_bytes(plan_.nested[first + count++]);
      }
      std::vector<ExpertErrors> errors(count);
      SLUICE_TRY(maker.measure(first, errors, options_.cancel));
      for (std::size_t i = 0; i < count; ++i) SLUICE_TRY(price(first + i, errors[i]));
      first += count;
      if (options_.progress) options_.progress(done += bytes, all);
    }
    return {};
  }

  RestingWidths take() { return std::move(made_); }

 private:
  const StoreNestedLayer& layer_of(const StoreNestedExpert& expert) const {
    return plan_.nested_layers[expert.layer];
  }

  std::uint64_t source_bytes(const StoreNestedExpert& expert) const {
    const StoreNestedLayer& layer = layer_of(expert);
    if (layer.tensors[0].nested) return expert.bytes;
    std::uint64_t bytes = 0;
    for (const TensorInfo& tensor : layer.tensors) bytes += tensor.slice(expert.expert).bytes;
    return bytes;
  }

  void add_widths(const StoreNestedExpert& expert) {
    const StoreNestedLayer& layer = layer_of(expert);
    std::set<std::uint8_t> widths;
    for (const NestedForm* form : layer.forms) {
      for (std::size_t count = 1; count <= form->groups_within(expert.width); ++count) {
        widths.insert(static_cast<std::uint8_t>(form->width(count)));
      }
    }
    std::vector<WidthOption>& options = made_.options.emplace_back();
    for (const std::uint8_t width : widths) {
      WidthOption& option = options.emplace_back();
      for (std::size_t i = 0; i < layer.forms.size(); ++i) {
        const std::vector<std::uint64_t>& shape = layer.tensors[i].shape;
        for (std::size_t group = 0; group < layer.forms[i]->groups_within(width); ++group) {
          option.bytes += layer.forms[i]->group_bytes(group, shape[1], shape[2]);
        }
      }
    }
    made_.widths.emplace_back(widths.begin(), widths.end());
  }

  Status price(std::size_t index, const ExpertErrors& errors) {
    const StoreNestedExpert& expert = plan_.nested[index];
    const StoreNestedLayer& layer = layer_of(expert);
    SLUICE_TRY(read_shares(expert.layer));
    const std::uint32_t number = number_of(layer);
    const double sensitivity =
        number < options_.sensitivities.size() ? double{options_.sensitivities[number]} : 1.0;
    for (std::size_t option = 0; option < made_.options[index].size(); ++option) {
      double error = 0;
      for (std::size_t i = 0; i < errors.size(); ++i) {
        error += errors[i][layer.forms[i]->groups_within(made_.widths[index][option]) - 1];
      }
      made_.options[index][option].error =
          error * shares_[expert.expert] * sensitivity * sensitivity;
    }
    return {};
  }

  /// Of each expert of a layer: of the tokens that the importance was measured on. It saw each once
  /// more than it counted: what a text does not want is not what no text wants.
  Status read_shares(std::uint32_t layer_index) {
    if (shares_of_ == layer_index) return {};
    const StoreNestedLayer& layer = plan_.nested_layers[layer_index];
    const std::uint64_t experts = layer.tensors[0].shape[0];
    shares_.assign(experts, 1.0 / static_cast<double>(experts));
    shares_of_ = layer_index;
    for (const TensorInfo& tensor : layer.tensors) {
      if (options_.importance == nullptr || !options_.importance->has(tensor.name)) continue;
      SLUICE_ASSIGN(const Importance importance,
                    options_.importance->read(tensor.name, experts, tensor.shape[2]));
      double sum = 0;
      for (const float count : importance.counts) sum += 1.0 + double{count};
      for (std::size_t i = 0; i < experts; ++i) shares_[i] = (1.0 + importance.counts[i]) / sum;
      return {};
    }
    return {};
  }

  const StorePlan& plan_;
  const RestingOptions& options_;
  RestingWidths made_;
  std::uint32_t shares_of_ = ~std::uint32_t{0};
  std::vector<double> shares_;
};

}  // namespace

std::map<std::uint32_t, std::vector<std::uint8_t>> RestingWidths::by_layer(
    const StorePlan& plan) const {
  std::map<std::uint32_t, std::vector<std::uint8_t>> widths_of;
  for (std::size_t i = 0; i < plan.nested.size(); ++i) {
    // Ascending by layer and expert.
    widths_of[number_of(plan.nested_layers[plan.nested[i].layer])].push_back(width(i));
  }
  return widths_of;
}

double RestingWidths::least_bits() const {
  const auto pick = [](const std::vector<WidthOption>& of) -> auto& { return of.front(); };
  return 8 * static_cast<double>(sum_of(*this, pick)) / weights;
}

double RestingWidths::most_bits() const {
  const auto pick = [](const std::vector<WidthOption>& of) -> auto& { return of.back(); };
  return 8 * static_cast<double>(sum_of(*this, pick)) / weights;
}

Status RestingWidths::choose(double bits) {
  SLUICE_TRY(check(*this, bits));
  // The least bits times the weights may be a rounding below the bytes that they are of.
  const auto bytes = static_cast<std::uint64_t>(bits * weights / 8 + 0.5);
  SLUICE_ASSIGN(chosen, plan_widths(options, bytes - kept_bytes));
  return {};
}

Result<RestingWidths> plan_resting_widths(const Checkpoint& source, const StorePlan& plan,
                                          BlockReader& reader, const RestingOptions& options) {
  Measurer measurer(source, plan, options);
  if (options.bits != 0) SLUICE_TRY(measurer.check_bits());
  SLUICE_TRY(measurer.measure(reader));
  RestingWidths widths = measurer.take();
  if (options.bits != 0) SLUICE_TRY(widths.choose(options.bits));
  return widths;
}

}  // namespace sluice
