#pragma once
// How an expert's slices, of its three matrices and of their scales where the file keeps those
// apart, come to lie in a slot of the cache.
//
// A direct read takes whole disk sectors to an address that is a multiple of the sector, and slices
// begin anywhere. So each slice is read with the sectors that it touches, and stays as far into its
// first sector as it is on disk: the slot has up to a sector of slack at either side of a slice,
// and nothing is copied.
//
//     file    ····|····gggg|gggggggg|ggg·····|····                      | sector boundary
//     slot        |····gggg|gggggggg|ggg·····|·uuuuuuu|uuuuuu··|dddd…
//                      └ slices[0]            └ slices[1]      └ slices[2]
//
// Slices whose sectors meet or overlap on disk, or are less than a cache line apart, become one
// read.

#include <array>
#include <cstddef>
#include <cstdint>

#include "formats/checkpoint.h"

namespace sluice {

/// One read into the slot. Offsets and `bytes` are multiples of the file's alignment, `slot_offset`
/// also of 64.
struct SlotRead {
  std::uint32_t file = 0;    // index into the catalogue's files
  std::uint64_t offset = 0;  // in the file
  std::size_t bytes = 0;
  std::size_t needed = 0;  // up to the end of the last slice
  std::size_t slot_offset = 0;
};

/// Of gate, up and down, and then of their scales; those that a file does not have are empty.
using ExpertRanges = std::array<FileRange, 6>;

struct SlotLayout {
  std::array<SlotRead, 6> reads{};
  std::size_t read_count = 0;
  std::array<std::size_t, 6> slices{};  // where each range begins in the slot
  std::size_t bytes = 0;                // of the slot
};

/// The strictest alignment that a reader asks for; a slot that begins at a multiple of it suits
/// every file.
inline constexpr std::size_t kMaxAlignment = 4096;

/// `alignments`: of the file of each range; powers of two, at most kMaxAlignment. REQUIRES: ranges
/// end below 2^63.
SlotLayout layout_slot(const ExpertRanges& ranges, const std::array<std::size_t, 6>& alignments);

/// The most that a slot of these ranges takes, whatever the alignment of its files.
std::size_t slot_bytes_bound(const ExpertRanges& ranges);

}  // namespace sluice
