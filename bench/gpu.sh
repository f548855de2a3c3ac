#!/bin/bash
# All that has to be seen on a GPU, in one command on a machine with a driver, nvcc and CMake: builds with CUDA, runs the tests that have a device
# (under compute-sanitizer, too, where there is one), and prints how every placement of experts does beside llama.cpp, if LLAMA_BENCH names its llama-bench.
#
#     bench/gpu.sh [MODEL.gguf]       without a model: one of Qwen3-30B-A3B's shape in Q4_0 is made (LAYERS of it, 24; needs numpy)
set -euo pipefail
cd "$(dirname "$0")/.."

cmake --preset cuda -DSLUICE_TESTS=ON > /dev/null
tests=$(ninja -C build/cuda -t targets all | sed -n 's|^\(tests/\(engine_\)\{0,1\}cuda_[a-z_]*device_test\): CXX_EXECUTABLE_LINKER.*|\1|p')
# shellcheck disable=SC2086
ninja -C build/cuda sluice $tests
for test in $tests; do
  echo "== $test"
  "build/cuda/$test" --gtest_brief=1
  if command -v compute-sanitizer > /dev/null; then
    for tool in memcheck racecheck; do compute-sanitizer --tool "$tool" --error-exitcode 1 "build/cuda/$test" --gtest_brief=1 | tail -1; done
  fi
done

model=${1:-build/cuda/gpu_bench.gguf}
[ -e "$model" ] || scripts/make_bench_model "$model" --shape qwen3-30b --layers "${LAYERS:-24}" --type q4_0
bench/compare_placements.py "$model" ${LLAMA_BENCH:+--llama-bench "$LLAMA_BENCH"}
