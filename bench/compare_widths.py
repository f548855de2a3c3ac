#!/usr/bin/env python3
"""What widths of a nested store are worth: decode speed beside the model that the store was made of, and, of a smaller model of the same kind
of source, what they cost in perplexity. Standard library only, Linux.

    bench/compare_widths.py big.gguf big.slc --ram 2G,4G --quality small.slc --text FILE --svg curve.svg

Every round runs each setting once at each budget, in turn, so that what disturbs the machine meets all; ratios are of one round's runs, and their
median and extremes are printed. With --quality, speeds of `auto` are measured with widths as frequent as where its loss is. Settings: exact, 2 to 8, auto, or auto:SHARE (--narrow). "source" is the model itself, always first."""

import argparse
import pathlib
import statistics
import sys
import tempfile

sys.dont_write_bytecode = True
from measuring import bytes_of, drop_cache, run_json  # noqa: E402

COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e")


def options_of(setting):
    width, _, share = setting.partition(":")
    return ["--width", width, *(["--narrow", share] if share else [])]


def speed(args, setting, ram):
    model = args.source if setting == "source" else args.store
    drop_cache(model)
    command = [args.sluice, "bench", model, "--json", "-p", str(args.p), "-n", str(args.n), "-r", "1", "--ram", str(ram), "--ctx", str(args.p + args.n + 16)]
    if args.routing:
        command += ["--routing", args.routing]
    if setting != "source":
        command += ["--widths-like", args.logs[setting]] if setting in args.logs else options_of(setting)
    result = run_json(command)
    decode = result["decode"]
    return {"tok_s": decode["tok_s"], "bytes": decode["experts"]["bytes_read"], "bits": result["experts"]["mean_bits"],
            "waiting": decode["experts"]["wait_ms"] / 1000 / decode["seconds"]}


def quality(args, setting):
    """Of `auto` the widths are logged, too, so that speed is measured with the same histogram of them."""
    command = [args.sluice, "eval", args.quality, "--text", args.text, "--json", "--calibration", args.calibration, *options_of(setting)]
    if setting.startswith("auto"):
        args.logs[setting] = f"{args.folder}/{setting}"
        command += ["--width-log", args.logs[setting]]
    result = run_json(command)
    return {"perplexity": result["perplexity"], "bits": result["experts"]["mean_bits"]}


def svg(curves, path):
    """Speed over loss: a line for each budget, a point for each setting."""
    points = [point for curve in curves.values() for point in curve]
    most_x, most_y = max(loss for _, loss, _ in points) or 1, max(tok_s for _, _, tok_s in points)
    width, height, left, below = 720, 420, 60, 50

    def place(loss, tok_s):
        return left + (width - left - 120) * max(loss, 0) / most_x, height - below - (height - below - 30) * tok_s / most_y

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
             f'<rect width="{width}" height="{height}" fill="white"/>',
             f'<text x="{width / 2 - 90}" y="{height - 12}">loss of perplexity, %</text><text x="8" y="18">tokens/s</text>']
    for step in range(5):
        x, _ = place(most_x * step / 4, 0)
        _, y = place(0, most_y * step / 4)
        parts += [f'<text x="{x - 10:.0f}" y="{height - below + 18}">{most_x * step / 4:.2f}</text>',
                  f'<text x="24" y="{y + 4:.0f}">{most_y * step / 4:.0f}</text>',
                  f'<line x1="{left}" x2="{width - 120}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>']
    for colour, (name, curve) in zip(COLOURS * 9, curves.items()):
        line = sorted(place(loss, tok_s) for _, loss, tok_s in curve)
        parts.append(f'<polyline fill="none" stroke="{colour}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in line)}"/>')
        parts.append(f'<text x="{line[-1][0] + 8:.0f}" y="{line[-1][1] + 4:.0f}" fill="{colour}">{name}</text>')
        for setting, loss, tok_s in curve:
            x, y = place(loss, tok_s)
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"><title>{setting}: {tok_s:.1f} tokens/s, {loss:+.2f} %</title></circle>')
    pathlib.Path(path).write_text("\n".join([*parts, "</svg>"]) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("store")
    parser.add_argument("--sluice", default="build/release/sluice")
    parser.add_argument("--settings", default="exact,4,3,2,auto:0.05,auto:0.1,auto,auto:0.2")
    parser.add_argument("--ram", required=True, help="budgets, such as 2G,4G")
    parser.add_argument("--routing")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("-p", type=int, default=16)
    parser.add_argument("-n", type=int, default=128)
    parser.add_argument("--quality", help="a store whose perplexity is measured")
    parser.add_argument("--text")
    parser.add_argument("--calibration", default="", help="of that store, which --width auto goes by")
    parser.add_argument("--svg")
    args = parser.parse_args()
    if (args.quality is None) != (args.text is None) or (args.svg and not args.quality):
        parser.error("--quality, --text and --svg go together")
    settings = args.settings.split(",")
    budgets = args.ram.split(",")

    losses, args.logs = ({"source": 0.0} if args.quality else {}), {}
    folder = tempfile.TemporaryDirectory()
    args.folder = folder.name
    if args.quality:
        exact = quality(args, "exact")["perplexity"]
        print(f"{args.quality}: perplexity {exact:.4f}\n\n| setting | bits | perplexity | loss |\n| --- | --- | --- | --- |")
        for setting in settings:
            found = quality(args, setting)
            losses[setting] = 100 * (found["perplexity"] / exact - 1)
            print(f"| {setting} | {found['bits']:.2f} | {found['perplexity']:.4f} | {losses[setting]:+.2f} % |")
        print()

    runs = {}
    for number in range(args.rounds):
        for ram in budgets:
            for setting in ["source", *settings]:
                runs.setdefault((ram, setting), []).append(speed(args, setting, bytes_of(ram)))
                print(f"round {number + 1} of {args.rounds}, {ram}, {setting}: {runs[ram, setting][-1]['tok_s']:.1f} tokens/s", file=sys.stderr)
    curves = {}
    for ram in budgets:
        print(f"### --ram {ram}\n\n| setting | bits | tokens/s | x source | MiB read | waiting |\n| --- | --- | --- | --- | --- | --- |")
        for setting in ["source", *settings]:
            own = runs[ram, setting]
            ratios = [run["tok_s"] / beside["tok_s"] for run, beside in zip(own, runs[ram, "source"])]

            def median(key):
                return statistics.median(run[key] for run in own)

            print(f"| {setting} | {own[0]['bits']:.2f} | {median('tok_s'):.1f} | {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) | "
                  f"{median('bytes') / (1 << 20):.0f} | {100 * median('waiting'):.0f} % |")
            if setting in losses:
                curves.setdefault(f"--ram {ram}", []).append((setting, losses[setting], median("tok_s")))
        print()
    if args.svg:
        svg(curves, args.svg)


if __name__ == "__main__":
    main()
