#!/usr/bin/env python3
"""Is the budget the budget? Runs a model under a control group of exactly --ram at several budgets and checks, from outside the process: peak RSS and the
group's own peak within the budget, the same text everywhere, next to nothing of the file left in the page cache, and the kernel's count of bytes read against
ours. Needs root and Linux (cgroup v1 or v2).

    bench/check_budget.py MODEL.gguf --sluice build/release/sluice [--shares 15,25,50,75,110] [-p 64] [-n 24]
"""

import argparse
import ctypes
import json
import mmap
import os
import subprocess
import sys

sys.dont_write_bytecode = True
from measuring import drop_cache, group_of_this_process, memory_group  # noqa: E402


def cached_bytes(path):
    """Bytes of the file in the page cache, by mincore."""
    size = os.path.getsize(path)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    with open(path, "rb") as file:
        address = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, file.fileno(), 0)
    pages = (size + mmap.PAGESIZE - 1) // mmap.PAGESIZE
    resident = (ctypes.c_ubyte * pages)()
    if libc.mincore(ctypes.c_void_p(address), ctypes.c_size_t(size), resident) != 0:
        sys.exit("mincore failed")
    libc.munmap(ctypes.c_void_p(address), ctypes.c_size_t(size))
    return sum(byte & 1 for byte in bytes(resident)) * mmap.PAGESIZE


def group_peak():
    group = group_of_this_process()
    if (group / "memory.failcnt").exists():  # v1
        return int((group / "memory.max_usage_in_bytes").read_text()), int((group / "memory.failcnt").read_text())
    events = dict(line.split() for line in (group / "memory.events").read_text().splitlines())
    return int((group / "memory.peak").read_text()), int(events["max"])


COUNTED = """
import json, resource, subprocess, sys
done = subprocess.run(sys.argv[1:], capture_output=True, text=True)
if done.returncode: sys.exit(done.stderr)
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps({"result": json.loads(done.stdout), "rss": usage.ru_maxrss * 1024, "read": usage.ru_inblock * 512}))
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--sluice", default="build/release/sluice")
    parser.add_argument("--shares", default="15,25,50,75,110", help="percent of the file's size")
    parser.add_argument("-p", type=int, default=64)
    parser.add_argument("-n", type=int, default=24)
    args = parser.parse_args()

    mib = 1 << 20
    wrong = 0
    size = os.path.getsize(args.model)
    print(f"{'ram MiB':>9} {'group peak':>11} {'refused':>8} {'RSS peak':>9} {'hit rate':>9} {'read MiB':>9} {'kernel/ours':>12} {'cached MiB':>11} {'tok/s':>7}")
    for share in args.shares.split(","):
        ram = int(size * float(share) / 100) // mib * mib
        drop_cache(args.model)
        # The small interpreter that counts is outside the group.
        with memory_group(ram) as join:
            command = [args.sluice, "bench", args.model, "--ram", str(ram), "-p", str(args.p), "-n", str(args.n), "-r", "1", "--json", "--no-ceilings"]
            joined = f"echo $$ > {group_of_this_process() / 'cgroup.procs'} && exec \"$@\""
            done = subprocess.run([sys.executable, "-c", COUNTED, "sh", "-c", joined, "sh", *command], capture_output=True, text=True)
            if done.returncode != 0:
                sys.exit(f"at --ram {ram}: {done.stderr}")
            peak, refused = group_peak()
        run = json.loads(done.stdout)
        result = run["result"]
        ours = result["experts"]["bytes_read"] + result["memory"]["dense"]
        cached = cached_bytes(args.model)
        row_is_right = peak <= ram and run["rss"] <= ram and abs(run["read"] / ours - 1) < 0.02 and cached < 16 * mib
        wrong += not row_is_right
        print(f"{ram / mib:9.0f} {peak / mib:11.1f} {refused:8} {run['rss'] / mib:9.1f} {result['experts']['hit_rate']:9.3f} {ours / mib:9.0f} "
              f"{run['read'] / ours:12.4f} {cached / mib:11.2f} {result['decode']['tok_s']:7.2f}{'' if row_is_right else '   WRONG'}", flush=True)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
