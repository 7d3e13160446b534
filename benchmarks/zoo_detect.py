"""Score what the audit detects on a zoo of models with known penalties.

    python benchmarks/zoo_detect.py ZOO [--refit ZOO...]

`--refit` fits the numbers again for each case, without it, on the rest of ZOO and on the other zoos: leave one case out.
Intervals are of a bootstrap over cases.
"""

import argparse
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import zoo_fit
from zoo_read import fits_of, models

from regaudit.effects import detect, stationary_odds
from regaudit.effects.stationary_features import by_penalty
from regaudit.pipeline import audit
from regaudit.records import Site

DRAWS = 2000
SURE = 0.8


def row(model, detected):
    """Return what one answer is worth; None where it does not count."""
    site, norm = (detected.site, detected.norm) if detected else (Site.NONE, None)
    sure = detected.confidence if detected else 0.0
    right = (site, norm) == model.label
    strength = detected.strength if detected else None
    told = right and model.strength is not None and strength is not None
    return {
        "7-way": right,
        "site": site is model.label[0],
        "none or any": (site is Site.NONE) == (model.label[0] is Site.NONE),
        "sure": sure,
        "sure and right": right if sure >= SURE else None,
        "lambda within x2": abs(np.log2(strength / model.strength)) < 1 if told else None,
        "lambda told": told if right and model.strength is not None else None,
        "unpenalised read as penalised": site is not Site.NONE if model.label[0] is Site.NONE else None,
        "abstains": detected is None,
    }


def figures(rows):
    found = {}
    for name in rows[0]:
        values = [each[name] for each in rows if each[name] is not None]
        if name != "sure":
            found[name] = (float(np.mean(values)) if values else float("nan"), len(values))
    ranked = sorted(rows, key=lambda each: -each["sure"])[: len(rows) // 2]
    found["confident half"] = float(np.mean([each["7-way"] for each in ranked])), len(ranked)
    return found


def bootstrap(by_case, draws=DRAWS):
    rng, cases = np.random.default_rng(0), list(by_case.values())
    samples = defaultdict(list)
    for _ in range(draws):
        rows = [each for i in rng.integers(len(cases), size=len(cases)) for each in cases[i]]
        for name, (value, _) in figures(rows).items():
            samples[name].append(value)
    return {name: np.nanpercentile(values, [2.5, 97.5]) for name, values in samples.items()}


def bins(rows):
    for low, high in ((0.0, 0.4), (0.4, 0.6), (0.6, 0.8), (0.8, 0.9), (0.9, 1.01)):
        inside = [each for each in rows if low <= each["sure"] < high and not each["abstains"]]
        if inside:
            sure, right = (np.mean([each[k] for each in inside]) for k in ("sure", "7-way"))
            yield f"confidence {low:.1f} to {min(high, 1.0):.1f}: {len(inside):4d} answers, {sure:.2f} sure, {right:.2f} right"


def main():
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zoo", type=Path)
    parser.add_argument("--refit", nargs="*", type=Path)
    asked = parser.parse_args()
    found = list(models(asked.zoo))
    started = time.perf_counter()
    audits = [audited(each) for each in found]
    print(f"{len(found)} models, {(time.perf_counter() - started) / len(found):.2f} s each")
    if asked.refit is not None:
        audits = refitted(found, audits, [each for zoo in asked.refit for each in models(zoo)])
    by_case = defaultdict(list)
    for model, each in zip(found, audits, strict=True):
        by_case[model.case.name].append(row(model, each.detected))
    rows = [each for rows in by_case.values() for each in rows]
    ends = bootstrap(by_case)
    for name, (value, count) in figures(rows).items():
        print(f"{name:32s} {value:.3f}  [{ends[name][0]:.2f}, {ends[name][1]:.2f}]  of {count}")
    print(*bins(rows), sep="\n")


def audited(model):
    """Return the audit with the one probe that detection needs."""
    plain = audit(model.path)
    found = replace(plain, evidence="labels", stationarity=tuple(fits_of(model).values()))
    return replace(found, detected=detect(found))


def refitted(found, audits, others):
    """Return the audits with each case's models judged by numbers that were fitted without it."""
    rest = [(fits_of(each), each.label) for each in others]
    own = [(by_penalty(each.stationarity), model.label) for model, each in zip(found, audits, strict=True)]
    judged, last = [], None
    for model, each in zip(found, audits, strict=True):
        if model.case != last:
            last = model.case
            train = rest + [pair for other, pair in zip(found, own, strict=True) if other.case != last]
            stationary_odds.SITE, stationary_odds.NORM = zoo_fit.fit(*map(list, zip(*train, strict=True)))
        judged.append(replace(each, detected=detect(each)))
    return judged


if __name__ == "__main__":
    main()
