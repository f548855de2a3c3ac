#!/usr/bin/env bash
# Installs what building and testing Sluice needs from Debian 12's packages. Does nothing when all of it is there.
set -euo pipefail

packages=(
  # To build.
  g++ cmake ninja-build pkg-config ccache
  libtbb-dev liburing-dev nlohmann-json3-dev libcli11-dev libspdlog-dev libfmt-dev
  libpcre2-dev libutf8proc-dev libxxhash-dev libzstd-dev zlib1g-dev libeigen3-dev libboost1.81-dev prometheus-cpp-dev
  # To test and to measure.
  libgtest-dev libgmock-dev libbenchmark-dev libsimde-dev
  python3 python3-venv python3-numpy ca-certificates
)

fail() {
  printf '%s\n' "$@" >&2
  exit 1
}

if ! command -v apt-get > /dev/null || ! command -v dpkg-query > /dev/null; then
  command -v cmake > /dev/null && command -v ninja > /dev/null && command -v pkg-config > /dev/null &&
    pkg-config --exists liburing libpcre2-8 libutf8proc libxxhash libzstd zlib fmt spdlog && exit 0
  fail "install_dependencies.sh: this system has no apt-get. Install with its own package manager:" \
    "  a C++20 compiler (GCC 12 or later), CMake 3.25 or later, Ninja, pkg-config, Python 3 with venv and numpy;" \
    "  oneTBB, liburing, nlohmann-json, CLI11, spdlog, fmt, PCRE2, utf8proc, xxHash, zstd, zlib, Eigen, Boost 1.81 or later, prometheus-cpp;" \
    "  for the tests GoogleTest, Google Benchmark and SIMDe; ccache if you like." \
    "Debian's names are: ${packages[*]}"
fi

missing=()
for package in "${packages[@]}"; do
  state=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2> /dev/null || true)
  [[ $state == installed ]] || missing+=("$package")
done
((${#missing[@]} > 0)) || exit 0

as_root=()
if ((EUID != 0)); then
  command -v sudo > /dev/null ||
    fail "install_dependencies.sh: neither root nor sudo. As root, run: apt-get install ${missing[*]}"
  as_root=(sudo)
fi
printf 'Installing %s\n' "${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update --quiet=2
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get install --yes --quiet=2 --no-install-recommends "${missing[@]}" > /dev/null
