"""What pairs of runs of sluice show, as numbers and as a table: every kind against the base in the same round. Standard library only."""

import math
import statistics

from paired_ratio import PairedRatio


def figures(result):
    """Of one run's JSON: decoding of `bench`, all of `run`. Seconds, bytes, and counts of experts."""
    if "decode" in result:
        phase, disk = result["decode"], result["ceilings"]["disk_read_gbs"] * 1e9
        experts, speed, seconds = phase["experts"], phase["tok_s"], phase["seconds"]
    else:
        experts, timings, disk = result["experts"], result["timings"], 0
        prompt, decoded = result["prompt_tokens"], len(result["tokens"]) - 1  # the last one is not computed any more
        seconds = prompt / timings["prefill_tok_s"] + (decoded / timings["decode_tok_s"] if decoded else 0)
        speed = (prompt + decoded) / seconds
    loads, read = experts["loads"], experts["bytes_read"]
    missed = read * (loads - experts["wasted"]) / loads if loads else 0  # the router asked for it: what is read in vain is no achievement
    return {"tokens_per_second": speed, "seconds": seconds, "bytes_read": read, "bytes_missed": missed,
            "waiting": experts["wait_ms"] / 1e3 / seconds, "computing_seconds": seconds - experts["wait_ms"] / 1e3, "hit_rate": experts["hit_rate"],
            **{name: experts[name] for name in ("expected", "expected_rightly", "late", "wasted", "warmed")},
            "disk_bytes_per_second": disk, "of_the_disk": missed / disk / seconds if disk else math.nan,
            "computing_to_disk": (seconds - experts["wait_ms"] / 1e3) / (read / disk) if disk and read else math.nan}


def summarise(record, case, kinds, base, limit):
    """Medians of every kind's figures, and its PairedRatio to the base; kinds without a run are left out. Only whole pairs count in a ratio."""
    rows = {}
    of_base = {number: figures(run["result"]) for number, run in record.of(case, base).items()}
    for kind in kinds:
        runs = {number: figures(run["result"]) for number, run in record.of(case, kind).items()}
        if not runs:
            continue
        row = {name: statistics.median(run[name] for run in runs.values()) for name in next(iter(runs.values()))}
        row["runs"] = len(runs)
        pairs = [(runs[number], of_base[number]) for number in sorted(runs.keys() & of_base.keys())]
        if kind != base and pairs:
            ratio = PairedRatio.of([run["tokens_per_second"] / other["tokens_per_second"] for run, other in pairs])
            row["ratio"] = {"pairs": ratio.pairs, "mean": ratio.mean, "low": ratio.low, "high": ratio.high, "median": ratio.median,
                            "verdict": ratio.verdict(limit)}
            waits = [run["waiting"] / other["waiting"] - 1 for run, other in pairs if other["waiting"] > 0]
            row["waiting_change"] = statistics.median(waits) if waits else math.nan
        rows[kind] = row
    runs = [run for kind in kinds for run in record.of(case, kind).values()]
    disks = [figures(run["result"])["disk_bytes_per_second"] for run in runs]
    loads, shares = [run["load"] for run in runs] or [0], [run["elsewhere"] for run in runs] or [0]
    return {"case": case, "base": base, "kinds": rows, "runs": len(runs), "ram": sorted({run["ram"] for run in runs}),
            "cache": sorted({run["result"]["memory"]["expert_cache"] for run in runs}),
            "disk_bytes_per_second": [min(disks, default=0), max(disks, default=0)],
            "load": [min(loads), max(loads)],
            "elsewhere": [statistics.median(shares), max(shares)]}


def percent(share, signed=False):
    return "–" if math.isnan(share) else f"{100 * share:{'+' if signed else ''}.1f} %".replace("-", "−")


def ratio_cells(row):
    ratio = row.get("ratio")
    if ratio is None:
        return ["1", "", "", ""]
    interval = "–" if math.isnan(ratio["low"]) else f"{ratio['low']:.3f} to {ratio['high']:.3f}"
    return [f"{ratio['mean']:.3f}", interval, f"{ratio['median']:.3f}", ratio["verdict"]]


def cells(kind, row):
    waiting = percent(row["waiting"])
    if not math.isnan(row.get("waiting_change", math.nan)):
        waiting += f" ({percent(row['waiting_change'], signed=True)})"
    counts = [f"{row[name]:.0f}" for name in ("expected", "expected_rightly", "late", "wasted", "warmed")]
    return [kind, f"{row['tokens_per_second']:.2f}", f"{row['bytes_read'] / 2**20:.1f}", waiting, percent(row["hit_rate"]), *counts,
            percent(row["of_the_disk"]), *ratio_cells(row)]


def markdown(summary, title, expert_bytes):
    """Of one case: a heading, what the machine did meanwhile, and a row for every kind."""
    base, rows = summary["base"], summary["kinds"]
    heads = ["kind", "tokens/s", "MiB read", f"waiting (against {base})", "hits", "foretold", "rightly", "late", "in vain", "warmed", "of the disk",
             f"× {base}", "95 %", "median", "verdict"]
    lines = [f"### {title}", ""]
    if not rows:
        return "\n".join([*lines, "No run yet.", ""])
    slow, fast = (f"{speed / 1e9:.2f}" for speed in summary["disk_bytes_per_second"])
    notes = [f"{summary['runs']} runs", f"--ram {' and '.join(map(str, summary['ram']))}: "
             f"{' and '.join(percent(cache / expert_bytes) for cache in summary['cache'])} of the experts' bytes",
             f"load {summary['load'][0]:.1f} to {summary['load'][1]:.1f}",
             f"others used {percent(summary['elsewhere'][0])} of the processors, at most {percent(summary['elsewhere'][1])}"]
    if summary["disk_bytes_per_second"][1] > 0:
        notes.append(f"disk {slow} to {fast} GB/s")
    if base in rows and not math.isnan(rows[base]["computing_to_disk"]):
        notes.append(f"{base} computes for {rows[base]['computing_to_disk']:.2f} of the time that its reads take at the disk's speed")
    table = [heads, ["---"] * len(heads), *(cells(kind, row) for kind, row in rows.items())]
    return "\n".join([*lines, "; ".join(notes) + ".", "", *("| " + " | ".join(row) + " |" for row in table), ""])
