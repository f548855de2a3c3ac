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

class Chooser {
 public:
  Chooser(const Checkpoint& source, const StorePlan& plan, const RestingOptions& options)
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
  Status check_bits() const {
    std::uint64_t least = made_.kept_bytes, most = least;
    for (const std::vector<WidthOption>& options : made_.options) {
      least += options.front().bytes;
      most += options.back().bytes;
    }
    const auto bits = [&](std::uint64_t bytes) {
      return bits_text(8 * static_cast<double>(bytes) / made_.weights);
    };
    const std::string kept =
        made_.kept_bytes == 0 ? "" : ", with the layers that are not nested as they are";
    if (budget() < static_cast<double>(least)) {
      return {ErrorCode::kInvalidArgument, "experts have " + bits(least) +
                                               " bits at the least, scales and offsets included" +
                                               kept + ": ask for more than that"};
    }
    if (budget() > static_cast<double>(most)) {
      return {ErrorCode::kInvalidArgument, "experts have " + bits(most) +
                                               " bits at the most, scales and offsets included" +
                                               kept + ": ask for fewer, or leave it out"};
    }
    return {};
  }

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

  Result<RestingWidths> choose() {
    SLUICE_ASSIGN(made_.chosen, plan_widths(made_.options, static_cast<std::uint64_t>(budget()) -
                                                               made_.kept_bytes));
    return std::move(made_);
  }

 private:
  double budget() const { return options_.bits * made_.weights / 8; }

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

Result<RestingWidths> plan_resting_widths(const Checkpoint& source, const StorePlan& plan,
                                          BlockReader& reader, const RestingOptions& options) {
  Chooser chooser(source, plan, options);
  SLUICE_TRY(chooser.check_bits());
  SLUICE_TRY(chooser.measure(reader));
  return chooser.choose();
}

}  // namespace sluice
