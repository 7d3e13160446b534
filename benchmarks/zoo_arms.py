"""Make a zoo for fitting the detector: the tasks of `zoo_make` with other networks, optimizers, sizes and strengths.

    python benchmarks/zoo_arms.py DIR

Of every task two cases, each with two models without a penalty and two of every kind; `zoo_read.models` reads it.
"""

import json
import math
import sys
from pathlib import Path

import numpy as np
import torch
import zoo_make
from safetensors.torch import save_file

NETWORKS = [zoo_make.mlp(*each) for each in (([40],), ([32, 32], "GELU"), ([24], "Tanh"), ([48, 24],), ([],), ([64],))]
RECIPES = [("adam", 3e-3, 800), ("sgd", 3e-2, 900), ("adamw", 3e-3, 700), ("adam", 5e-3, 500), ("adam", 2e-3, 1000)]
ROWS = [60, 100, 150, 250, 64, 800]
KEPT = {"motifs", "bars", "order", "friedman_norm", "blurred_norm"}  # networks that only fit their own task
OF_GRID = [0.05, 0.15, 0.25, 0.25, 0.2, 0.1]  # how often each strength is taken


def arms(rng):
    yield "none", None, 0.0
    for (site, norm), grid in zoo_make.GRIDS.items():
        for strength in rng.choice(grid, 2, replace=False, p=OF_GRID):
            yield site, norm, float(strength * math.exp(rng.uniform(-0.7, 0.7)))
    yield "none", None, 0.0


def make(root, name, number, rng):
    task, network, *recipe, rows, _ = zoo_make.CASES[name]
    if name.partition("~")[0] not in KEPT:
        network, recipe = NETWORKS[rng.integers(len(NETWORKS))], RECIPES[rng.integers(len(RECIPES))]
        rows = ROWS[rng.integers(len(ROWS))]
    _, loss, inputs, outputs = task
    (x, y), (xv, yv), _ = zoo_make.data(task, np.random.default_rng(number), rows)
    source, *sites = network(inputs, outputs)
    chosen = list(arms(rng))
    seeds = [number * 10] * (len(chosen) - 1) + [number * 10 + 1]
    stack = zoo_make.Stack(source, sites, chosen, seeds)
    stack.train(task, *recipe, x, y, min(64, rows), seeds)
    write(root, f"{name}~{number % 10}", locals())


def write(root, name, made):
    case, folder = root / "cases" / name, root / "arms" / name
    for each in (case, folder, root / "answers"):
        each.mkdir(parents=True, exist_ok=True)
    saved = {}
    for run, (site, norm, strength) in enumerate(made["chosen"]):
        state = made["stack"].state(run)
        if all(bool(each.float().isfinite().all()) for each in state.values()):
            label = f"{site}_{norm}#{run}" if norm else f"none#{run}"
            save_file(state, folder / f"{label}.safetensors")
            saved[label] = {"strength": strength} if norm else None
    (case / "model.py").write_text(made["source"])
    np.savez(case / "train.npz", x=made["x"].numpy(), y=made["y"].numpy())
    np.savez(case / "val.npz", x=made["xv"].numpy(), y=made["yv"].numpy())
    about = {"case": name, "loss": made["loss"], "base_penalty": {"site": "none", "norm": None, "strength": None}}
    (case / "case.json").write_text(json.dumps(about))
    (root / "answers" / f"{name}.json").write_text(json.dumps({"case": name, "saved_arms": saved}))


def main(root):
    torch.set_num_threads(1)
    rng = np.random.default_rng(77)
    for index, name in enumerate(zoo_make.CASES):
        for variant in range(2):
            make(Path(root), name, 5000 + 10 * index + variant, rng)


if __name__ == "__main__":
    main(sys.argv[1])
