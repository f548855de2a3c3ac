#include "text/pre_tokenizers.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>

namespace sluice {
namespace {

// The patterns are those of the models' published tokenizer.json files (GGUF's names for them are
// llama.cpp's), in Oniguruma's syntax; what no pattern matches becomes a piece as well.

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define WHITE_SPACE R"(|\s*[\r\n]+|\s+(?!\S)|\s+)"
#define UPPERCASE R"(\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M})"
#define LOWERCASE R"(\p{Ll}\p{Lm}\p{Lo}\p{M})"

constexpr const char* kGpt2 =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr const char* kDigit = R"(\p{N})";
constexpr const char* kThreeDigits = R"(\p{N}{1,3})";

constexpr const char* kLlama3 =
    CONTRACTIONS R"(|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*)" WHITE_SPACE;

constexpr const char* kQwen2 =
    CONTRACTIONS R"(|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*)" WHITE_SPACE;

constexpr const char* kQwen35 = CONTRACTIONS
    R"(|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*)" WHITE_SPACE;

constexpr const char* kGpt4o =
    R"([^\r\n\p{L}\p{N}]?[)" UPPERCASE "]*[" LOWERCASE "]+" CONTRACTIONS
    R"(?|[^\r\n\p{L}\p{N}]?[)" UPPERCASE "]+[" LOWERCASE "]*" CONTRACTIONS
    R"(?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*)" WHITE_SPACE;

constexpr const char* kTekken =
    R"([^\r\n\p{L}\p{N}]?[)" UPPERCASE "]*[" LOWERCASE R"(]+|[^\r\n\p{L}\p{N}]?[)" UPPERCASE
    "]+[" LOWERCASE R"(]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*)" WHITE_SPACE;

// As gpt-4o without Chinese in its words.
#define NOT_HAN R"(&&[^\p{Han}]])"
constexpr const char* kKimiK2 =
    R"([\p{Han}]+|[^\r\n\p{L}\p{N}]?[)" UPPERCASE NOT_HAN "*[" LOWERCASE NOT_HAN "+" CONTRACTIONS
    R"(?|[^\r\n\p{L}\p{N}]?[)" UPPERCASE NOT_HAN "+[" LOWERCASE NOT_HAN "*" CONTRACTIONS
    R"(?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*)" WHITE_SPACE;

constexpr const char* kNewline = R"([\r\n])";
constexpr const char* kHanAndHangul = R"([\x{4E00}-\x{9FA5}\x{800}-\x{4E00}\x{AC00}-\x{D7FF}]+)";
constexpr const char* kHanAndKana = R"([\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+)";

constexpr const char* kDeepSeekV3 =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+)"
    R"(| ?[\p{P}\p{S}]+[\r\n]*)" WHITE_SPACE;

// Cased letters, as the model's makers list them.
constexpr const char* kDeepSeekLetters =
    R"(\s?[A-Za-z\x{B5}\x{C0}-\x{D6}\x{D8}-\x{F6}\x{F8}-\x{1BA}\x{1BC}-\x{1BF}\x{1C4}-\x{293})"
    R"(\x{295}-\x{2AF}\x{370}-\x{373}\x{376}\x{377}\x{37B}-\x{37D}\x{37F}\x{386}\x{388}-\x{38A})"
    R"(\x{38C}\x{38E}-\x{3A1}\x{3A3}-\x{3F5}\x{3F7}-\x{481}\x{48A}-\x{52F}\x{531}-\x{556})"
    R"(\x{10A0}-\x{10C5}\x{13A0}-\x{13F5}\x{13F8}-\x{13FD}\x{1C90}-\x{1CBA}\x{1CBD}-\x{1CBF})"
    R"(\x{1D00}-\x{1D2B}\x{1D6B}-\x{1D77}\x{1D79}-\x{1D9A}\x{1E00}-\x{1F15}\x{1F18}-\x{1F1D})"
    R"(\x{1F20}-\x{1F45}\x{1F48}-\x{1F4D}\x{1F50}-\x{1F57}\x{1F59}\x{1F5B}\x{1F5D}\x{1F5F}-\x{1F7D})"
    R"(\x{1F80}-\x{1FB4}\x{1FB6}-\x{1FBC}\x{1FBE}\x{1FC2}-\x{1FC4}\x{1FC6}-\x{1FCC}\x{1FD0}-\x{1FD3})"
    R"(\x{1FD6}-\x{1FDB}\x{1FE0}-\x{1FEC}\x{1FF2}-\x{1FF4}\x{1FF6}-\x{1FFC}\x{2102}\x{2107})"
    R"(\x{210A}-\x{2113}\x{2115}\x{2119}-\x{211D}\x{2124}\x{2126}\x{2128}\x{212A}-\x{212D})"
    R"(\x{212F}-\x{2134}\x{2139}\x{213C}-\x{213F}\x{2145}-\x{2149}\x{214E}\x{2183}\x{2184})"
    R"(\x{2C00}-\x{2C7B}\x{2C7E}-\x{2CE4}\x{2CEB}-\x{2CEE}\x{2CF2}\x{2CF3}\x{A640}-\x{A66D})"
    R"(\x{A680}-\x{A69B}\x{A722}-\x{A76F}\x{A771}-\x{A787}\x{A78B}-\x{A78E}\x{AB70}-\x{ABBF})"
    R"(\x{FB00}-\x{FB06}\x{FB13}-\x{FB17}\x{FF21}-\x{FF3A}\x{FF41}-\x{FF5A}\x{10400}-\x{1044F})"
    R"(\x{104B0}-\x{104D3}\x{104D8}-\x{104FB}\x{10C80}-\x{10CB2}\x{10CC0}-\x{10CF2})"
    R"(\x{118A0}-\x{118DF}\x{1E900}-\x{1E943}]+)";
constexpr const char* kDeepSeekPunctuation =
    R"(\s?[!-/:-~\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF5E}\x{2018}-\x{201F}\x{3000}-\x{3002}]+)";
// \s+$ in the model's file. At a run's start only, lest a long run be tried from each of its
// characters; a newline is a piece of its own by then, so that the end of a line is the end of the
// piece.
constexpr const char* kTrailingSpace = R"((?<!\s)\s+\z)";

constexpr const char* kBailing =
    R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*)"
    R"(|\s*[\r\n]|\s+(?!\S)|\s+)";
