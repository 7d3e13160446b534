"""Start-up, throughput, growth and memory, as whole processes and as ratios measured side by side: `make bench`."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Files are made in a process of their own, so that this one stays small: a child's peak memory counts its parent's.
MAKE = """
import sys, numpy as np
from safetensors.numpy import save_file
path, count, side = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
block = np.random.default_rng(0).normal(size=(side, side)).astype("f4")
save_file({f"l{i}.weight": block + i * 1e-3 if side < 100 else block for i in range(count)}, path)
"""
REGAUDIT = [sys.executable, "-m", "regaudit"]
RUNS = 5


def process(command: list[str]) -> tuple[float, float, float]:
    """Run a command: CPU seconds, wall seconds, peak MB of that process."""
    started = time.perf_counter()
    pid = os.posix_spawn(
        command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    )
    _, status, usage = os.wait4(pid, 0)
    if os.waitstatus_to_exitcode(status) not in {0, 1}:
        raise SystemExit(f"{command} failed")
    return usage.ru_utime + usage.ru_stime, time.perf_counter() - started, usage.ru_maxrss / 1024


def median(command: list[str], runs: int = RUNS) -> tuple[float, float, float]:
    rows = [process(command) for _ in range(runs + 1)][1:]
    return tuple(statistics.median(column) for column in zip(*rows, strict=True))  # type: ignore[return-value]


def make(folder: str, count: int, side: int) -> Path:
    """Write a checkpoint of square float32 kernels."""
    path = Path(folder) / f"{count}x{side}.safetensors"
    subprocess.run([sys.executable, "-c", MAKE, str(path), str(count), str(side)], check=True)
    return path


def reading(path: Path) -> list[str]:
    """Plain reading of the same file, into one reused buffer."""
    code = "import sys\nb=bytearray(4<<20)\nwith open(sys.argv[1],'rb',buffering=0) as f:\n  while f.readinto(b): pass"
    return [sys.executable, "-c", code, str(path)]


def main() -> None:
    print(f"{'what':46} {'CPU s':>8} {'wall s':>8} {'peak MB':>8}  ratio")
    base = median([sys.executable, "-c", "pass"])
    show("python -c pass", base)
    show("regaudit --help", median([*REGAUDIT, "--help"]), base)
    with tempfile.TemporaryDirectory() as folder:
        small = make(folder, 3, 64)
        show("inspect small file -f json", median([*REGAUDIT, "inspect", str(small), "-f", "json"]), base)
        many = make(folder, 10_000, 16)
        show("inspect 10,000 tensors of 1 KB -f json", median([*REGAUDIT, "inspect", str(many), "-f", "json"], 2), base)
        for megabytes in (64, 256, 1024):
            large = make(folder, megabytes // 4, 1024)
            plain = median(reading(large), 2)
            show(f"plain reading of {megabytes} MB", plain)
            command = [*REGAUDIT, "inspect", str(large), "--spectrum", "off", "-f", "json"]
            show(f"inspect {megabytes} MB, spectra off", median(command, 2), plain)
            large.unlink()


def show(what: str, row: tuple[float, float, float], against: tuple[float, float, float] | None = None) -> None:
    ratio = f"{row[0] / against[0]:.1f} x CPU" if against else ""
    print(f"{what:46} {row[0]:8.3f} {row[1]:8.3f} {row[2]:8.1f}  {ratio}", flush=True)


if __name__ == "__main__":
    main()
