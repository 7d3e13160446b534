"""Speed and memory as whole processes, and as ratios to what is measured beside them in the same run: `make bench`.

    python benchmarks/run.py [--quick]

`PEER_PYTHON` names an interpreter with weightwatcher and torch where this one has none. Files go to the temporary folder
(`TMPDIR`), 4 GB at most, and are deleted.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

REGAUDIT = [sys.executable, "-m", "regaudit"]
PEER = os.environ.get("PEER_PYTHON", sys.executable)
RUNS = 3
BITS = {"F32": 32, "BF16": 16, "F16": 16, "F8_E4M3": 8}
READ = "import sys\nb=bytearray(4<<20)\nwith open(sys.argv[1],'rb',buffering=0) as f:\n  while f.readinto(b): pass"
TORCH = """
import sys, torch
from safetensors import safe_open
torch.set_num_threads(2)
with safe_open(sys.argv[1], "pt") as f:
    for name in f.keys():
        w = f.get_tensor(name).float()
        print(w.sum().item(), w.norm().item(), w.min().item(), w.max().item(), (w == 0).sum().item())
"""
WEIGHTWATCHER = """
import sys, logging, weightwatcher
logging.disable(logging.WARNING)
print(len(weightwatcher.WeightWatcher(model=sys.argv[1]).analyze()))
"""
# Files are made in a process of their own, so that this one stays small: a child's peak memory counts its parent's.
MAKE = """
import json, struct, sys, numpy as np
path, count, side, kind = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
rng = np.random.default_rng(0)
w = (rng.standard_normal((side, side)) * 0.02).astype("f4")
codes = {"F32": w, "F16": w.astype("f2"), "BF16": (w.view("u4") >> 16).astype("u2"),
         "F8_E4M3": rng.integers(0, 120, (side, side)).astype("u1")}[kind]
n = codes.nbytes
header = json.dumps({f"model.layers.{k}.mlp.fc.weight": {"dtype": kind, "shape": [side, side],
                     "data_offsets": [k * n, (k + 1) * n]} for k in range(count)}).encode()
with open(path, "wb") as file:
    file.write(struct.pack("<Q", len(header)) + header)
    for _ in range(count):
        file.write(codes.data)
"""
GPT2 = """
import sys, torch
from safetensors.torch import save_file
g, sd = torch.Generator().manual_seed(0), {}
def linear(name, out, into):
    r = min(out, into) // 4
    u, v = torch.randn(out, r, generator=g) / out**0.5, torch.randn(r, into, generator=g) / into**0.5
    signal = (u * (3.0 * torch.arange(1, r + 1).float() ** -0.6)) @ v
    sd[name + ".weight"] = torch.randn(out, into, generator=g) * 0.02 + signal
    sd[name + ".bias"] = torch.randn(out, generator=g) * 0.02
sd["wte.weight"] = torch.randn(50257, 768, generator=g) * 0.02
for l in range(12):
    for n in "qkvo":
        linear(f"h.{l}.attn.{n}", 768, 768)
    linear(f"h.{l}.mlp.fc1", 3072, 768)
    linear(f"h.{l}.mlp.fc2", 768, 3072)
    for n in ("ln_1", "ln_2"):
        sd[f"h.{l}.{n}.weight"], sd[f"h.{l}.{n}.bias"] = torch.ones(768), torch.zeros(768)
