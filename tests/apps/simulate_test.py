"""`sluice simulate`: counts as a plain model of the cache does, reads both formats of traces, and says where a damaged one is damaged.
Standard library only."""

import gzip
import itertools
import json
import os
import random
import re
import struct
import subprocess
import sys
import unittest
import zlib
from html.parser import HTMLParser

sys.dont_write_bytecode = True
from command import ROOT, SLUICE, Folder, sluice, sluice_json  # noqa: E402

LAYERS, EXPERTS, TOP_K = 3, 8, 2
BYTES = [1000, 2000, 1500]


def draw_steps(count, seed=1):
    """[step][layer] -> ((expert, probability), …) in rank order."""
    pick = random.Random(seed)
    steps = []
    for _ in range(count):
        step = []
        for _ in range(LAYERS):
            chosen = pick.sample(range(EXPERTS), TOP_K)
            first = pick.randrange(33000, 65000)
            step.append(list(zip(chosen, [first, 65535 - first])))
        steps.append(step)
    return steps


def route_csv(prefill, decode, by_layer=True):
    lines = ["# route_trace v1", f"# model=x arch=y n_layer={LAYERS} n_expert={EXPERTS} n_expert_used={TOP_K}"]
    lines += [f"# layer={layer} expert_bytes={size} dense_bytes=5" for layer, size in enumerate(BYTES)]
    lines.append("turn,phase,step,layer,slot,expert,weight,residency,expert_bytes")
    rows = []
    for phase, steps in ((0, prefill), (1, decode)):
        order = [(step, layer) for step in range(len(steps)) for layer in range(LAYERS)]
        if phase == 0 and by_layer:
            order.sort(key=lambda at: at[1])
        for step, layer in order:
            for slot, (expert, probability) in enumerate(steps[step][layer]):
                at = step if phase == 0 else len(prefill) + step
                rows.append(f"0,{phase},{at},{layer},{slot},{expert},{probability / 65535:.6f},0,{BYTES[layer]}")
    return "\n".join(lines + rows) + "\n"


def count_lru(prefill, decode, capacity):
    """(requests, hits, decode requests, decode hits) of a list, oldest first."""
    events = [(layer, [e for step in prefill for e, _ in step[layer]], 0) for layer in range(LAYERS)] if prefill else []
    events += [(layer, [e for e, _ in step[layer]], 1) for step in decode for layer in range(LAYERS)]
    held, counts = [], [0, 0, 0, 0]
    for layer, wanted, is_decode in events:
        wanted = list(dict.fromkeys(wanted))
        missing = [expert for expert in wanted if (layer, expert) not in held]
        for expert in wanted:
            if expert not in missing:
                held.remove((layer, expert))
                held.append((layer, expert))
        for at in ([0, 2] if is_decode else [0]):
            counts[at] += len(wanted)
            counts[at + 1] += len(wanted) - len(missing)
        for expert in missing:
            while sum(BYTES[held_layer] for held_layer, _ in held) + BYTES[layer] > capacity:
                held.pop(0)
            held.append((layer, expert))
    return counts


