#include "formats/hugging_face.h"

#include <filesystem>
#include <utility>

#include "formats/architectures.h"
#include "formats/coded_tensors.h"
#include "formats/completion.h"
#include "formats/hf_names.h"
#include "formats/hf_quantisation.h"
#include "formats/hf_settings.h"
#include "formats/hf_tokenizer.h"
#include "formats/json.h"
#include "formats/safetensors.h"
#include "formats/tensor_collector.h"

namespace sluice {
namespace {

using nlohmann::json;

constexpr std::uint64_t kLargestConfig = std::uint64_t{16} << 20;

class FolderOpener {
 public:
  FolderOpener(const std::string& folder, CheckpointParts parts) : folder_(folder), parts_(parts) {}

  Result<Checkpoint> open() {
    SLUICE_ASSIGN(const json config, read_config());
    SLUICE_ASSIGN(const json generation, read_optional("generation_config.json"));
    checkpoint_.container = "safetensors";
    checkpoint_.settings_file = path("config.json");
    checkpoint_.settings["general.name"] = display_name();
    if (!config.empty()) {
      const auto architecture = translate_config(config, checkpoint_);
      if (!architecture.ok()) return in_config(architecture.status());
      architecture_ = *architecture;
    }
    SLUICE_TRY(find_quantisation(config));
    if (const Status status = translate_generation_config(generation, checkpoint_); !status.ok()) {
      return status.with_context(path("generation_config.json"));
    }
    SLUICE_ASSIGN(checkpoint_.tokenizer, read_hf_tokenizer(folder_.string(), config, generation));
    if (parts_ == CheckpointParts::kEverything) SLUICE_TRY(read_tensors(config));
    // Codes that are not read stay as they are named: there is nothing to arrange.
    const Architecture* arranged = quantisation_.unread.empty() ? architecture_ : nullptr;
    if (const Status status = complete_checkpoint(checkpoint_, Container::kHuggingFace, arranged);
        !status.ok()) {
      return in_config(status);
    }
    return std::move(checkpoint_);
  }

 private:
  std::string path(std::string_view name) const { return (folder_ / name).string(); }

  /// "setting 'expert_count' is …" is our word for it; the user's is in config.json.
  Status in_config(const Status& status) const {
    constexpr std::string_view kBefore = "setting '";
    std::string_view setting = status.message();
    setting.remove_prefix(setting.starts_with(kBefore) ? kBefore.size() : setting.size());
    return status.with_context(checkpoint_.source_of(setting.substr(0, setting.find('\''))));
  }

  std::string display_name() const {
    const std::filesystem::path trimmed = folder_.has_filename() ? folder_ : folder_.parent_path();
    return trimmed.filename().string();
  }

  Result<json> read_optional(std::string_view name) const {
    std::error_code ignored;
    if (!std::filesystem::exists(folder_ / name, ignored)) return json::object();
    return read_json_object(path(name), kLargestConfig);
  }

  /// The tokenizer alone does without; a model does not.
  Result<json> read_config() const {
    if (parts_ == CheckpointParts::kTokenizerOnly) return read_optional("config.json");
    auto config = read_json_object(path("config.json"), kLargestConfig);
    if (!config.ok() && config.status().code() == ErrorCode::kNotFound) {
      return Status(ErrorCode::kNotFound,
                    folder_.string() + ": no config.json; not a Hugging Face folder");
    }
    return config;
  }

  /// What cannot be read is refused by whoever wants to run the model; the rest is still told.
  Status find_quantisation(const json& config) {
    auto quantisation = read_quantisation(config);
    if (!quantisation.ok()) return quantisation.status().with_context(path("config.json"));
    quantisation_ = *std::move(quantisation);
    if (quantisation_.unread.empty()) return {};
    checkpoint_.settings["weights.unread_codes"] = quantisation_.unread;
    checkpoint_.setting_names["weights.unread_codes"] = quantisation_.key;
    return {};
  }

  Status read_tensors(const json& config) {
    SLUICE_TRY(read_safetensors_folder(folder_.string(), checkpoint_.files,
                                       [&](SafetensorsTensor tensor) { return add(tensor); }));
    if (const Status status = collector_.finish(checkpoint_, quantisation_.block); !status.ok()) {
      return status.with_context(folder_.string());
    }
    if (!quantisation_.unread.empty()) return {};  // the head may be there by another name
    auto tied = is_tied(config);
    if (!tied.ok()) return tied.status().with_context(path("config.json"));
    return settle_head(*tied);
  }

  /// The engine takes the embedding where there is no head: that must not hide a head that was
  /// lost. A stored one is used whatever the config says, as Transformers does since version 5.
  Status settle_head(std::optional<bool> tied) {
    const bool present = checkpoint_.find("output.weight") != nullptr ||
                         checkpoint_.unreadable.contains("output.weight");
    if (tied == false && !present) {
      return Status(ErrorCode::kCorrupt, folder_.string() +
                                             ": the tensor 'lm_head.weight' is missing, though "
                                             "'tie_word_embeddings' in config.json is false");
    }
    return {};
  }

  /// A multimodal checkpoint says it outside, inside, or both.
  static Result<std::optional<bool>> is_tied(const json& config) {
    SLUICE_ASSIGN(auto tied, json_value<bool>(config, "tie_word_embeddings"));
    if (!tied) {
      SLUICE_ASSIGN(tied, json_value<bool>(text_config(config), "tie_word_embeddings"));
    }
    return tied;
  }

  Status add(SafetensorsTensor& tensor) {
    const auto translated = translate_tensor_name(tensor.info.name, checkpoint_.architecture);
    if (translated && translated->name.empty()) return {};
    const std::string name = translated ? translated->name : tensor.info.name;
    const auto expert = translated ? translated->expert : std::nullopt;
    constexpr std::string_view kScale = "_scale";
    if (translated && name.ends_with(".weight_scale")) {
      SLUICE_ASSIGN(auto scales, read_scales(tensor));
      if (scales) {
        return collector_.add_scales(name.substr(0, name.size() - kScale.size()), expert,
                                     *std::move(scales));
      }
    }
    if (tensor.foreign) {
      std::optional<TensorInfo> codes;
      if (translated) {
        SLUICE_ASSIGN(codes, read_codes(tensor));
      }
      if (!codes) {
        collector_.add_unreadable(name, *tensor.foreign);
        return {};
      }
      tensor.info = *std::move(codes);
    }
    if (expert) return collector_.add_expert(name, *expert, std::move(tensor.info));
    tensor.info.name = name;
    return collector_.add(std::move(tensor.info));
  }

  std::filesystem::path folder_;
  CheckpointParts parts_;
  Checkpoint checkpoint_;
  const Architecture* architecture_ = nullptr;
  Quantisation quantisation_;
  TensorCollector collector_;
};

}  // namespace

Result<Checkpoint> open_hugging_face(const std::string& folder, CheckpointParts parts) {
  return FolderOpener(folder, parts).open();
}

}  // namespace sluice
