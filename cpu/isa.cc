#include "cpu/isa.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <array>
#include <cstdlib>
#include <string>

namespace sluice {
namespace {

struct IsaRow {
  Isa isa;
  std::string_view word;  // as SLUICE_ISA has it
  std::string_view name;
};

constexpr std::array kIsaRows = {
    IsaRow{Isa::kGeneric, "generic", "generic"},
    IsaRow{Isa::kAvx2, "avx2", "AVX2"},
    IsaRow{Isa::kAvx512, "avx512", "AVX-512"},
    IsaRow{Isa::kAvx512Vnni, "vnni", "AVX-512 VNNI"},
};

constexpr std::array kIsas = {Isa::kGeneric, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Vnni};

#if defined(__x86_64__)
/// Conversions between half and single precision, which clang 14's __builtin_cpu_supports does not
/// know. They work on AVX's registers: who has AVX2 needs no other leave of the operating system.
bool has_f16c() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}
#endif

}  // namespace

std::span<const Isa> all_isas() { return kIsas; }

std::string_view isa_name(Isa isa) { return kIsaRows[static_cast<std::size_t>(isa)].name; }

bool isa_available(Isa isa) {
  if (isa == Isa::kGeneric) return true;
#if defined(__x86_64__)
  // The compiler's run-time also asks the operating system whether it saves the wide registers.
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                      __builtin_cpu_supports("avx512dq");
  if (isa == Isa::kAvx2) return avx2;
  if (isa == Isa::kAvx512) return avx512;
  return avx512 && __builtin_cpu_supports("avx512vnni");
#else
  return false;
#endif
}

Result<Isa> choose_isa() {
  if (const char* forced = std::getenv("SLUICE_ISA"); forced != nullptr && *forced != '\0') {
    for (const IsaRow& row : kIsaRows) {
      if (row.word != forced) continue;
      if (isa_available(row.isa)) return row.isa;
      return Status(ErrorCode::kUnsupported, "SLUICE_ISA=" + std::string(forced) +
                                                 ": this machine lacks these instructions");
    }
    return Status(ErrorCode::kInvalidArgument,
                  "SLUICE_ISA=" + std::string(forced) + ": choose generic, avx2, avx512 or vnni");
  }
  Isa widest = Isa::kGeneric;
  for (const Isa isa : kIsas) {
    if (isa_available(isa)) widest = isa;
  }
  return widest;
}

}  // namespace sluice