save_file(sd, sys.argv[1])
"""


@dataclass(frozen=True)
class Run:
    """What one process took: medians over `RUNS`."""

    cpu: float
    wall: float
    peak: float


def measured(command: list[str], runs: int = RUNS) -> Run:
    rows = [_process(command) for _ in range(runs + 1)][1:]
    return Run(*(statistics.median(column) for column in zip(*rows, strict=True)))


def _process(command: list[str]) -> tuple[float, float, float]:
    started = time.perf_counter()
    quiet = [(os.POSIX_SPAWN_OPEN, k, os.devnull, os.O_WRONLY, 0) for k in (1, 2)]
    pid = os.posix_spawn(command[0], command, os.environ, file_actions=quiet)
    _, status, usage = os.wait4(pid, 0)
    if os.waitstatus_to_exitcode(status) not in {0, 1}:
        raise SystemExit(f"{command} failed")
    return usage.ru_utime + usage.ru_stime, time.perf_counter() - started, usage.ru_maxrss / 1024


def made(path: Path, count: int, side: int, dtype: str = "F32") -> Path:
    """Write a checkpoint of square kernels with the same bytes."""
    subprocess.run([sys.executable, "-c", MAKE, str(path), str(count), str(side), dtype], check=True)
    return path


def show(what: str, run: Run, note: str = "") -> None:
    print(f"| {what} | {run.cpu:.2f} | {run.wall:.2f} | {run.peak:.0f} | {note} |", flush=True)


def inspect(path: Path, *options: str, spectrum: str = "off", runs: int = RUNS) -> Run:
    return measured([*REGAUDIT, "inspect", str(path), "--spectrum", spectrum, "-f", "json", *options], runs)


def start_up(folder: Path) -> Run:
    """Measure what a run costs whatever the file; return the audit of a small one."""
    show("python -c pass", measured([sys.executable, "-c", "pass"]))
    show("regaudit --help", measured([*REGAUDIT, "--help"]))
    small = inspect(made(folder / "small.safetensors", 3, 64), spectrum="auto")
    show("small file to JSON", small)
    return small


def throughput(folder: Path, megabytes: int, dtype: str, start: Run, *threads: int) -> None:
    """Compare the statistics of a file with plain reading of it, and with a loop of five statistics in torch."""
    side = 4096 if megabytes >= 512 else 1024
    path = made(folder / "large.safetensors", (megabytes << 23) // (side * side * BITS[dtype]), side, dtype)
    plain = measured([sys.executable, "-c", READ, str(path)])
    show(f"plain reading, {megabytes} MB {dtype}", plain)
    for count in threads:
        run = inspect(path, "--threads", str(count))
        net = plain.wall / max(run.wall - start.wall, 1e-9)
        cpu = plain.cpu / max(run.cpu - start.cpu, 1e-9)
        show(f"statistics, {count} thread{'s'[: count > 1]}", run, f"{net:.2f} of reading by wall, {cpu:.2f} by CPU")
    if has("torch") and dtype in {"F32", "BF16"}:
        loop = measured([PEER, "-c", TORCH, str(path)])
        show("five statistics in torch", loop, f"regaudit takes {run.cpu / loop.cpu:.2f} of its CPU")
    path.unlink()


def counts(folder: Path, *numbers: int) -> None:
    for number in numbers:
        show(f"{number:,} tensors of 1 KB", inspect(made(folder / "many.safetensors", number, 16), runs=2))


def peers(folder: Path) -> None:
    """Compare everything, spectra included, with WeightWatcher's default on a model like GPT-2 small."""
    if not (has("torch") and has("weightwatcher")):
        print("| WeightWatcher is not installed | | | | |")
        return
    path = folder / "gpt" / "model.safetensors"
    path.parent.mkdir()
    subprocess.run([PEER, "-c", GPT2, str(path)], check=True)
    run = inspect(path, spectrum="auto")
    other = measured([PEER, "-c", WEIGHTWATCHER, str(path.parent)])
    show("GPT-2-small-like, everything", run, f"{run.cpu / other.cpu:.2f} of WeightWatcher's CPU")
    show("WeightWatcher, without the embedding", other)


def has(package: str) -> bool:
    """Return whether the peer's interpreter has a package."""
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({package!r}) is None)"
    return subprocess.run([PEER, "-c", code], check=False).returncode == 0


def main() -> None:
    is_quick = "--quick" in sys.argv
    print("| what | CPU s | wall s | peak MB | ratio |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start = start_up(folder)
        for dtype in BITS:
            throughput(folder, 256 if is_quick else 1024, dtype, start, 1, 2)
        for megabytes in () if is_quick else (128, 512, 2048, 4096):
            throughput(folder, megabytes, "F32", start, 2)
        counts(folder, 10, 100, 1000, *(() if is_quick else (10_000,)))
        peers(folder)


if __name__ == "__main__":
    main()
