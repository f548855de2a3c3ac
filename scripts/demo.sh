#!/usr/bin/env bash
# Installs what is missing, builds Sluice, and has the bundled model tell a story under a memory budget that cannot hold
# its experts; then shows what other budgets cost and bring.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scripts/install_dependencies.sh
log=build/demo.log
mkdir -p build
echo "Building Sluice (log: $log)" >&2
if ! { cmake --preset release && cmake --build --preset release --target sluice; } > "$log" 2>&1; then
  tail -n 40 "$log" >&2
  exit 1
fi
exec python3 scripts/budget_demo.py build/release/sluice models/tales.gguf
