"""How good are measured recommendations, and what do they cost? `regaudit trial` on a zoo of small trained models.

    python benchmarks/zoo_trial.py DIR [--budget N] [--only NAME] [--records FILE]

Prints regret (0 is the best of the measured penalties, 1 no better than doing nothing) and harm (worse than the model as it
is by over 2%) with bootstrap intervals, beside the baselines; the cost in full trainings; and the wall time in plain
trainings of the same network on this machine. DIR is laid out as by `zoo_make.py`.
"""

import argparse
import copy
import json
import math
import time
from pathlib import Path

import numpy as np
import torch

from regaudit.checkpoints import open_checkpoint
from regaudit.config import Probing, Trying
from regaudit.layers import group
from regaudit.probes.arms import NO_PENALTY
from regaudit.probes.runners import open_runner
from regaudit.probes.session import opened
from regaudit.records import Site
from regaudit.trials import trial
from regaudit.trials.one_by_one import fitted, penalties
from regaudit.trials.recipe import RETRAIN, Job
from regaudit.trials.setting import setting_of

CLIP = 2.0


def options(case: Path, budget: float) -> tuple[Probing, Trying]:
    told = json.loads((case / "case.json").read_text())
    optimizer = told["optimizer"]
    probing = Probing(
        model=f"{case}/model.py:build",
        probe=f"{case}/train.npz",
        val=f"{case}/val.npz",
        loss=told["loss"],
        device="cpu",
    )
    trying = Trying(
        optimizer=optimizer["name"],
        lr=optimizer["lr"],
        momentum=optimizer.get("momentum", 0.0),
        weight_decay=optimizer.get("wd", 0.0),
        steps=told["steps"],
        batch_size=told["batch_size"],
        budget=budget,
    )
    return probing, trying


def plain_seconds(case: Path, probing: Probing, trying: Trying) -> float:
    """Return the time of one plain training, measured on a fifth of its steps."""
    with open_checkpoint(str(case / "model.safetensors")) as checkpoint:
        layers = group(checkpoint).layers
        session, _ = opened(open_runner(checkpoint, layers, probing, "cpu"), checkpoint.path, layers, probing)
    setting = setting_of(session, trying, probing.model)
    job = Job(arm=NO_PENALTY, start=RETRAIN, seed=0, steps=max(1, trying.steps // 5))
    network = copy.deepcopy(session.runner.network)
    with penalties(NO_PENALTY) as penalty:
        fitted(setting, network, penalty, job)  # the first steps of a process are slow
        started = time.process_time()
        fitted(setting, network, penalty, job)
    return (time.process_time() - started) * trying.steps / job.steps


def recommended(case: Path, budget: float) -> dict:
    probing, trying = options(case, budget)
    plain = plain_seconds(case, probing, trying)
    started = time.process_time()
    with open_checkpoint(str(case / "model.safetensors")) as checkpoint:
        found = trial(checkpoint, group(checkpoint).layers, probing, trying, lambda progress: None).trial
    seconds = time.process_time() - started
    winner, validation = found.winner, found.validation
    chosen = (winner.site, winner.norm, winner.strength) if found.is_change else ("keep", None, None)
    gain = {
        "gain": validation.gain,
        "se": validation.gain_se,
        "winner": f"{winner.site} {winner.norm} {winner.strength:.3g}",
    }
    return {
        "case": case.name, "site": chosen[0], "norm": chosen[1], "strength": chosen[2],
        "cost": found.cost, "seconds": seconds, "plain": plain, **gain,
    }  # fmt: skip


def losses(answer: dict) -> np.ndarray:
    return np.array([arm["test_mean"] for arm in answer["arms"]])


def index(answer: dict, record: dict) -> int:
    if record["site"] == "keep":
        return answer["base_index"]
    if record["site"] == Site.NONE or not record["strength"]:
        return 0
    alike = [i for i, a in enumerate(answer["arms"]) if (a["site"], a["norm"]) == (record["site"], record["norm"])]
    return min(alike, key=lambda i: abs(math.log(answer["arms"][i]["strength"] / record["strength"])))


def regret(answer: dict, chosen: int) -> float:
    loss = losses(answer)
    best = loss.min()
    scale = max(max(loss[0], loss[answer["base_index"]]) - best, 0.05 * best, 0.01 * answer["null_loss"])
    return float(np.clip((loss[chosen] - best) / scale, 0, CLIP))


def harm(answer: dict, chosen: int) -> float:
    loss = losses(answer)
    return float(loss[chosen] > 1.02 * loss[answer["base_index"]])


def said(name: str, answers: list[dict], chosen: list[int]) -> str:
    regrets = np.array([regret(a, c) for a, c in zip(answers, chosen, strict=True)])
    harms = np.array([harm(a, c) for a, c in zip(answers, chosen, strict=True)])
    draws = np.random.default_rng(0).integers(0, len(regrets), (4000, len(regrets)))
    intervals = [np.percentile(each[draws].mean(1), [2.5, 97.5]) for each in (regrets, harms)]
    spans = [
        f"{each.mean():.3f} [{low:.3f}, {high:.3f}]"
        for each, (low, high) in zip((regrets, harms), intervals, strict=True)
    ]
    return f"{name:34s} regret {spans[0]}  harm {spans[1]}"


def validation_grid(answer: dict) -> int:
    return int(np.nan_to_num([arm["val_seeds"][0] for arm in answer["arms"]], nan=np.inf).argmin())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--budget", type=float, default=5.0)
    parser.add_argument("--only", help="try this case alone")
    parser.add_argument(
        "--records", type=Path, help="also write the recommendations to this file, a line of JSON a case"
    )
    asked = parser.parse_args()
    torch.set_num_threads(1)
    records, answers = [], []
    for case in sorted((asked.directory / "cases").iterdir()):
        if asked.only in {None, case.name}:
            records.append(recommended(case, asked.budget))
            answers.append(json.loads((asked.directory / "answers" / f"{case.name}.json").read_text()))
            record, chosen = records[-1], index(answers[-1], records[-1])
            time_taken = f"{record['seconds']:.1f} s = {record['seconds'] / record['plain']:.1f} plain trainings"
            choice = f"{record['site']} {record['norm'] or ''} {record['strength'] or ''}"
            print(f"{case.name:24s} {choice:24s} regret {regret(answers[-1], chosen):.2f} harm {harm(answers[-1], chosen):.0f}"
                  f"  cost {record['cost']:.1f}  {time_taken}", flush=True)  # fmt: skip
    if asked.records:
        asked.records.write_text("".join(json.dumps(record) + "\n" for record in records))
    print(
        said(f"trial, budget {asked.budget:g}", answers, [index(a, r) for a, r in zip(answers, records, strict=True)])
    )
    print(said("always keep", answers, [a["base_index"] for a in answers]))
    print(
        said(
            "kernel L2 0.01 (Keras' L2())",
            answers,
            [index(a, {"site": "kernel", "norm": "l2", "strength": 0.01}) for a in answers],
        )
    )
    print(said("validation grid of all, 37 trainings", answers, [validation_grid(a) for a in answers]))
    ratios = [record["seconds"] / record["plain"] for record in records]
    costs = [record["cost"] for record in records]
    print(
        f"cost {np.mean(costs):.2f} full trainings, at most {max(costs):.2f}; CPU time {np.median(ratios):.2f} plain trainings in the middle, at most {max(ratios):.2f}"
    )


if __name__ == "__main__":
    main()