constexpr const char* kSeedCoder =
    CONTRACTIONS R"(|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+)" WHITE_SPACE;

constexpr const char* kDefaultPunctuation = R"([\p{P}$+<=>\^~|]+)";
constexpr const char* kFalconPunctuation = R"([\p{P}$+<=>\^~|`]+)";
constexpr const char* kNumber = R"(\p{N}+)";
constexpr const char* kAsciiThreeDigits = "[0-9][0-9][0-9]";

constexpr std::size_t kMaxNames = 12;
constexpr std::size_t kMaxPatterns = 6;
enum Flags : unsigned { kPlain = 0, kIgnoreMerges = 1, kNfc = 2 };

struct Row {
  std::array<const char*, kMaxNames> names;        // nullptr past the last
  std::array<const char*, kMaxPatterns> patterns;  // likewise
  unsigned flags;
};

constexpr Row kRows[] = {
    {{"default"}, {kDefaultPunctuation, kGpt2, kNumber, kAsciiThreeDigits}, kPlain},
    {{"gpt-2", "phi-2", "gigachat", "a.x-4.0", "mellum", "exaone4", "mpt", "jais", "trillion",
      "granite-docling"},
     {kGpt2},
     kPlain},
    {{"olmo"}, {kGpt2}, kNfc},
    {{"starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b", "mellum2"},
     {kDigit, kGpt2},
     kPlain},
    {{"falcon"}, {kFalconPunctuation, kGpt2, kAsciiThreeDigits}, kPlain},
    {{"llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"},
     {kLlama3},
     kIgnoreMerges},
    {{"glm4", "glm5"}, {kLlama3}, kIgnoreMerges},
    {{"dbrx", "smaug-bpe", "chatglm-bpe"}, {kLlama3}, kPlain},
    {{"qwen2", "f2llmv2"}, {kQwen2}, kNfc},
    {{"deepseek-r1-qwen", "megrez", "hunyuan", "grok-2", "stablelm2", "solar-open", "kormo"},
     {kQwen2},
     kPlain},
    {{"qwen35"}, {kQwen35}, kNfc},
    {{"gpt-4o", "llama4", "minimax-m2", "kanana2", "talkie"}, {kGpt4o}, kPlain},
    {{"tekken"}, {kTekken}, kIgnoreMerges},
    {{"kimi-k2"}, {kKimiK2}, kPlain},
    {{"deepseek-llm"},
     {kNewline, kDeepSeekLetters, kDeepSeekPunctuation, kTrailingSpace, kHanAndHangul, kDigit},
     kPlain},
    {{"deepseek-coder"}, {kNewline, R"(\s?\p{L}+)", R"(\s?\p{P}+)", kHanAndHangul, kDigit}, kPlain},
    {{"deepseek-v3", "hunyuan-dense", "hy_v4", "joyai-llm"},
     {kThreeDigits, kHanAndKana, kDeepSeekV3},
     kPlain},
    {{"bailingmoe", "bailingmoe2", "llada-moe"}, {kBailing}, kPlain},
    {{"seed-coder"}, {kSeedCoder}, kPlain},
    {{"laguna"}, {R"([^\n]+|[\n]+)", kQwen2}, kPlain},
};

}  // namespace

Result<PreTokenizer> pre_tokenizer(std::string_view name) {
  for (const Row& row : kRows) {
    const bool named = std::any_of(row.names.begin(), row.names.end(), [&](const char* candidate) {
      return candidate != nullptr && name == candidate;
    });
    if (!named) continue;
    PreTokenizer result;
    for (const char* pattern : row.patterns) {
      if (pattern != nullptr) result.splits.emplace_back().pattern = pattern;
    }
    result.ignore_merges = (row.flags & kIgnoreMerges) != 0;
    result.nfc = (row.flags & kNfc) != 0;
    return result;
  }
  return Status(ErrorCode::kUnsupported,
                "tokenizer.ggml.pre: pre-tokenizer \"" + std::string(name) + "\" is not known");
}

std::vector<std::string_view> pre_tokenizer_names() {
  std::vector<std::string_view> names;
  for (const Row& row : kRows) {
    for (const char* name : row.names) {
      if (name != nullptr) names.push_back(name);
    }
  }
  return names;
}

}  // namespace sluice