class Simulate(Folder):
    def csv(self, text, name="x.route.csv"):
        path = self.folder / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def packed(self, steps, sequences=2):
        flat = [choice for step in steps for layer in step for choice in layer]
        (self.folder / "experts.u8").write_bytes(bytes(expert for expert, _ in flat))
        (self.folder / "probs.u16").write_bytes(b"".join(struct.pack("<H", p) for _, p in flat))
        share = len(steps) // sequences
        counts = [share] * (sequences - 1) + [len(steps) - share * (sequences - 1)]
        offsets = [0, *itertools.accumulate(counts)]
        lines = [json.dumps({"seq": i, "n_tok": n, "tok_offset": at}) for i, (n, at) in enumerate(zip(counts, offsets))]
        (self.folder / "index.jsonl").write_text("\n".join(lines) + "\n")
        return self.folder

    def refuse(self, path, *said):
        done = sluice("simulate", path)
        self.assertEqual((done.returncode, done.stdout), (1, b""))
        for words in said:
            self.assertIn(words, done.stderr.decode())
        return done.stderr.decode()

    def test_lru_counts_as_a_list_does(self):
        prefill, decode = draw_steps(5, 2), draw_steps(60, 3)
        for by_layer in (True, False):
            path = self.csv(route_csv(prefill, decode, by_layer))
            rows = sluice_json("simulate", path, "--policy", "lru", "--capacity", "12000,50%,100%")
            self.assertEqual([row["capacity"] for row in rows], ["12000", "50%", "100%"])
            self.assertEqual([row["capacity_bytes"] for row in rows], [12000, 18000, 36000])
            for row in rows:
                requests, hits, decode_requests, decode_hits = count_lru(prefill, decode, row["capacity_bytes"])
                self.assertEqual((row["requests"], row["hits"]), (requests, hits))
                self.assertAlmostEqual(row["hit_rate"], hits / requests)
                self.assertAlmostEqual(row["decode_hit_rate"], decode_hits / decode_requests)
            self.assertEqual(rows[2]["bytes_loaded"], self.distinct_bytes(prefill + decode))

    def distinct_bytes(self, steps):
        return sum(BYTES[layer] for layer, _ in {(layer, e) for step in steps for layer, row in enumerate(step) for e, _ in row})

    def test_formats_agree(self):
        decode = draw_steps(80)
        arguments = ["--policy", "lru,lfu,auto,belady", "--capacity", "25%,50%", "--expert-bytes", "4096"]
        plain = sluice_json("simulate", self.csv(route_csv([], decode)), *arguments)
        zipped = self.csv(gzip.compress(route_csv([], decode).encode()), "x.route.csv.gz")
        self.assertEqual(plain, sluice_json("simulate", zipped, *arguments))
        packed = sluice_json("simulate", self.packed(decode), *arguments)
        # Probabilities are rounded otherwise; what does not look at them must agree to the last hit.
        self.assertEqual(plain[:4] + plain[6:], packed[:4] + packed[6:])
        self.assertEqual(plain, sluice_json("simulate", zipped, *arguments, "--extents"))
        self.assertEqual(plain, sluice_json("simulate", zipped, *arguments, "--threads", 1))

    def test_belady_is_the_bound_and_counting_may_begin_later(self):
        path = self.packed(draw_steps(120))
        policies = ["auto", "arc", "decayed", "edgemoe", "lfru", "lfu", "lru", "mixed", "mrs", "paths"]
        rows = sluice_json("simulate", path, "--policy", ",".join([*policies, "belady"]), "--capacity", "20%,40%", "--count-from", 40)
        self.assertEqual({row["requests"] for row in rows}, {80 * LAYERS * TOP_K})
        best = {row["capacity"]: row["hits"] for row in rows if row["policy"] == "belady"}
        for row in rows:
            self.assertLessEqual(row["hits"], best[row["capacity"]], row)
        done = sluice("simulate", path, "--count-from", 120)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"120 decode steps", done.stderr)

    def test_a_table_and_a_page(self):
        path = self.packed(draw_steps(50))
        page = self.folder / "page.html"
        done = sluice("simulate", path, "--policy", "lru,belady", "--capacity", "25%,50%", "--html", page)
        self.assertEqual(done.returncode, 0, done.stderr)
        table = [line.split() for line in done.stdout.decode().splitlines()]
        self.assertEqual([row[0] for row in table], 2 * ["policy", "lru", "belady"])  # every row is a decode step: no third table
        self.assertIn("(decode hit rate, %)", done.stdout.decode())
        self.assertIn("(read in the whole run)", done.stdout.decode())
        html = page.read_text()

        class Elements(HTMLParser):
            found = []

            def handle_starttag(self, tag, attributes):
                self.found.append(tag)
                for name, value in attributes:
                    assert name not in ("src", "href"), (tag, name, value)

        parser = Elements()
        parser.feed(html)
        self.assertEqual(parser.found.count("polyline"), 2)
        self.assertEqual(parser.found.count("circle"), 4)
        self.assertNotIn("script", parser.found)
        for row in table[1:3]:
            self.assertIn(f"<td>{row[1]} %</td>", html)
        self.assertEqual(sluice("simulate", path, "--html", self.folder / "none" / "x").returncode, 1)

    def test_what_is_no_decode_is_shown_too(self):
        prefill, decode = draw_steps(5, 2), draw_steps(40, 3)
        page = self.folder / "page.html"
        for steps, title in ((decode, "decode hit rate"), ([], "hit rate of the whole run")):
            path = self.csv(route_csv(prefill, steps))
            (row,) = sluice_json("simulate", path, "--policy", "lru", "--capacity", "50%")
            done = sluice("simulate", path, "--policy", "lru", "--capacity", "50%", "--html", page)
            tables = done.stdout.decode().split("policy")[1:]
            self.assertEqual(len(tables), 3 if steps else 2)
            self.assertIn(title, tables[0])
            self.assertEqual(tables[-2].split()[-1], f"{100 * row['hit_rate']:.1f}")
            self.assertIn("read in the whole run", tables[-1])
            self.assertEqual(b"no decode step" in done.stderr, not steps)
            self.assertEqual("in decode." in page.read_text(), bool(steps))
            rate = row["decode_hit_rate" if steps else "hit_rate"]
            self.assertIn(f"<td>{100 * rate:.1f} %</td>", page.read_text())

    def test_the_table_of_policies(self):
        path = self.packed(draw_steps(100))
        done = subprocess.run([sys.executable, ROOT / "scripts/policy_table.py", SLUICE, path, "--count-from", "10", "--capacity", "30%,100%"],
                              capture_output=True, timeout=300)
        self.assertEqual(done.returncode, 0, done.stderr)
        rows = {cells[1].strip(): cells[2:-1] for cells in (line.split("|") for line in done.stdout.decode().splitlines()[2:])}
        shown = {row["policy"]: row for row in sluice_json("simulate", path, "--policy", ",".join(rows), "--capacity", "30%", "--count-from", 10)}
        rate = {policy: 100 * row["decode_hit_rate"] for policy, row in shown.items()}
        for policy, cells in rows.items():
            self.assertEqual(cells[0].split()[0], f"{rate[policy]:.2f}")
        closed = 100 * (rate["auto"] - rate["lru"]) / (rate["belady"] - rate["lru"])
        self.assertIn(f"({closed:.0f})", rows["auto"][0])
        self.assertIn("(–)", rows["auto"][1])

    def test_virtual_time_of_a_cache_that_holds_everything_is_that_of_computing(self):
        path = self.packed(draw_steps(50))
        rows = sluice_json("simulate", path, "--policy", "lru", "--capacity", "100%,20%", "--expert-bytes", "1000", "--disk", "1M+0ms",
                           "--computer", "2ms+1ms", "--guess", "1")
        self.assertEqual([(row["capacity"], row["guess"], row["judged"]) for row in rows],
                         [(capacity, guess, judged) for capacity in ("100%", "20%") for guess, judged in (("off", False), ("1", False), ("1", True))])
        everything, _, _, off, sure, judged = rows
        # Every expert is read once: 1000 bytes in 1000 / 2^20 s; all else is 50 steps of 3 layers with 2 experts each.
        self.assertEqual(everything["bytes_read"], LAYERS * EXPERTS * 1000)
        self.assertAlmostEqual(everything["seconds"] * (1 - everything["waiting_share"]), 50 * LAYERS * 0.004)
        self.assertLessEqual(everything["seconds"] * everything["waiting_share"], LAYERS * EXPERTS * 1000 / 2**20 + 1e-9)
        self.assertGreater(off["waiting_share"], everything["waiting_share"])
        # The disk is idle for longer than two reads take, so that only the first layer's misses of each step are waited for.
        self.assertLess(sure["waiting_share"], 0.6 * off["waiting_share"])
        self.assertEqual(sure["read_ahead"], sure["read_ahead_rightly"])
        self.assertGreater(judged["tokens_per_second"], off["tokens_per_second"])

    def test_a_saturated_disk_reads_no_doubtful_guess(self):
        arguments = ["simulate", self.packed(draw_steps(300)), "--policy", "auto", "--capacity", "30%", "--expert-bytes", "1000", "--guess", "0.3",
                     "--disk", "1K+2ms+30ms/50"]
        off, all_of_them, judged = sluice_json(*arguments)
        self.assertLess(all_of_them["tokens_per_second"], off["tokens_per_second"])
        self.assertEqual((judged["read_ahead"], judged["seconds"]), (0, off["seconds"]))
        table = sluice(*arguments).stdout.decode().splitlines()
        self.assertEqual([row.split()[4:6] for row in table[1:]], [[f"{off['tokens_per_second']:.3f}", f"{100 * off['waiting_share']:.1f}%"],
                         ["all", f"{all_of_them['tokens_per_second']:.3f}"], ["what", "pays"]])

    def test_wrong_usage(self):
        path = self.csv(route_csv([], draw_steps(3)))
        for arguments in (["--policy", "wish"], ["--capacity", "ten"], ["--capacity", "120%"], ["--capacity", "-1%"],
                          ["--capacity", "nan%"], ["--expert-bytes", "0"], ["--disk", "0"], ["--disk", "1G+2"], ["--disk", "1G+2ms+3ms"],
                          ["--disk", "1G+2ms+3ms/0"], ["--disk", "1G", "--guess", "luck"], ["--disk", "1G", "--guess", "1.1"], ["--guess", "paths"],
                          ["--disk", "1G", "--computer", "1ms"], ["--html", ""], ["--disk", "1G", "--html", "x"], ["--disk", "1G", "--extents"]):
            self.assertEqual(sluice("simulate", path, *arguments).returncode, 2, arguments)
        for arguments in (["--policy", "lru,auto,lru"], ["--capacity", "10%,10%"], ["--disk", "1G,1G"], ["--disk", "1G", "--guess", "paths,paths"]):
            done = sluice("simulate", path, *arguments)
            self.assertEqual((done.returncode, done.stdout), (2, b""))
            self.assertIn(f"{arguments[-2]}: {arguments[-1].split(',')[0]} is there twice", done.stderr.decode())

    def test_a_value_of_commas_does_not_take_the_next_option(self):
        path = self.csv(route_csv([], draw_steps(3)))
        for option in ("--policy", "--capacity", "--disk", "--guess"):
            done = sluice("simulate", path, option, ",", "--json")
            self.assertEqual((done.returncode, done.stdout), (2, b""))
            self.assertIn(f"{option}: it names nothing", done.stderr.decode())

    def test_what_is_no_trace(self):
        self.refuse(self.folder / "none", "none")
        self.refuse(self.csv('{"expert_popularity": []}'), "not a routing trace")
        self.refuse(self.csv(""), "is empty")
        self.refuse(self.folder, "index.jsonl", "packed trace", "experts.u8")
        self.refuse(self.csv(b"\x1f\x8b\x08\0" + os.urandom(100)), "x.route.csv:1")

    def test_a_damaged_route_file_is_named_with_its_line(self):
        lines = route_csv(draw_steps(2), draw_steps(4)).splitlines(keepends=True)
        header = lines.index("turn,phase,step,layer,slot,expert,weight,residency,expert_bytes\n")
        row = lines[header + 1].split(",")
        for field, value in ((0, "x"), (6, "-0.5"), (1, "2"), (3, "3"), (3, "-1"), (5, "8"), (5, "99999999999999999999"), (6, "nan"), (6, ""), (8, "1 "), (8, "1"), (8, "1001"),
                             (8, "18446744073709551615"), (8, "18446744073709551616")):
            damaged = ",".join([*row[:field], value, *row[field + 1:]]).rstrip("\n") + "\n"
            self.refuse(self.csv("".join([*lines[:header + 1], damaged, *lines[header + 2:]])), f"x.route.csv:{header + 2}:")
        unread = ",".join([*row[:8], "0\n"])
        self.assertEqual(sluice("simulate", self.csv("".join([*lines[:header + 1], unread, *lines[header + 2:]]))).returncode, 0)
        self.refuse(self.csv("".join(lines)[:-9]), f"x.route.csv:{len(lines)}:")
        self.refuse(self.csv("".join([*lines[:header + 1], "0,1\n"])), f":{header + 2}:")
        self.refuse(self.csv("".join([*lines[:header + 1], "0" * 10000 + "\n"])), f":{header + 2}:", "too long")
        self.refuse(self.csv("".join(lines[:header + 1])), "no row")
        for wrong in ("# n_expert=0", "# n_expert=70000", "# layer=0 expert_bytes=9999999999999", "# layer=99999 expert_bytes=1",
                      "# layer=1 expert_bytes=x"):
            self.refuse(self.csv("".join([lines[0], wrong + "\n", *lines[1:]])), "x.route.csv:2:")

    def test_columns_are_those_of_the_format(self):
        text = route_csv(draw_steps(2), draw_steps(4))
        line = text.splitlines().index("turn,phase,step,layer,slot,expert,weight,residency,expert_bytes") + 1
        for old, new in (("slot,expert,", "expert,slot,"), ("turn,phase,", "phase,turn,"), ("weight", "score"), (",residency", "")):
            self.refuse(self.csv(text.replace(old, new, 1)), f"x.route.csv:{line}:", "'turn,phase,step,layer,slot,expert,weight,residency,expert_bytes'")
        self.assertEqual(sluice("simulate", self.csv("".join(text.splitlines(keepends=True)[:line - 1] + text.splitlines(keepends=True)[line:]))).returncode, 0)

    def test_lines_without_a_row_come_to_an_end(self):
        begin = route_csv([], []).encode()
        for idle in (b"\n", b"# layer\n"):
            said = self.refuse(self.csv(gzip.compress(begin + idle * 10_000_000, 1), "x.route.csv.gz"), "without a row of routing")
            self.assertLess(int(re.search(r"x\.route\.csv\.gz:(\d+):", said)[1]), 100_000)

    def test_members_of_a_gzip_are_one_text_and_nothing_follows_them(self):
        text = route_csv(draw_steps(3), draw_steps(30)).encode()
        arguments = ["--policy", "lru,auto", "--capacity", "25%,50%"]
        plain = sluice_json("simulate", self.csv(text), *arguments)
        parts = b"".join(gzip.compress(text[at:at + 1000]) for at in range(0, len(text), 1000))
        path = self.csv(parts, "x.route.csv.gz")
        self.assertEqual(sluice_json("simulate", path, *arguments), plain)
        for more in (b"x", b"\0" * 100, b"# remark\n", os.urandom(200_000)):
            said = self.refuse(self.csv(parts + more, "x.route.csv.gz"), "x.route.csv.gz:", "gzip data")
            self.assertEqual(said.count("x.route.csv.gz"), 1)

    def test_a_damaged_gzip_is_an_error_wherever_it_is_cut_or_changed(self):
        whole = gzip.compress(route_csv(draw_steps(3), draw_steps(30)).encode())
        for length in (5, 30, len(whole) // 2, len(whole) - 9, len(whole) - 4):
            self.assertEqual(self.refuse(self.csv(whole[:length], "x.route.csv.gz"), "x.route.csv.gz:").count("x.route.csv.gz"), 1)
        pick = random.Random(4)
        text = zlib.decompress(whole, 31)
        for _ in range(40):
            changed = bytearray(whole)
            changed[pick.randrange(10, len(whole) - 4)] ^= 1 << pick.randrange(8)
            try:
                same = zlib.decompress(bytes(changed), 31) == text
            except zlib.error:
                same = False
            done = sluice("simulate", self.csv(bytes(changed), "x.route.csv.gz"), "--policy", "lru", "--capacity", "50%")
            self.assertEqual(done.returncode, 0 if same else 1, done.stderr)

    def test_a_damaged_folder_is_named_with_the_byte_or_line(self):
        steps = draw_steps(200)

        def damaged(name, change):
            path = self.packed(steps) / name
            data = bytearray(path.read_bytes())
            changed = change(data)
            path.write_bytes(data if changed is None else changed)

        self.packed(steps)
        self.assertEqual(sluice("simulate", self.folder).returncode, 0)
        damaged("experts.u8", lambda data: data[:-1])
        self.refuse(self.folder, "experts.u8", "1199 bytes")
        damaged("probs.u16", lambda data: data[:-2])
        self.refuse(self.folder, "probs.u16", "bytes")
        for name in ("experts.u8", "index.jsonl"):
            damaged(name, lambda data: b"")
            self.refuse(self.folder, name)
        # An expert twice in a row of the router, far behind.
        damaged("experts.u8", lambda data: data.__setitem__(1001, data[1000]))
        self.refuse(self.folder, "experts.u8: byte 1001")
        for line, change in ((1, b'{"n_tok": 100}'), (2, b'{"n_tok": 100, "tok_offset": 99}'), (2, b"[]"), (2, b'{"n_tok": -1, "tok_offset": 100}'),
                             (2, b'{"n_tok": 1e30, "tok_offset": 100}'), (2, b'{"n_tok": 99')):
            damaged("index.jsonl", lambda data: b"\n".join([*data.split(b"\n")[:line - 1], change, *data.split(b"\n")[line:]]))
            self.refuse(self.folder, f"index.jsonl: line {line}:")
        damaged("index.jsonl", lambda data: data.replace(b'"n_tok": 100', b'"n_tok": 101').replace(b'"tok_offset": 100', b'"tok_offset": 101'))
        self.refuse(self.folder, "experts.u8", "202 tokens")
        self.packed(steps)
        self.assertIn(f"does not say how many experts a layer has: {EXPERTS},", sluice("simulate", self.folder).stderr.decode())
        # One flipped bit is one expert more, or many, unless the index says how many there are.
        damaged("experts.u8", lambda data: data.__setitem__(700, data[700] ^ 0x40))
        self.assertIn(b"how many experts", sluice("simulate", self.folder).stderr)
        (self.folder / "index.jsonl").write_text(json.dumps({"n_tok": 200, "tok_offset": 0, "n_expert": EXPERTS}) + "\n")
        self.refuse(self.folder, "experts.u8: byte 700:", f"of the {EXPERTS}")
        self.packed(steps)
        for said in (12, 256):
            (self.folder / "index.jsonl").write_text(json.dumps({"n_tok": 200, "tok_offset": 0, "n_expert": said}) + "\n")
            done = sluice("simulate", self.folder, "--policy", "lru", "--capacity", "50%", "--expert-bytes", 1000, "--json")
            self.assertEqual(json.loads(done.stdout)[0]["capacity_bytes"], said * LAYERS * 1000 // 2)
            self.assertNotIn(b"how many experts", done.stderr)
        for said in (0, 257, -1, "8", 1e30):
            (self.folder / "index.jsonl").write_text(json.dumps({"n_tok": 200, "tok_offset": 0, "n_expert": said}) + "\n")
            self.refuse(self.folder, "index.jsonl: line 1:", "n_expert")
        # Without probabilities nothing is wrong.
        (self.packed(steps) / "probs.u16").unlink()
        self.assertEqual(sluice("simulate", self.folder).returncode, 0)


if __name__ == "__main__":
    unittest.main()
