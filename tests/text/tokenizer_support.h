#pragma once
// What the tokenizer's tests share: opening tokenizers of the data set, and vectors of the
// tokenizers package.

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "formats/checkpoint.h"
#include "tests/support/test_data.h"
#include "text/tokenizer.h"

namespace sluice::test {

/// A folder for one test, gone with it.
class ScratchFolder {
 public:
  ScratchFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "sluice-text-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~ScratchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

inline bool run_command(const std::string& command) { return std::system(command.c_str()) == 0; }

inline std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

inline TokenizerData open_tokenizer_data(const std::filesystem::path& path) {
  auto checkpoint = open_checkpoint(path.string(), CheckpointParts::kTokenizerOnly);
  if (!checkpoint.ok()) {
    ADD_FAILURE() << checkpoint.status().message();
    return {};
  }
  return std::move(checkpoint->tokenizer);
}

inline std::unique_ptr<Tokenizer> make_tokenizer(TokenizerData data) {
  auto tokenizer = Tokenizer::create(std::move(data));
  if (!tokenizer.ok()) {
    ADD_FAILURE() << tokenizer.status().message();
    return nullptr;
  }
  return std::move(tokenizer).value();
}

/// The tokenizer of a GGUF file or Hugging Face folder; gzipped files are unpacked. nullptr after a
/// failure.
inline std::unique_ptr<Tokenizer> open_tokenizer(const std::filesystem::path& path) {
  if (path.extension() != ".gz") return make_tokenizer(open_tokenizer_data(path));
  const ScratchFolder folder;
  const auto plain = folder.path() / path.stem();
  if (!run_command("gunzip -c '" + path.string() + "' > '" + plain.string() + "'")) {
    ADD_FAILURE() << "gunzip " << path;
    return nullptr;
  }
  return make_tokenizer(open_tokenizer_data(plain.extension() == ".json" ? folder.path() : plain));
}

/// Runs a script of tests/text; false after a failure.
inline bool run_script(const std::string& name, const std::string& arguments) {
  const std::string script = std::string(SLUICE_SOURCE_DIR) + "/tests/text/" + name;
  return run_command(std::string("PYTHONDONTWRITEBYTECODE=1 '") + std::getenv("SLUICE_PYTHON") +
                     "' '" + script + "' " + arguments);
}

inline bool has_python() {
  const char* python = std::getenv("SLUICE_PYTHON");
  return python != nullptr && *python != '\0';
}

/// The ids of a text that arrives in parts of `bytes` bytes; empty after an error.
inline std::vector<TokenId> encode_in_parts(const Tokenizer& tokenizer, std::string_view text,
                                            const Tokenizer::EncodeOptions& options,
                                            std::size_t bytes) {
  const auto stream = tokenizer.stream(options);
  std::vector<TokenId> ids;
  for (; !text.empty(); text.remove_prefix(std::min(bytes, text.size()))) {
    // A copy of its own, so that a sanitizer sees whoever looks at a part that has gone.
    const std::string part(text.substr(0, bytes));
    if (!stream->push(part, ids).ok()) return {};
  }
  if (!stream->finish(ids).ok()) return {};
  return ids;
}

/// Streams ids through a Detokenizer.
inline std::string stream(const Tokenizer& tokenizer, const std::vector<TokenId>& ids) {
  Detokenizer detokenizer(tokenizer);
  std::string text;
  for (const TokenId id : ids) text += detokenizer.push(id);
  return text + detokenizer.finish();
}

}  // namespace sluice::test
