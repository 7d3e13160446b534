"""Score the recommendations over a zoo, next to baselines: `python benchmarks/zoo.py DIR [--seeds N] [--json FILE]`.

`DIR/cases/NAME/` holds what the tool may see: model.safetensors, model.py with `build()`, train.npz and val.npz with arrays
`x` and `y`, and case.json, of which the tool is told `loss` only. `DIR/answers/NAME.json` has the outcome of each penalty:

    arms        [{site, norm, strength, test_mean}, ...], the first without a penalty, test_mean the mean test loss of
                trainings from several initialisations
    base_index  the arm that the checkpoint was trained with
    null_loss   the test loss of a constant output

A recommendation counts as the arm of its site and norm with the nearest strength; `keep` as the base's; L1 and L2 at once,
of which no outcome was measured, as none.
*Regret* is (its loss - the best)/(the worse of none and base - the best), floored and clipped to [0, 2]; *harm* is a loss
over 2% above the base's. The interval is a bootstrap over cases. *Cost* is the CPU time of the whole audit with labels
less that without, in units of a plain training loop with the case's own optimizer, batch size and steps.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

import regaudit
from regaudit.config import Options, Probing
from regaudit.records import Action, Audit

CLIP = 2.0
HARM = 1.02
GAIN = 0.9  # something gains where the best loss is below this share of the base's
LEVELS = ("weights", "probe", "labels")


class Case:
    """One model with its answers."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name, self.folder = name, folder / "cases" / name
        self.answer = json.loads((folder / "answers" / f"{name}.json").read_text())
        self.told = json.loads((self.folder / "case.json").read_text())
        self.losses = np.array([arm["test_mean"] for arm in self.answer["arms"]])
        self.base = self.answer["base_index"]

    def audit(self, level: str, seed: int) -> Audit:
        """Run the tool with what a level has."""
        probing = None
        if level != "weights":
            labels = {"val": str(self.folder / "val.npz"), "loss": self.told["loss"]} if level == "labels" else {}
            model, train = f"{self.folder / 'model.py'}:build", str(self.folder / "train.npz")
            probing = Probing(model=model, probe=train, seed=seed, **labels)
        return regaudit.audit(self.folder / "model.safetensors", Options(probing=probing))

    def arm(self, site: str, norm: str | None, strength: float | None) -> int:
        """Return the arm of a penalty: that of its site and norm with the nearest strength."""
        if norm is None or not strength:
            return 0
        same = [k for k, a in enumerate(self.answer["arms"]) if (a["site"], a["norm"]) == (site, norm)]
        return min(same, key=lambda k: abs(math.log(self.answer["arms"][k]["strength"] / strength)))

    def chosen(self, audit: Audit) -> int:
        """Return the arm that a recommendation stands for."""
        advice = audit.recommendation
        assert advice is not None
        if advice.action is Action.KEEP:
            return self.base
        return self.arm(str(advice.site), None if advice.norm is None else str(advice.norm), advice.strength)

    def regret(self, arm: int) -> float:
        """Return how far an arm is from the best, in units of what there was to gain."""
        best = self.losses.min()
        scale = max(max(self.losses[0], self.losses[self.base]) - best, 0.05 * best, 0.01 * self.answer["null_loss"])
        return float(np.clip((self.losses[arm] - best) / scale, 0, CLIP))

    def harm(self, arm: int) -> float:
        """Return whether an arm is worse than the base."""
        return float(self.losses[arm] > HARM * self.losses[self.base])

    @property
    def gains(self) -> bool:
        """Whether any arm gains a tenth over the base."""
        return bool(self.losses.min() < GAIN * self.losses[self.base])

    def training_seconds(self, steps: int = 100) -> float:
        """Return the CPU seconds of the case's own training, from some of its steps."""
        import torch

        spec = importlib.util.spec_from_file_location("zoo_case", self.folder / "model.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        network, told, data = module.build().train(), self.told, np.load(self.folder / "train.npz")
        x, y = torch.tensor(data["x"]), torch.tensor(data["y"])
        loss = torch.nn.functional.mse_loss if told["loss"] == "mse" else torch.nn.functional.cross_entropy
        kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[told["optimizer"]["name"]]
        optimizer = kind(network.parameters(), lr=told["optimizer"]["lr"])
        started = 0.0
        for step in range(-10, steps):
            if step == 0:
                started = time.process_time()
            rows = torch.randint(len(x), (min(told["batch_size"], len(x)),))
            optimizer.zero_grad()
            loss(network(x[rows]), y[rows]).backward()
            optimizer.step()
        return (time.process_time() - started) / steps * told["steps"]


def bootstrap(values: np.ndarray, n: int = 4000) -> tuple[float, float]:
    """Return the 95% interval of a mean over cases."""
    drawn = np.random.default_rng(0).integers(0, len(values), (n, len(values)))
    return tuple(np.percentile(values[drawn].mean(1), [2.5, 97.5]))


def line(name: str, regrets: np.ndarray, harms: np.ndarray, more: str = "") -> None:
    """Print one recommender: means over cases, of the mean over seeds of each."""
    low, high = bootstrap(regrets)
    print(
        f"{name:34} {regrets.mean():6.3f} [{low:.3f}, {high:.3f}] {np.median(regrets):6.3f} {harms.mean():6.3f}  {more}"
    )


def auc(scores: list[float], truths: list[bool]) -> float:
    """Return the probability that a case that gains has the higher score."""
    yes = [score for score, truth in zip(scores, truths, strict=True) if truth]
    no = [score for score, truth in zip(scores, truths, strict=True) if not truth]
    pairs = [(a > b) + 0.5 * (a == b) for a in yes for b in no]
    return float(np.mean(pairs)) if pairs else math.nan


def baselines(cases: list[Case]) -> dict[str, list[list[int]]]:
    """Return the arms of recommenders that look at nothing, or at the answers; a list of equally likely arms a case."""
    return {
        "oracle": [[int(c.losses.argmin())] for c in cases],
        "always none": [[0] for _ in cases],
        "always keep": [[c.base] for c in cases],
        "kernel L2 0.01": [[c.arm("kernel", "l2", 0.01)] for c in cases],
        "random": [list(range(len(c.losses))) for c in cases],
    }


def promised(audit: Audit, case: Case) -> float:
    """Return the gain that a recommendation promises, as a share of the present validation loss."""
    best = min((r for r in audit.responses if r.method != "screened"), key=lambda r: r.loss, default=None)
    return best.gain / max(best.gain + best.loss, 1e-12) if best else 0.0


def main() -> None:
    """Run the tool on every case and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=1, help="of the level labels")
    parser.add_argument("--level", action="append", choices=LEVELS, help="all by default")
    parser.add_argument("--json", type=Path, help="write the recommendations, a line a case")
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    cases = [Case(options.folder, path.stem) for path in sorted((options.folder / "answers").glob("*.json"))]
    print(f"{len(cases)} cases\n{'recommender':34} {'regret':>6} {'95% interval':>16} {'median':>6} {'harm':>6}")
    for name, arms in baselines(cases).items():
        regrets, harms = (
            np.array([np.mean([score(k) for k in ks]) for score, ks in zip(scores, arms, strict=True)])
            for scores in ([c.regret for c in cases], [c.harm for c in cases])
        )
        line(name, regrets, harms)
    for level in options.level or LEVELS:
        score(level, cases, options.seeds if level == "labels" else 1, options.json)


def score(level: str, cases: list[Case], seeds: int, file: Path | None) -> None:
    """Run the tool at one level and print how it did."""
    cases[0].audit(level, 0)  # imports
    audits, costs = {}, []
    for case in cases:
        for seed in range(seeds):
            started = time.process_time()
            audits[case.name, seed] = case.audit(level, seed)
            spent = time.process_time() - started
        if level == "labels":
            started = time.process_time()
            case.audit("probe", 0)
            spent -= time.process_time() - started
            costs.append(spent / case.training_seconds())
    arms = {key: next(c for c in cases if c.name == key[0]).chosen(audit) for key, audit in audits.items()}
    regrets = np.array([np.mean([c.regret(arms[c.name, s]) for s in range(seeds)]) for c in cases])
    harms = np.array([np.mean([c.harm(arms[c.name, s]) for s in range(seeds)]) for c in cases])
    more = f"cost {np.mean(costs):.1f} trainings, median {np.median(costs):.1f}, most {max(costs):.1f}" if costs else ""
    line(f"regaudit, {level}", regrets, harms, more)
    if level == "labels":
        evidence(cases, audits, arms, seeds)
    if file:
        rows = [_record(name, audit) for (name, seed), audit in audits.items() if seed == 0]
        file.with_suffix(f".{level}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def evidence(cases: list[Case], audits: dict, arms: dict, seeds: int) -> None:
    """Print whether gains and confidences can be believed."""
    keys = [(c, s) for c in cases for s in range(seeds)]
    value = auc([promised(audits[c.name, s], c) for c, s in keys], [c.gains for c, _ in keys])
    print(f"  anything gains 10%: AUC {value:.3f}")
    for low, high in ((0.0, 0.6), (0.6, 0.8), (0.8, 1.0)):
        inside = [(c, s) for c, s in keys if low <= audits[c.name, s].recommendation.confidence < high]
        right = [c.losses[arms[c.name, s]] <= c.losses[c.base] for c, s in inside]
        if inside:
            print(f"  confidence {low} to {high}: {len(inside)} answers, {np.mean(right):.2f} no worse than the base")


def _record(name: str, audit: Audit) -> dict:
    advice = audit.recommendation
    if advice.action is Action.KEEP:
        return {"case": name, "site": "keep", "norm": None, "strength": None}
    return {
        "case": name,
        "site": str(advice.site),
        "norm": advice.norm and str(advice.norm),
        "strength": advice.strength,
    }


if __name__ == "__main__":
    main()
