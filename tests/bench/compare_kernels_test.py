"""bench/compare_kernels.py runs what measures kernels once a round for every number of bits and makes tables of it. Standard library only; what it
runs here is a stand-in."""

import json
import os
import pathlib
import subprocess
import sys
import unittest

sys.dont_write_bytecode = True
ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "apps")]
from command import Folder  # noqa: E402

# Name: matrices a second in the first, the second and the third round; bytes of a matrix.
KERNELS = {
    "decode/Q8_0/768x2048/1/2": ([1000, 2000, 4000], 1671168),
    "decode/Q4_0/768x2048/1/2": ([2000, 4000, 8000], 884736),
    "decode/nested_8_w2/768x2048/1/2": ([3000, 5000, 14000], 466944),
    "decode/F32/768x2048/1/2": ([9, 9, 9], 6291456),
    "decode_just_read/Q4_0/768x2048/1/2": ([9, 9, 9], 884736),
    "ggml/Q4_0/768x2048/1/2": ([1500, 3000, 6000], 884736),
    "ggml_repacked/Q4_0/768x2048/1/2": ([1800, 3600, 7200], 884736),
    "decode/Q8_0/768x2048/1/1": ([9, 9, 9], 1671168),
    "prefill/Q8_0/2048x2048/512/2": ([10, 20, 40], 4456448),
    "prefill/Q4_0/2048x2048/512/2": ([10, 20, 40], 2359296),
    "prefill/nested_q8_0_w4/2048x2048/512/2": ([10, 20, 40], 2400000),
}
FAKE = f"""#!{sys.executable}
import json, os, pathlib, re, sys
kernels = {KERNELS!r}
options = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
if "--benchmark_list_tests" in sys.argv:
    print("\\n".join(name + "/real_time" for name in kernels))
    sys.exit()
log = pathlib.Path(__file__).parent / "calls.jsonl"
calls = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
filter = options["--benchmark_filter"]
names = [name for name in kernels if re.search(filter, name + "/real_time")]
log.write_text("".join(json.dumps(call) + "\\n" for call in [*calls, names]))
turn = sum(call == names for call in calls)
benchmarks = []
for name in names:
    speeds, bytes_of_matrix = kernels[name]
    gbs = speeds[turn] * bytes_of_matrix / 1e9
    found = {{"name": name + "/real_time", "matrices/s": speeds[turn], "GB/s": gbs, "GOP/s": 1.0}}
    if not name.startswith("prefill"):
        found |= {{"memory_GB/s": 2 * gbs, "of_memory": 0.5}}
    if os.environ.get("FAIL") and name.startswith(os.environ["FAIL"]):
        found = {{"name": found["name"], "error_occurred": True, "error_message": "differs by 3 %"}}
    benchmarks.append(found)
print(json.dumps({{"context": {{"sluice": "AVX2, 1 thread"}}, "benchmarks": benchmarks}}))
"""


class CompareKernels(Folder):
    def compare(self, *arguments, **environment):
        program = self.file("kernel_bench", FAKE)
        program.chmod(0o755)
        command = [sys.executable, "-B", ROOT / "bench" / "compare_kernels.py", "--program", program, *arguments]
        return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60, env=os.environ | environment)

    def calls(self):
        return [json.loads(line) for line in (self.folder / "calls.jsonl").read_text().splitlines()]

    def test_medians_in_order_of_bits_beside_the_packed_formats(self):
        done = self.compare("--rounds", 3, "--cases", "768x2048/1/2,2048x2048/512/2")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("sluice: AVX2, 1 thread", done.stdout)
        self.assertIn("ggml: not built in", done.stdout)
        decode, prefill = (part.split("\n\n")[1].splitlines()[2:] for part in done.stdout.split("### ")[1:])
        self.assertEqual(decode, [
            # 466944 * 8 / 1572864 bits; 5000 matrices a second of 466944 bytes
            "| 2 | nested_8_w2 | 2.38 | 200.0 | 2.33 | 50 % | 7.86 | 3.00 (2.50 to 3.50) | 1.50 (1.25 to 1.75) |",
            "| 4 | Q4_0 | 4.50 | 250.0 | 3.54 | 50 % | 6.29 | 2.00 (2.00 to 2.00) | 1.00 (1.00 to 1.00) |",
            "| 4 | ggml Q4_0 | 4.50 | 333.3 | 2.65 | 50 % | 4.72 | 1.50 (1.50 to 1.50) | 0.75 (0.75 to 0.75) |",
            "| 4 | ggml repacked Q4_0 | 4.50 | 277.8 | 3.19 | 50 % | 5.66 | 1.80 (1.80 to 1.80) | 0.90 (0.90 to 0.90) |",
            "| 8 | Q8_0 | 8.50 | 500.0 | 3.34 | 50 % | 3.15 | 1.00 (1.00 to 1.00) | 0.50 (0.50 to 0.50) |"])
        self.assertEqual(prefill[2], "| 8 | Q8_0 | 8.50 | 50000.0 | 0.0891 | – | 0.0839 | 1.00 (1.00 to 1.00) | 1.00 (1.00 to 1.00) |")
        # Every round anew, a process for each number of bits, those that all are held against in each.
        calls = self.calls()
        self.assertEqual(calls[:5], calls[5:10])
        self.assertEqual(calls[:5], calls[10:])
        self.assertEqual([len(call) for call in calls[:5]], [3, 4, 2, 3, 2])
        self.assertTrue(all(any(name.split("/")[1] == beside for name in call) for call in calls for beside in ("Q8_0", "Q4_0")))

    def test_measures_what_is_asked_for(self):
        done = self.compare("--rounds", 1, "--cases", "768x2048/1/2", "--only", "nested|repacked", "--beside", "Q8_0")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual([line.split(" | ")[1] for line in done.stdout.splitlines() if line.startswith("| ")][2:], ["nested_8_w2", "ggml repacked Q4_0"])

    def test_says_what_fails(self):
        self.assertIn("ggml/Q4_0/768x2048/1/2/real_time: differs by 3 %", self.compare("--rounds", 1, "--cases", "768x2048/1/2", FAIL="ggml/").stderr)
        self.assertIn("measures nothing for 1x1/1/1", self.compare("--cases", "1x1/1/1").stderr)
        self.assertIn("no packed Q6_K", self.compare("--cases", "768x2048/1/2", "--beside", "Q6_K").stderr)


if __name__ == "__main__":
    unittest.main()
