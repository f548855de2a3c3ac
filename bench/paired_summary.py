"""What pairs of runs of sluice show, as numbers and as a table: every kind beside its base. Standard library only."""

import dataclasses
import math
import statistics

from paired_ratio import PairedRatio


@dataclasses.dataclass
class Pairs:
    """`sides`: for each round the figures of the kind and of its base. `ratios`: how many times as fast the kind was, one a pair."""

    sides: list
    ratios: list

    @classmethod
    def of_alternations(cls, results):
        """Of what `bench --alternate` said."""
        pairs = cls([], [])
        for result in results:
            said, disk = result["alternate"], result["ceilings"]["disk_read_gbs"] * 1e9
            pairs.sides.append([figures(side["experts"], side["tok_s"], side["seconds"], disk) for side in (said["with"], said["without"])])
            for blocks in zip(said["blocks"][::2], said["blocks"][1::2]):
                seconds = {block["foretold"]: block["seconds"] for block in blocks}
                pairs.ratios.append(seconds[False] / seconds[True])
        return pairs

    @classmethod
    def of_runs(cls, results):
        """Of what `run` said, of the kind and of its base."""
        sides = [[cls._of_run(result) for result in pair] for pair in results]
        return cls(sides, [own["tokens_per_second"] / base["tokens_per_second"] for own, base in sides])

    @staticmethod
    def _of_run(result):
        timings, prompt, decoded = result["timings"], result["prompt_tokens"], len(result["tokens"]) - 1  # the last one is not computed any more
        seconds = prompt / timings["prefill_tok_s"] + (decoded / timings["decode_tok_s"] if decoded else 0)
        return figures(result["experts"], (prompt + decoded) / seconds, seconds, 0)


def figures(experts, speed, seconds, disk):
    """Seconds, bytes, and counts of experts; `disk`: its bytes a second, 0 where unknown."""
    loads, read = experts["loads"], experts["bytes_read"]
    missed = read * (loads - experts["wasted"]) / loads if loads else 0  # the router asked for it: what is read in vain is no achievement
    return {"tokens_per_second": speed, "seconds": seconds, "bytes_read": read, "bytes_missed": missed,
            "waiting": experts["wait_ms"] / 1e3 / seconds, "computing_seconds": seconds - experts["wait_ms"] / 1e3, "hit_rate": experts["hit_rate"],
            **{name: experts[name] for name in ("expected", "expected_rightly", "late", "wasted", "warmed")},
            "disk_bytes_per_second": disk, "of_the_disk": missed / disk / seconds if disk else math.nan,
            "computing_to_disk": (seconds - experts["wait_ms"] / 1e3) / (read / disk) if disk and read else math.nan}


def summarise(case, base, runs, pairs, limit):
    """`pairs`: those of every kind. Medians of its figures and its base's, and its PairedRatio; kinds without a pair are left out."""
    kinds = {}
    for kind, found in pairs.items():
        if not found.ratios:
            continue
        own, other = ({name: statistics.median(side[name] for side in sides) for name in sides[0]} for sides in zip(*found.sides))
        ratio = PairedRatio.of(found.ratios)
        waits = [mine["waiting"] / bases["waiting"] - 1 for mine, bases in found.sides if bases["waiting"] > 0]
        kinds[kind] = {"own": own, base: other, "waiting_change": statistics.median(waits) if waits else math.nan,
                       "ratio": {"pairs": ratio.pairs, "mean": ratio.mean, "low": ratio.low, "high": ratio.high, "median": ratio.median,
                                 "verdict": ratio.verdict(limit)}}
    disks = [side["disk_bytes_per_second"] for found in pairs.values() for sides in found.sides for side in sides]
    loads, shares = [run["load"] for run in runs] or [0], [run["elsewhere"] for run in runs] or [0]
    return {"case": case, "base": base, "kinds": kinds, "runs": len(runs), "ram": sorted({run["ram"] for run in runs}),
            "cache": sorted({run["result"]["memory"]["expert_cache"] for run in runs}),
            "disk_bytes_per_second": [min(disks, default=0), max(disks, default=0)],
            "load": [min(loads), max(loads)],
            "elsewhere": [statistics.median(shares), max(shares)]}


def percent(share, signed=False):
    return "–" if math.isnan(share) else f"{100 * share:{'+' if signed else ''}.1f} %".replace("-", "−")


def cells(name, row, waiting_change=math.nan):
    waiting = percent(row["waiting"])
    if not math.isnan(waiting_change):
        waiting += f" ({percent(waiting_change, signed=True)})"
    counts = [f"{row[count]:.0f}" for count in ("expected", "expected_rightly", "late", "wasted", "warmed")]
    return [name, f"{row['tokens_per_second']:.2f}", f"{row['bytes_read'] / 2**20:.1f}", waiting, percent(row["hit_rate"]), *counts,
            percent(row["of_the_disk"])]


def rows_of(kind, base, row):
    ratio = row["ratio"]
    interval = "–" if math.isnan(ratio["low"]) else f"{ratio['low']:.3f} to {ratio['high']:.3f}"
    return [[*cells(base, row[base]), "", "1", "", "", ""],
            [*cells(kind, row["own"], row["waiting_change"]), str(ratio["pairs"]), f"{ratio['mean']:.3f}", interval, f"{ratio['median']:.3f}",
             ratio["verdict"]]]


def markdown(summary, title, expert_bytes):
    """Of one case: a heading, what the machine did meanwhile, and for every kind a row of its base and its own."""
    base, kinds = summary["base"], summary["kinds"]
    heads = ["kind", "tokens/s", "MiB read", f"waiting (against {base})", "hits", "foretold", "rightly", "late", "in vain", "warmed", "of the disk",
             "pairs", f"× {base}", "95 %", "median", "verdict"]
    lines = [f"### {title}", ""]
    if not kinds:
        return "\n".join([*lines, "No pair yet.", ""])
    slow, fast = (f"{speed / 1e9:.2f}" for speed in summary["disk_bytes_per_second"])
    notes = [f"{summary['runs']} runs", f"--ram {' and '.join(map(str, summary['ram']))}: "
             f"{' and '.join(percent(cache / expert_bytes) for cache in summary['cache'])} of the experts' bytes",
             f"load {summary['load'][0]:.1f} to {summary['load'][1]:.1f}",
             f"others used {percent(summary['elsewhere'][0])} of the processors, at most {percent(summary['elsewhere'][1])}"]
    if summary["disk_bytes_per_second"][1] > 0:
        notes.append(f"disk {slow} to {fast} GB/s")
    computing = statistics.median(row[base]["computing_to_disk"] for row in kinds.values())
    if not math.isnan(computing):
        notes.append(f"{base} computes for {computing:.2f} of the time that its reads take at the disk's speed")
    table = [heads, ["---"] * len(heads), *(line for kind, row in kinds.items() for line in rows_of(kind, base, row))]
    return "\n".join([*lines, "; ".join(notes) + ".", "", *("| " + " | ".join(row) + " |" for row in table), ""])
