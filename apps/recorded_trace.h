#pragma once
// The file that --trace-routing writes. Everything is little-endian and nothing is padded.
//
//     header   magic         8 bytes       kTraceMagic
//              version       u32           kTraceVersion
//              layers        u32           of experts, in the order of their turns
//              top_k         u32           experts of a row
//              id_bytes      u32           1 or 2: of an expert's id
//     layers × number        u32           the model's, from 0
//              experts       u32
//              expert_bytes  u64           of one expert's matrices
//              slot_bytes    u64[experts]  what each takes of the engine's cache
//              sum           u64
//     records  mark          u16
//              kPassMark: a pass begins    rows u32, decode u8 (0 or 1),
//                                          rows × (token u32, position u32)
//              below `layers`: the visit of the layer with that turn, in rising order in a pass
//                                          ids [rows][top_k], then u16 [rows][top_k], their shares
//                                          of the row's weights × 65535; in rank order
//              kSumMark: all is well       sum u64
//              kEndMark: the run is over   passes u64, sum u64; nothing comes after it
//
// A sum is the checksum (formats/checksum.h) of all bytes before it back to the sum before. There
// is one before a pass as soon as kSummedBytes have none.
//
// A decode step is a pass in which every row has a sequence of its own and something before it;
// other passes are prefill. A pass that was stopped has fewer visits than there are layers. A file
// without kEndMark comes from a run that was killed; it is good up to its last whole record.

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace sluice::apps {

// As PNG's: what turns line ends or stops at a zero is noticed.
inline constexpr std::string_view kTraceMagic = "\x89SLRT\r\n\x1a";
inline constexpr std::uint32_t kTraceVersion = 2;
inline constexpr std::uint16_t kPassMark = 0xFFFF;
inline constexpr std::uint16_t kEndMark = 0xFFFE;
inline constexpr std::uint16_t kSumMark = 0xFFFD;
inline constexpr std::size_t kSummedBytes = std::size_t{64} << 10;

}  // namespace sluice::apps
