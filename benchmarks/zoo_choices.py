"""The numbers in the recommender that were chosen on a zoo: print how it does with others.

    python benchmarks/zoo_choices.py DIR [--seeds N] [--rate R] [--replicas K] [--steps N] [--longer N]

For the given learning rate and effort of the short trainings (regaudit's own by default) it prints regret and harm for
several numbers of standard errors below which what is in use stays. `benchmarks/zoo.py` says what DIR holds.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from zoo import Case

from regaudit.probes import response, retraining
from regaudit.recommend.choice import choose

STANDARD_ERRORS = (0.0, 0.5, 1.0, 1.5, 2.0)


def main() -> None:
    """Run every case and print a line for each number of standard errors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--rate", type=float, default=retraining.LEARNING_RATE)
    small = response.EFFORTS[0][1]
    for name in ("replicas", "steps", "longer"):
        parser.add_argument(f"--{name}", type=int, default=getattr(small, name))
    options = parser.parse_args()
    retraining.LEARNING_RATE = options.rate
    effort = replace(small, replicas=options.replicas, steps=options.steps, longer=options.longer)
    response.EFFORTS = ((response.EFFORTS[0][0], effort), *response.EFFORTS[1:])
    cases = [Case(options.folder, path.stem) for path in sorted((options.folder / "answers").glob("*.json"))]
    rows = [outcome(case, seed) for case in cases for seed in range(options.seeds)]
    for least in STANDARD_ERRORS:
        scored = [(best if score >= least else base) for score, best, base in rows]
        regret, harm = np.mean(scored, axis=0)
        print(f"{least:.1f} standard errors: regret {regret:.3f}, harm {harm:.3f}")


def outcome(case: Case, seed: int) -> tuple[float, tuple[float, float], tuple[float, float]]:
    """Return the gain in standard errors, and regret and harm of the best penalty and of the base."""
    responses = [each for each in case.audit("labels", seed).responses if each.method == response.RETRAINED]
    choice = choose(responses, "accuracy")
    best = choice.response
    arm = case.arm(str(best.site), best.norm and str(best.norm), choice.strength)
    score = best.gain / max(best.gain_se, 1e-12)
    return score, (case.regret(arm), case.harm(arm)), (case.regret(case.base), case.harm(case.base))


if __name__ == "__main__":
    main()
