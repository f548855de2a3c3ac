"""What the comparisons here share: runs that answer in JSON, memory limits, cold pages, and whether anybody else is at work. Standard library only, Linux."""

import contextlib
import json
import os
import pathlib
import resource
import subprocess
import sys
import time


def run_text(command, join=None):
    """What the command answers; `join` is its preexec_fn. Ends the program where the command fails."""
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=join)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed ({done.returncode}):\n{done.stderr[-2000:].strip()}")
    return done.stdout


def run_json(command, join=None):
    return json.loads(run_text(command, join))


def bytes_of(text):
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    return int(float(text[:-1]) * units[text[-1].upper()]) if text[-1].upper() in units else int(text)


def group_of_this_process():
    """The folder of the control group that memory_group makes (cgroup v1 or v2)."""
    v1 = pathlib.Path("/sys/fs/cgroup/memory")
    return (v1 if v1.is_dir() else pathlib.Path("/sys/fs/cgroup")) / f"sluice-bench-{os.getpid()}"


@contextlib.contextmanager
def memory_group(limit):
    """A control group with a memory limit; yields a function for preexec_fn that joins it. Needs root."""
    group = group_of_this_process()
    group.mkdir()
    (group / ("memory.limit_in_bytes" if group.parent.name == "memory" else "memory.max")).write_text(str(limit))
    try:
        yield lambda: (group / "cgroup.procs").write_text(str(os.getpid()))
    finally:
        group.rmdir()


def disk_of(path):
    device = os.stat(path).st_dev
    block = pathlib.Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve()
    return block if (block / "queue").is_dir() else block.parent


def drop_cache(path):
    with open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


class ProcessorWatch:
    """From its making on: how much of the processors went to others than this process and the children it has waited for."""

    def __init__(self):
        self._start = time.monotonic()
        self._busy, _ = self._counted()
        self._ours = self._used()

    def elsewhere(self):
        """A share of all processors, 0 to 1. What a hypervisor gave to others counts, and so do interrupts."""
        busy, processors = self._counted()
        others = busy - self._busy - (self._used() - self._ours)
        return min(1.0, max(0.0, others / (processors * (time.monotonic() - self._start))))

    @staticmethod
    def _counted():
        lines = pathlib.Path("/proc/stat").read_text().splitlines()
        user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, lines[0].split()[1:9])
        processors = sum(line.startswith("cpu") for line in lines) - 1
        return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK"), processors

    @staticmethod
    def _used():
        return sum(usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))
