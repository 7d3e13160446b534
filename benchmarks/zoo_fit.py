"""Fit the detector's numbers on zoos of models with known penalties, and print `effects/stationary_table.py`.

    python benchmarks/zoo_fit.py ZOO... > regaudit/effects/stationary_table.py

Each `ZOO` has `cases/`, `arms/` and `answers/` as `zoo_make.py` and `zoo_arms.py` write them.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from zoo_read import fits_of, models

from regaudit.effects.stationary_features import OF_NORM, OF_SITE
from regaudit.records import Norm, Site

RIDGE = 1.0  # of the coefficients of standardised features; those of constants have a hundredth
ORDER = (Site.KERNEL, Site.BIAS, Site.ACTIVITY)


def minimise(loss, size):
    b = torch.zeros(size, dtype=torch.float64, requires_grad=True)
    step = torch.optim.LBFGS([b], max_iter=500, line_search_fn="strong_wolfe", tolerance_grad=1e-9)

    def closure():
        step.zero_grad()
        value = loss(b) + 0.5 * RIDGE * b.square().sum()
        value.backward()
        return value

    step.step(closure)
    return b.detach().numpy()


def standardised(rows):
    x = np.array(rows)
    mean, sd = x.mean(0), x.std(0) + 1e-9
    return torch.tensor((x - mean) / sd), mean, sd


def raw(names, b, mean, sd):
    """Return coefficients of the features as they are, and the constant under ''."""
    slopes = b[1:] / sd
    return {"": b[0] * 10 - float(slopes @ mean), **dict(zip(names, slopes, strict=True))}


def fit_sites(rows, labels):
    parts = {s: standardised([[f(r) for f in OF_SITE[s].values()] for r in rows]) for s in ORDER}
    truth = torch.tensor([0 if lab[0] is Site.NONE else 1 + ORDER.index(lab[0]) for lab in labels])
    sizes = [1 + len(OF_SITE[s]) for s in ORDER]

    def loss(b):
        scores = [torch.zeros(len(rows), dtype=torch.float64)]
        for s, each in zip(ORDER, b.split(sizes), strict=True):
            scores.append(each[0] * 10 + parts[s][0] @ each[1:])
        return torch.nn.functional.cross_entropy(torch.stack(scores, 1), truth, reduction="sum")

    found = np.split(minimise(loss, sum(sizes)), np.cumsum(sizes)[:-1])
    return {s: raw(OF_SITE[s], b, *parts[s][1:]) for s, b in zip(ORDER, found, strict=True)}


def fit_norm(site, rows, labels):
    chosen = [i for i, lab in enumerate(labels) if lab[0] is site]
    x, mean, sd = standardised([[f(rows[i]) for f in OF_NORM[site].values()] for i in chosen])
    truth = torch.tensor([float(labels[i][1] is Norm.L1) for i in chosen], dtype=torch.float64)
    loss = torch.nn.functional.binary_cross_entropy_with_logits
    b = minimise(lambda b: loss(b[0] * 10 + x @ b[1:], truth, reduction="sum"), x.shape[1] + 1)
    return raw(OF_NORM[site], b, mean, sd)


def fit(rows, labels):
    """Return the two tables, SITE and NORM."""
    return fit_sites(rows, labels), {s: fit_norm(s, rows, labels) for s in ORDER}


def written(name, table):
    lines = [f"{name}: Final[Mapping[Site, Mapping[str, float]]] = {{"]
    for site, numbers in table.items():
        lines += [f"    Site.{site.name}: {{", *(f'        "{k}": {v:.4g},' for k, v in numbers.items()), "    },"]
    return "\n".join([*lines, "}"])


def main(zoos):
    found = [(fits_of(each), each.label) for zoo in zoos for each in models(Path(zoo))]
    site, norm = fit([f for f, _ in found], [lab for _, lab in found])
    print(f'''"""The fitted numbers of `stationary_odds`: {sum(map(len, [*site.values(), *norm.values()]))} coefficients; "" is the constant.

Fitted by `benchmarks/zoo_fit.py` on {len(found)} small networks with known penalties; docs/detection.md has the figures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from regaudit.records import Site

if TYPE_CHECKING:
    from collections.abc import Mapping

{written("SITE", site)}

{written("NORM", norm)}''')


if __name__ == "__main__":
    main(sys.argv[1:])
