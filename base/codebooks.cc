#include "base/codebooks.h"

#include "base/codebook_entries.h"

namespace sluice {

constinit const Codebook<std::uint64_t, 256> kIq2XxsCodebook = codebook::iq2_xxs();
constinit const Codebook<std::uint64_t, 512> kIq2XsCodebook = codebook::iq2_xs();
constinit const Codebook<std::uint64_t, 1024> kIq2SCodebook = codebook::iq2_s();
constinit const Codebook<std::uint32_t, 256> kIq3XxsCodebook = codebook::iq3_xxs();
constinit const Codebook<std::uint32_t, 512> kIq3SCodebook = codebook::iq3_s();
constinit const Codebook<std::uint64_t, 2048> kIq1Codebook = codebook::iq1();

}  // namespace sluice
