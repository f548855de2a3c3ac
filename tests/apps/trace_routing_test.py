"""--trace-routing: the file says what was computed, whatever the verb and however the run ends, and `simulate` and `bench --routing` read it.
Standard library only."""

import json
import pathlib
import random
import signal
import struct
import subprocess
import sys
import time
import unittest

sys.dont_write_bytecode = True
from command import MIB, MODEL, ROOT, SLUICE, STORY, Folder, min_ram, sluice, sluice_json  # noqa: E402

LAYERS, EXPERTS, TOP_K = 6, 32, 4
PASS, END, SUM = 0xFFFF, 0xFFFE, 0xFFFD
PROMPT = "Once upon a time, there was a fox who"


class Trace:
    """The file as apps/recorded_trace.h lays it out; `passes` are (decode, tokens, positions, {turn: (ids, shares) of each row})."""

    def __init__(self, path):
        self.data, self.at = pathlib.Path(path).read_bytes(), 0
        self.places = {}  # name -> offset, of what tests damage
        assert self.data[:8] == b"\x89SLRT\r\n\x1a"
        self.at = 8
        version, layers, self.top_k, self.id_bytes = self.take("4I")
        assert version == 2
        self.layers = []
        for _ in range(layers):
            number, experts, size = self.take("IIQ")
            self.layers.append((number, experts, size, self.take(f"{experts}Q")))
        self.take("Q")
        self.header, self.passes, self.whole = self.at, [], False
        while self.at < len(self.data):
            self.record()

    def take(self, layout):
        values = struct.unpack_from("<" + layout, self.data, self.at)
        self.at += struct.calcsize("<" + layout)
        return values

    def record(self):
        (mark,) = self.take("H")
        if mark == END:
            assert self.take("QQ")[0] == len(self.passes)
            self.whole = True
        elif mark == SUM:
            self.take("Q")
        elif mark == PASS:
            rows, decode = self.take("IB")
            places = self.take(f"{2 * rows}I")
            self.passes.append((bool(decode), places[::2], places[1::2], {}))
        else:
            count = len(self.passes[-1][1]) * self.top_k
            self.places["ids"] = self.at
            ids = self.take(f"{count}{'BH'[self.id_bytes - 1]}")
            shares = self.take(f"{count}H")
            rows = [slice(i, i + self.top_k) for i in range(0, count, self.top_k)]
            self.passes[-1][3][mark] = [(ids[row], shares[row]) for row in rows]

    def rows(self, decode):
        """[row] -> [layer] -> (ids, shares), of all whole passes of that kind."""
        return [[visits[turn][row] for turn in range(len(self.layers))]
                for is_decode, tokens, _, visits in self.passes if is_decode == decode and len(visits) == len(self.layers)
                for row in range(len(tokens))]

    def requests(self):
        return sum(len({expert for ids, _ in rows for expert in ids}) for _, _, _, visits in self.passes for rows in visits.values())


def read_safetensors(path, name):
    data = path.read_bytes()
    (size,) = struct.unpack_from("<Q", data)
    about = json.loads(data[8:8 + size])[name]
    assert about["dtype"] == "I32"
    begin, end = about["data_offsets"]
    return about["shape"], struct.unpack(f"<{(end - begin) // 4}i", data[8 + size + begin:8 + size + end])


class Case(Folder):
    def setUp(self):
        super().setUp()
        self.path = self.folder / "x.routing"

    def recorded(self, *arguments, path=None, **options):
        path = path or self.path
        result = sluice_json(*arguments, "--trace-routing", path, **options)
        return Trace(path), result

    def story(self, count=30, *arguments):
        return self.recorded("run", MODEL, "-p", PROMPT, "-n", count, "--temp", 0, "--ctx", 256, *arguments)


