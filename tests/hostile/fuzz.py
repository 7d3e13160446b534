"""Audit thousands of broken models, and see that each is refused or audited: in time, in bounds, and without a trace.

make fuzz                                     20,000 mutants over all formats
python tests/hostile/fuzz.py --files 500000   more of them
python tests/hostile/fuzz.py --stream 7       others
"""

# ruff: noqa: T201
import argparse
import contextlib
import faulthandler
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from collections import Counter, defaultdict, deque
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path

import corpus
from mutators import CANARY, mutant

SECONDS = 5.0  # an audit of a few kilobytes that takes longer hangs
BYTES = 1 << 30  # memory beyond that of a process that has audited every seed
FILES = 20_000
REGRESSIONS = Path(__file__).parent / "regressions"
FORKS = multiprocessing.get_context("forkserver")  # its server is a process without torch and without threads
# What Python reports when code is run, a process is started, a network is used or a file is written.
FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "subprocess.", "socket.", "pickle.find_class",
             "os.remove", "os.rename", "os.mkdir", "os.link", "os.symlink", "shutil.", "ctypes.dlopen", "pty.", "webbrowser.")  # fmt: skip
WRITES = set("wax+")
TRACE = "trace"  # where a worker writes what it was doing when its time was up


@dataclass
class Outcome:
    """What became of one mutant; `kind` is refused, audited, or the failure."""

    seed: int
    number: int
    kind: str
    seconds: float = 0.0
    peak: int = 0
    detail: str = ""

    @property
    def failed(self):
        return self.kind not in {"refused", "audited"}


@dataclass
class Tally:
    """The row of a format in the table."""

    kinds: Counter = field(default_factory=Counter)
    seconds: float = 0.0
    peak: int = 0

    def add(self, outcome):
        self.kinds[outcome.kind] += 1
        self.seconds = max(self.seconds, outcome.seconds)
        self.peak = max(self.peak, outcome.peak)


# --- In the worker ----------------------------------------------------------------------------------------------------


class Watch:
    """Notes what an audit must not do."""

    def __init__(self):
        self.on, self.seen = False, ""
        sys.addaudithook(self._hook)

    def _hook(self, event, values):
        if self.on and (event.startswith(FORBIDDEN) or (event == "open" and _writes(values))):
            self.seen = self.seen or f"{event} {values!r}"[:200]


def _writes(values):
    _, mode, flags = values
    return bool(WRITES & set(mode)) if isinstance(mode, str) else bool(flags & 3)


def work(pipe, seeds, stream, folder, seconds, audit):
    """Audit the mutants whose numbers arrive, until the other end is closed."""
    folder.mkdir()
    os.chdir(folder)
    watch = Watch()
    others = [raw for each in seeds for raw in each.files.values() if raw]
    warnings.simplefilter("error")
    with (folder / TRACE).open("w") as file:

        def outcome(seed, number):
            files = mutant(seeds[seed], others, number, stream)
            faulthandler.dump_traceback_later(seconds, exit=True, file=file)
            found = judged(seeds[seed], files, folder, watch, audit)
            faulthandler.cancel_dump_traceback_later()
            return Outcome(seed, number, *found)

        for seed in range(len(seeds)):  # imports what is imported on first use
            outcome(seed, None)
        _limit_memory()
        with contextlib.suppress(EOFError):
            while True:
                pipe.send(outcome(*pipe.recv()))


def judged(seed, files, folder, watch=None, audit=None):
    """Audit one model: (kind, seconds, peak of bytes above the start, detail)."""
    import regaudit

    place = folder / "model"
    path = seed.write(place, files)
    kind, detail, before = "audited", "", _reset_peak()
    begin = time.perf_counter()
    if watch:
        watch.on, watch.seen = True, ""
    try:
        (audit or regaudit.audit)(path, regaudit.Options(tensors=True))
    except regaudit.CheckpointError:
        kind = "refused"
    except MemoryError:
        kind, detail = "memory", traceback.format_exc()
    except BaseException:  # noqa: BLE001 a crash is what is looked for
        kind, detail = "crash", traceback.format_exc()
    finally:
        if watch:
            watch.on = False
    seconds, peak = time.perf_counter() - begin, _status("VmHWM") - before
    if (watch and watch.seen) or Path(CANARY).exists():
        kind, detail = "code", watch.seen
    elif peak > BYTES:
        kind = "memory"
    shutil.rmtree(place)
    return kind, seconds, peak, detail


def _limit_memory():
    limit = _status("VmSize") + BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _reset_peak():
    Path("/proc/self/clear_refs").write_text("5")  # see proc(5): VmHWM begins anew
    return _status("VmRSS")


def _status(name):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) << 10
    raise LookupError(name)


