#pragma once
// Reads tokenizer.json with its vocabulary and merges going straight into tables: as a JSON
// document, 150,000 of each would take a hundred megabytes for a moment, and the memory budget
// counts moments.

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/status.h"
#include "base/tokenizer_data.h"

namespace sluice {

struct TokenizerJson {
  nlohmann::json document;         // everything but model.vocab and model.merges
  StringTable texts;               // model.vocab in the file's order …
  std::vector<std::uint32_t> ids;  // … and the id of each
  std::vector<double> scores;      // likewise, where it is a list of texts and scores (Unigram)
  StringTable merges;              // "left right"
  std::size_t text_bytes = 0;      // of all texts together
  bool merges_ambiguous = false;   // a part of a merge holds a space itself
};

Result<TokenizerJson> read_tokenizer_json(const std::string& path);

}  // namespace sluice