class Recording(Case):
    def test_a_run_is_recorded_token_by_token(self):
        trace, result = self.story(30, "--batch", 4)
        self.assertTrue(trace.whole)
        self.assertEqual([(number, experts) for number, experts, _, _ in trace.layers], [(i, EXPERTS) for i in range(LAYERS)])
        self.assertEqual((trace.top_k, trace.id_bytes), (TOP_K, 1))
        info = sluice_json("info", MODEL)
        self.assertEqual(sum(experts * size for _, experts, size, _ in trace.layers), info["expert_bytes"])
        for _, experts, size, slots in trace.layers:
            self.assertTrue(all(size <= slot < size + 6 * 4096 for slot in slots))
        prompt = json.loads(sluice("tokenize", MODEL, "--text", PROMPT, "--bos", "--json").stdout)
        self.assertEqual(result["prompt_tokens"], len(prompt))
        rows = [(token, position) for _, tokens, positions, _ in trace.passes for token, position in zip(tokens, positions)]
        # The last token that is written is not computed any more.
        self.assertEqual(rows, [(token, at) for at, token in enumerate(prompt + result["tokens"][:-1])])
        parts = [min(4, len(prompt) - at) for at in range(0, len(prompt), 4)]
        self.assertEqual([len(tokens) for _, tokens, _, _ in trace.passes], parts + [1] * 29)
        self.assertEqual([decode for decode, *_ in trace.passes[-29:]], [True] * 29)
        self.assertFalse(any(decode for decode, tokens, *_ in trace.passes if len(tokens) > 1))
        for _, tokens, _, visits in trace.passes:
            self.assertEqual(list(visits), list(range(LAYERS)))
            for ids, shares in (row for rows in visits.values() for row in rows):
                self.assertEqual(len(set(ids)), TOP_K)
                self.assertLess(max(ids), EXPERTS)
                self.assertEqual(list(shares), sorted(shares, reverse=True))
                self.assertAlmostEqual(sum(shares), 65535, delta=TOP_K)
        self.assertEqual(trace.requests(), result["experts"]["requests"])

    def test_it_names_the_experts_of_another_implementation(self):
        for oracle in sorted((ROOT / "tests/data/oracle").iterdir()):
            golden = oracle / "golden.safetensors"
            if not golden.exists():
                continue
            _, ids = read_safetensors(golden, "input_ids")
            (layers, rows, top_k), experts = read_safetensors(golden, "experts")
            trace, _ = self.recorded("logits", oracle, "--ids", ",".join(map(str, ids)), "--out", self.folder / "x.npy", "--compute", "f32",
                                     "--kv", "f32", "--batch", 7)
            self.assertEqual((len(trace.layers), trace.top_k), (layers, top_k), oracle.name)
            all_rows = trace.rows(False) + trace.rows(True)
            self.assertEqual(len(all_rows), rows)
            for row in range(rows):
                for layer in range(layers):
                    first = (layer * rows + row) * top_k
                    self.assertEqual(set(all_rows[row][layer][0]), set(experts[first:first + top_k]), (oracle.name, layer, row))

    def test_nothing_else_changes(self):
        _, traced = self.story(20, "--ram", min_ram("--ctx", 256))
        plain = sluice_json("run", MODEL, "-p", PROMPT, "-n", 20, "--temp", 0, "--ctx", 256, "--ram", min_ram("--ctx", 256))
        self.assertEqual((traced["tokens"], traced["experts"]["requests"]), (plain["tokens"], plain["experts"]["requests"]))
        self.assertLessEqual(traced["memory"]["peak_rss"], traced["memory"]["ram_budget"])

    def test_every_verb_that_runs_the_model_records(self):
        text = self.folder / "text"
        text.write_text(pathlib.Path(STORY).read_text()[:600])
        for arguments in (["eval", MODEL, "--text", text, "--ctx", 64], ["chat", MODEL, "-p", "Hello", "-n", 5, "--ctx", 128],
                          ["logits", MODEL, "--ids", "1,2,3", "--out", self.folder / "x.npy"],
                          ["bench", MODEL, "-p", 16, "-n", 4, "-r", 1, "--no-ceilings"]):
            trace, result = self.recorded(*arguments)
            self.assertTrue(trace.whole)
            self.assertEqual(trace.requests(), result["experts"]["requests"], arguments[0])
        for verb in ("info", "check"):
            self.assertEqual(sluice(verb, MODEL, "--trace-routing", self.path).returncode, 2)

    def test_a_run_that_ends_early_leaves_what_it_recorded(self):
        for how in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            self.path.unlink(missing_ok=True)
            with subprocess.Popen([SLUICE, "run", MODEL, "-p", PROMPT, "-n", "1000000", "--ctx", "256", "--ctx-shift", "--ignore-eos",
                                   "--trace-routing", self.path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
                end = time.monotonic() + 60
                while time.monotonic() < end and (not self.path.exists() or self.path.stat().st_size < 200000):
                    time.sleep(0.01)
                process.send_signal(how)
                process.wait(60)
            simulated = sluice("simulate", self.path, "--policy", "lru", "--capacity", "50%", "--json")
            self.assertEqual(simulated.returncode, 0, simulated.stderr)
            self.assertGreater(json.loads(simulated.stdout)[0]["decode_requests"], 100 * LAYERS * TOP_K)
            if how != signal.SIGKILL:
                self.assertTrue(Trace(self.path).whole)
                self.assertNotIn(b"end mark", simulated.stderr)
            else:
                self.assertIn(b"without an end mark", simulated.stderr)
                # What it holds is vouched for nonetheless, but for its end.
                data = bytearray(self.path.read_bytes())
                for at in random.Random(3).sample(range(len(data) // 2), 20):
                    data[at] ^= 1
                    self.path.write_bytes(data)
                    self.assertEqual(sluice("simulate", self.path, "--policy", "lru", "--capacity", "50%").returncode, 1, at)
                    data[at] ^= 1

    def test_a_run_without_a_pass_leaves_what_was_there(self):
        self.path.write_bytes(b"")
        self.assertIn("killed", self.refused())
        self.recorded("run", MODEL, "-p", PROMPT, "-n", 3)
        before = self.path.read_bytes()
        new = self.folder / "new"
        for path in (self.path, new):
            refused = sluice("run", MODEL, "-p", PROMPT * 20, "--ctx", 16, "--trace-routing", path)
            self.assertEqual(refused.returncode, 1, refused.stderr)
        self.assertFalse(new.exists())
        with subprocess.Popen([SLUICE, "run", MODEL, "--trace-routing", self.path], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE) as process:
            process.stderr.readline()  # it has begun, and waits for its prompt
            process.kill()
        self.assertEqual(self.path.read_bytes(), before)

    def refused(self):
        done = sluice("simulate", self.path)
        self.assertEqual((done.returncode, done.stdout), (1, b""))
        return done.stderr.decode()

    def test_where_it_cannot_be_written(self):
        copy = self.folder / "model.gguf"
        copy.write_bytes(pathlib.Path(MODEL).read_bytes())
        for path, words in ((self.folder / "none" / "x", b"No such file"), (copy, b"is the model itself"), ("/dev/full", b"/dev/full")):
            done = sluice("run", copy, "-p", PROMPT, "-n", 3, "--trace-routing", path)
            self.assertEqual(done.returncode, 1)
            self.assertEqual(done.stderr.count(words), 1, done.stderr)
        self.assertEqual(copy.read_bytes(), pathlib.Path(MODEL).read_bytes())


class Simulating(Case):
    def test_it_is_the_same_routing_as_a_route_file(self):
        trace, result = self.story(40, "--batch", 8)
        lines = ["# route_trace v1", f"# n_expert={EXPERTS}"]
        lines += [f"# layer={number} expert_bytes={size}" for number, _, size, _ in trace.layers]
        step = 0
        for turn, (decode, tokens, _, visits) in enumerate(trace.passes):
            for layer, rows in visits.items():
                for row, (ids, shares) in enumerate(rows):
                    for slot, (expert, share) in enumerate(zip(ids, shares)):
                        lines.append(f"{turn},{int(decode)},{step + row},{layer},{slot},{expert},{share / 65535:.9g},0,{trace.layers[layer][2]}")
            step += len(tokens)
        csv = self.folder / "x.route.csv"
        csv.write_text("\n".join(lines) + "\n")
        arguments = ["--policy", "lru,lfu,arc,auto,mrs,belady", "--capacity", "15%,40%,100%"]
        rows = sluice_json("simulate", self.path, *arguments)
        self.assertEqual(rows, sluice_json("simulate", csv, *arguments))
        self.assertEqual({row["requests"] for row in rows}, {result["experts"]["requests"]})
        self.assertEqual({row["decode_requests"] for row in rows}, {sum(len(ids) for row in trace.rows(True) for ids, _ in row)})

    def test_it_counts_the_hits_that_the_engine_counted(self):
        """Nothing read ahead, no hot set of an earlier run, and every pass's experts fit: then the same policy sees the same in the same order."""
        least = min_ram("--ctx", 256)
        hits = set()
        for policy in ("lru", "lfu", "lfru", "arc", "mrs", "edgemoe", "decayed", "mixed", "auto"):
            for extra, batch in ((0, 1), (4 * MIB, 1), (8 * MIB, 8)):
                _, result = self.story(60, "--policy", policy, "--ram", least + extra, "--batch", batch, "--ignore-eos", "--predict", "off")
                (row,) = sluice_json("simulate", self.path, "--extents", "--policy", policy, "--capacity", result["memory"]["expert_cache"])
                experts = result["experts"]
                self.assertEqual(experts["expected"], 0)
                self.assertEqual((row["requests"], row["hits"], row["requests"] - row["hits"]),
                                 (experts["requests"], experts["hits"], experts["loads"]), (policy, extra, batch))
                hits.add(row["hits"])
        self.assertGreater(len(hits), 9)  # policies and budgets do differ

    def refuse(self, data, *said):
        self.path.write_bytes(data)
        done = sluice("simulate", self.path)
        self.assertEqual((done.returncode, done.stdout), (1, b""))
        for words in said:
            self.assertIn(words, done.stderr.decode())

    def test_a_damaged_trace_is_named_with_its_byte(self):
        trace, _ = self.story(10)
        whole, ids = trace.data, trace.places["ids"]

        def changed(at, layout, *values):
            data = bytearray(whole)
            struct.pack_into("<" + layout, data, at, *values)
            return bytes(data)

        self.refuse(whole[:20], "within its header")
        self.refuse(whole[:trace.header - 1], "within its header")
        self.refuse(whole[:trace.header], "no pass", "--trace-routing")
        self.refuse(changed(8, "I", 1), "version 1")
        for at, layout, value in ((12, "I", 0), (12, "I", 5000), (16, "I", 0), (16, "I", 33), (20, "I", 3), (28, "I", 0), (28, "I", 1 << 17),
                                  (32, "Q", 0), (32, "Q", 1 << 50), (40, "Q", 0)):
            self.refuse(changed(at, layout, value), f"at byte {at}")
        self.refuse(changed(trace.header + 2, "I", 0), f"at byte {trace.header + 2}", "rows")
        self.refuse(changed(trace.header + 6, "B", 2), f"at byte {trace.header + 6}")
        self.refuse(changed(ids, "B", EXPERTS), f"at byte {ids}", f"expert {EXPERTS} of {EXPERTS}")
        self.refuse(changed(ids + 1, "B", whole[ids]), f"at byte {ids + 1}", "twice")
        self.refuse(changed(ids - 2, "H", LAYERS), f"at byte {ids - 2}", f"layer {LAYERS} of {LAYERS}")
        self.refuse(changed(ids - 2, "H", 0), f"at byte {ids - 2}", "out of order")
        self.refuse(whole[:trace.header] + whole[ids - 2:], "before the first pass")
        self.refuse(changed(len(whole) - 16, "Q", 3), f"at byte {len(whole) - 16}", "3 passes")
        self.refuse(changed(len(whole) - 8, "Q", 3), f"at byte {len(whole) - 8}", "damaged")
        self.refuse(changed(trace.header - 8, "Q", 3), f"at byte {trace.header - 8}", "damaged")
        # Another expert that is there: no rule is broken.
        other = next(expert for expert in range(EXPERTS) if expert not in whole[ids:ids + TOP_K])
        self.refuse(changed(ids, "B", other), f"at byte {len(whole) - 8}", "damaged")
        self.refuse(whole + b"\0", f"at byte {len(whole)}", "follows the end")

    def test_damage_anywhere_is_survived(self):
        trace, _ = self.story(10)
        pick = random.Random(5)
        cuts = [trace.data[:pick.randrange(trace.header + 100, len(trace.data))] for _ in range(20)]
        flips = []
        for _ in range(60):
            data = bytearray(trace.data)
            data[pick.randrange(len(data))] ^= 1 << pick.randrange(8)
            flips.append(bytes(data))
        for data in cuts + flips:
            self.path.write_bytes(data)
            done = sluice("simulate", self.path, "--policy", "lru", "--capacity", "50%", "--json")
            self.assertIn(done.returncode, (0, 1), done.stderr)
            self.assertIn(str(self.path).encode(), done.stderr)
            if data in cuts or done.returncode == 0:  # a flipped length may reach beyond the end
                self.assertEqual(done.returncode, 0)
                self.assertIn(b"without an end mark", done.stderr)


class Following(Case):
    def bench(self, *arguments):
        return sluice_json("bench", MODEL, "-r", 1, "--no-ceilings", "--ctx", 256, "--batch", 8, *arguments)

    def test_a_bench_takes_the_experts_of_the_trace(self):
        source, _ = self.story(40)
        result = self.bench("-p", 20, "-n", 30, "--routing", self.path, "--trace-routing", self.folder / "y")
        followed = Trace(self.folder / "y")
        prompt, answer = source.rows(False), source.rows(True)
        self.assertEqual(result["routing"], {"trace": str(self.path), "guess_recall": 0.85, "layers": LAYERS, "top_k": TOP_K,
                                             "prompt_rows": len(prompt), "decode_rows": len(answer),
                                             "repeats": max(2 * 20 / (len(prompt) + len(answer)), 2 * 30 / len(answer))})

        def experts(rows):
            return [[ids for ids, _ in row] for row in rows]

        def cycle(rows, count):
            return [rows[i % len(rows)] for i in range(count)]

        # Two rounds; each goes on where the one before it was.
        self.assertEqual(experts(followed.rows(False)), experts(cycle(prompt + answer, 40)))
        self.assertEqual(experts(followed.rows(True)), experts(cycle(answer, 60)))
        for row, recorded in zip(followed.rows(True), cycle(answer, 60)):
            for (_, shares), (_, expected) in zip(row, recorded):
                for share, other in zip(shares, expected):
                    self.assertAlmostEqual(share, other, delta=2)

    def test_guesses_are_as_right_as_asked(self):
        self.story(80)
        ram = min_ram("--ctx", 256) + MIB  # the trace is held within the budget, too
        experts = {}
        for recall in (0, 0.85, 1):
            measured = self.bench("-p", 0, "-n", 60, "--ram", ram, "--predict", "both", "--routing", self.path,
                                  "--guess-recall", recall)
            experts[recall] = measured["decode"]["experts"]
        self.assertEqual(experts[0]["expected_rightly"], 0)
        for recall in (0.85, 1):
            self.assertGreater(experts[recall]["expected"], 100)
        # Wrong ones are seldom in memory, right ones often: of those that are read, fewer are right.
        self.assertTrue(0.5 < experts[0.85]["expected_rightly"] / experts[0.85]["expected"] < 0.95, experts)
        self.assertEqual(experts[1]["expected_rightly"], experts[1]["expected"])

    def packed(self, layers, experts, top_k, tokens=20):
        pick = random.Random(layers)
        rows = [pick.sample(range(experts), top_k) for _ in range(tokens * layers)]
        shares = [[65535 // (rank + 2) for rank in range(top_k)] for _ in rows]
        rows[0][0] = experts - 1 if experts - 1 not in rows[0] else rows[0][0]
        (self.folder / "experts.u8").write_bytes(bytes(e for row in rows for e in row))
        (self.folder / "probs.u16").write_bytes(b"".join(struct.pack(f"<{top_k}H", *row) for row in shares))
        (self.folder / "index.jsonl").write_text(json.dumps({"n_tok": tokens, "tok_offset": 0}) + "\n")
        return rows

    def test_a_trace_of_decode_steps_serves_the_prompt_too(self):
        rows = self.packed(9, 32, 3)
        done = sluice("bench", MODEL, "-r", 1, "--no-ceilings", "-p", 12, "-n", 12, "--routing", self.folder, "--trace-routing", self.path)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(b"the first of 9", done.stderr)
        self.assertIn(b"3 experts a token", done.stdout)
        self.assertEqual(done.stderr.count(b"its tokens take 3 experts of a layer"), 1)
        # Two rounds of 12 on 20 rows.
        self.assertEqual(done.stderr.count(b"its 20 tokens (20 of answers) are followed up to 1.2 times over"), 1)
        self.assertNotIn(b"ceilings", done.stdout)  # none were measured
        trace = Trace(self.path)
        self.assertEqual(trace.top_k, 3)
        for decode in (False, True):
            for at, row in enumerate(trace.rows(decode)):
                self.assertEqual([list(ids) for ids, _ in row], rows[at % 20 * 9:][:LAYERS])

    def test_what_does_not_fit_the_model(self):
        for shape, words in (((5, 32, 3), "at most 5"), ((9, 33, 3), "33 experts"), ((9, 32, 5), "take 5 experts")):
            self.packed(*shape)
            done = sluice("bench", MODEL, "-n", 2, "-p", 2, "--no-ceilings", "--routing", self.folder)
            self.assertEqual(done.returncode, 1)
            self.assertIn(words, done.stderr.decode())
            self.assertEqual(done.stderr.decode().count(str(self.folder)), 1)
        self.packed(9, 8, 3)
        done = sluice("bench", MODEL, "-r", 1, "-n", 2, "-p", 2, "--no-ceilings", "--routing", self.folder)
        self.assertEqual(done.returncode, 0)
        self.assertIn(b"the first 8 experts", done.stderr)
        self.assertNotIn(b"times over", done.stderr)
        self.assertEqual(sluice("bench", MODEL, "--guess-recall", "0.5").returncode, 2)
        self.assertEqual(sluice("bench", MODEL, "--routing", self.folder, "--guess-recall", "1.1").returncode, 2)
        self.assertEqual(sluice("bench", MODEL, "--no-ceilings", "--routing", self.folder / "none").returncode, 1)


if __name__ == "__main__":
    unittest.main()
