"""`sluice simulate --machines`: ways to use a GPU and a CPU, in virtual time. Standard library only."""

import json
import random
import sys
import unittest

sys.dont_write_bytecode = True
from command import ROOT, Folder, sluice, sluice_json  # noqa: E402

LAYERS, EXPERTS, TOP_K = 4, 16, 2
MACHINES = ROOT / "bench/machines.json"


class SimulateHybrid(Folder):
    def setUp(self):
        super().setUp()
        draw = random.Random(4)
        lines = ["# route_trace v1", f"# model=x arch=y n_layer={LAYERS} n_expert={EXPERTS} n_expert_used={TOP_K}"]
        lines += [f"# layer={layer} expert_bytes=3000000" for layer in range(LAYERS)]
        lines.append("turn,phase,step,layer,slot,expert,weight,residency,expert_bytes")
        for step in range(120):
            for layer in range(LAYERS):
                for slot, expert in enumerate(self.few(draw)):
                    lines.append(f"0,1,{step},{layer},{slot},{expert},0.5,0,0")
        self.trace = self.file("trace.csv", "\n".join(lines) + "\n")

    @staticmethod
    def few(draw):
        chosen = []
        while len(chosen) < TOP_K:
            expert = int(EXPERTS * draw.random() ** 3)
            if expert not in chosen:
                chosen.append(expert)
        return chosen

    def simulate(self, *arguments, machines=MACHINES):
        return sluice_json("simulate", self.trace, "--machines", machines, *arguments)

    def test_auto_is_no_slower_than_any_other_way(self):
        rows = self.simulate("--vram", "0%,25%,100%")
        machines = json.loads(MACHINES.read_text())
        self.assertEqual(len(rows), len(machines) * 3 * 4)
        by_case = {}
        for row in rows:
            self.assertEqual(row["uses"], 80 * LAYERS * TOP_K)  # a third has taught
            self.assertEqual(row["decode_seconds"], row["seconds"])
            by_case.setdefault((row["machine"], row["vram"]), {})[row["mode"]] = row
        for (machine, vram), modes in by_case.items():
            others = [modes[mode]["seconds"] for mode in ("static", "gpu-only", "cpu-only")]
            self.assertLess(modes["auto"]["seconds"], 1.03 * min(others), (machine, vram))
            self.assertLess(modes["auto"]["foretold_off"], 0.1)
            if vram == "100%":
                self.assertEqual({row["uploads"] for row in modes.values()}, {0})
                self.assertEqual(modes["static"]["gpu_hits"], modes["static"]["uses"])
            if vram == "0%":
                self.assertEqual(modes["static"]["seconds"], modes["cpu-only"]["seconds"])
                self.assertEqual(modes["gpu-only"]["uploads"], modes["gpu-only"]["uses"])

    def test_the_cpu_alone_takes_what_its_bandwidth_says(self):
        machine = json.loads(MACHINES.read_text())[0]
        machine.update({"cpu_gbs": 30, "cpu_tops": 1000, "cpu_start_us": 0, "dense_us": 0, "drift": 1})
        file = self.file("machines.json", json.dumps([machine]))
        rows = self.simulate("--vram", "50%", machines=file)
        seconds = next(row["seconds"] for row in rows if row["mode"] == "cpu-only")
        bytes_read = 80 * LAYERS * TOP_K * 3000000
        # Now and then a layer is held up, tenfold.
        self.assertGreaterEqual(seconds * (1 + 1e-9), bytes_read / 30e9)
        self.assertLess(seconds, 1.2 * bytes_read / 30e9)

    def test_the_table(self):
        done = sluice("simulate", self.trace, "--machines", MACHINES, "--vram", "25%")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout.decode(), r"RTX 4090, PCIe 4, DDR5 +25% +[0-9.]+ +[0-9.]+ +[0-9.]+ +[0-9.]+ +[0-9.]+ ")

    def test_what_is_refused(self):
        def refused(words, machines, *arguments, status=1):
            done = sluice("simulate", self.trace, "--machines", machines, *arguments)
            self.assertEqual(done.returncode, status)
            self.assertIn(words, done.stderr.decode())

        refused("cannot be read", self.folder / "none.json")
        refused("names no machine", self.file("empty.json", "[]"))
        refused("parse error", self.file("cut.json", MACHINES.read_text()[:100]))
        machine = json.loads(MACHINES.read_text())[0]
        refused("cpu_gbs", self.file("lacks.json", json.dumps([{key: machine[key] for key in machine if key != "cpu_gbs"}])))
        for name, number in (("gpu_gbs", 0), ("link_gbs", -1), ("staging_gbs", -1), ("cpu_beside_upload", 2), ("drift", 0), ("gpu_tops", 0)):
            refused("a number that no machine has", self.file("odd.json", json.dumps([{**machine, name: number}])))
        refused("share from 0% to 100%", MACHINES, "--vram", "120%", status=2)
        refused("is there twice", MACHINES, "--vram", "10%,10%", status=2)
        refused("--machines", MACHINES, "--policy", "lru", status=2)
        done = sluice("simulate", self.trace, "--vram", "10%")
        self.assertEqual(done.returncode, 2)


if __name__ == "__main__":
    unittest.main()