# --- In the parent ----------------------------------------------------------------------------------------------------


class Worker:
    """A process that audits mutants one by one, and may die of one."""

    def __init__(self, folder, seeds, stream, seconds, audit):
        self.trace, self.seconds = folder / TRACE, seconds
        self.pipe, theirs = FORKS.Pipe()
        self.process = FORKS.Process(target=work, args=(theirs, seeds, stream, folder, seconds, audit), daemon=True)
        self.process.start()
        theirs.close()
        self.case = None

    def give(self, case):
        self.case = case
        self.pipe.send(case)

    def take(self):
        """Return what became of the mutant; the process is gone after a hang or a crash of the interpreter."""
        try:
            return self.pipe.recv()
        except (EOFError, ConnectionError):
            self.process.join()
            trace = self.trace.read_text() if self.trace.exists() else ""
            kind = "hang" if "Timeout" in trace else "died"
            return Outcome(
                *self.case,
                kind,
                self.seconds if kind == "hang" else 0.0,
                0,
                trace or f"exit code {self.process.exitcode}",
            )

    def end(self):
        self.pipe.close()
        self.process.join()


def run(cases, seeds, *, stream=0, workers=2, seconds=SECONDS, audit=None):
    """Yield the outcome of every case, a pair (index of the seed, number of the mutant)."""
    waiting, busy, made = deque(cases), [], 0
    with tempfile.TemporaryDirectory(prefix="regaudit-fuzz-") as folder:
        while waiting or busy:
            while waiting and len(busy) < workers:
                busy.append(Worker(Path(folder, str(made)), seeds, stream, seconds, audit))
                busy[-1].give(waiting.popleft())
                made += 1
            for worker in [each for each in busy if each.pipe in wait([one.pipe for one in busy])]:
                yield worker.take()
                if waiting and worker.process.is_alive():
                    worker.give(waiting.popleft())
                else:
                    busy.remove(worker)
                    worker.end()


def make_seeds():
    """Make the corpus in a process of its own: torch's threads and memory stay there."""
    with ProcessPoolExecutor(1, mp_context=FORKS) as pool:
        return pool.submit(corpus.seeds).result()


def keep(files, seed, outcome):
    """Save a mutant that failed, as a test for good."""
    folder = REGRESSIONS / f"{seed.name.replace(' ', '_')}-{outcome.kind}-{crc(files):08x}"
    seed.write(folder, files)
    return folder


def crc(files):
    return zlib.crc32(b"".join(name.encode() + raw for name, raw in files.items()))


def site(detail):
    """Return the last line of regaudit in a traceback, and the error: one bug fails many mutants."""
    lines = detail.strip().splitlines()
    places = [each.strip() for each in lines if "regaudit/" in each and ", line " in each]
    place = places[0] if lines and lines[0].startswith("Timeout") else places[-1] if places else ""
    return f"{place}: {lines[-1] if lines else ''}"[:300]


def table(seeds, tallies):
    yield f"{'format':<20}{'files':>8}{'refused':>9}{'audited':>9}{'failed':>8}{'slowest s':>11}{'peak MB':>9}"
    for each in (*seeds, None):
        rows = [tallies[each.name]] if each else list(tallies.values())
        kinds = sum((row.kinds for row in rows), Counter())
        refused, audited, total = kinds["refused"], kinds["audited"], kinds.total()
        slowest, peak = max(row.seconds for row in rows), max(row.peak for row in rows) >> 20
        name = each.name if each else "all"
        yield f"{name:<20}{total:>8,}{refused:>9,}{audited:>9,}{total - refused - audited:>8,}{slowest:>11.2f}{peak:>9,}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=FILES, help="how many mutants, over all formats")
    parser.add_argument("--stream", type=int, default=0, help="which mutants: the same number gives the same ones")
    parser.add_argument("--only", default="", help="one format")
    options = parser.parse_args()
    seeds = make_seeds()
    chosen = [number for number, each in enumerate(seeds) if options.only in {"", each.name}]
    others = [raw for each in seeds for raw in each.files.values() if raw]
    each_format = -(-options.files // len(chosen))
    cases = [(seed, number) for number in range(each_format) for seed in chosen]
    tallies, failures = defaultdict(Tally), {}
    for outcome in run(cases, seeds, stream=options.stream, workers=os.cpu_count() or 1):
        seed = seeds[outcome.seed]
        tallies[seed.name].add(outcome)
        if outcome.failed and site(outcome.detail) not in failures:
            failures[site(outcome.detail)] = outcome
            kept = keep(mutant(seed, others, outcome.number, options.stream), seed, outcome)
            print(f"{outcome.kind}: {kept}\n{outcome.detail}", flush=True)
    print("\n".join(table([seeds[each] for each in chosen], tallies)))
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
