#!/usr/bin/env bash
# Installs what is missing, builds everything and runs every test. SLUICE_TEST_DATA may point at the whole data set.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly size_limit_mib=40

say() { printf '\n== %s\n' "$*" >&2; }

# The checkout (not history, not what git ignores) must stay small.
check_size() {
  local mib
  git rev-parse --is-inside-work-tree > /dev/null 2>&1 || return 0
  mib=$(git ls-files -z --cached --others --exclude-standard |
    { xargs -0 stat --format=%s -- 2> /dev/null || true; } | awk '{ sum += $1 } END { printf "%d", sum / 1048576 + 1 }')
  echo "The checkout holds $mib MiB; the limit is $size_limit_mib." >&2
  ((mib <= size_limit_mib))
}

# The independent implementations that tests compare with, in a virtual environment of their own, unless SLUICE_PYTHON names
# an interpreter that has them.
make_python() {
  [[ -z ${SLUICE_PYTHON:-} ]] || return 0
  local venv=$PWD/build/python requirements=tests/requirements.txt
  if ! cmp --silent "$requirements" "$venv/installed.txt"; then
    rm -rf "$venv"
    if ! { python3 -m venv "$venv" &&
      "$venv/bin/pip" install --quiet --disable-pip-version-check --retries 2 --timeout 20 \
        --requirement "$requirements"; }; then
      rm -rf "$venv"
      echo "WARNING: $requirements could not be installed: tests against those packages are SKIPPED." >&2
      return 0
    fi
    cp "$requirements" "$venv/installed.txt"
  fi
  export SLUICE_PYTHON=$venv/bin/python
}

# CMake builds the CUDA room where it finds the compiler; its usual place is not in everyone's PATH.
if ! command -v nvcc > /dev/null && [[ -x /usr/local/cuda/bin/nvcc ]]; then
  PATH=$PATH:/usr/local/cuda/bin
fi

say "Dependencies"
scripts/install_dependencies.sh
make_python

say "Rules of the house"
python3 scripts/check_layers.py
check_size

say "Build"
cmake --preset release -DSLUICE_TESTS=ON > /dev/null
cmake --build --preset release

say "Tests"
if [[ -z ${SLUICE_TEST_DATA:-} ]]; then
  echo "SLUICE_TEST_DATA is unset: tests use the bundled part of the data and skip what needs more." >&2
fi
ctest --test-dir build/release --output-on-failure --parallel 2
