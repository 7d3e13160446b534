"""Make a zoo: small trained models with the measured outcome of every candidate penalty, from seeds alone.

    python benchmarks/zoo_make.py DIR [--cases N] [--only NAME]

`DIR/cases/NAME/` holds what a tool may see (model.safetensors, model.py with `build()`, train.npz, val.npz, case.json),
`DIR/arms/NAME/` the same network trained with each penalty, `DIR/answers/NAME.json` the test loss of every arm: none and
kernel|bias|activity x L1|L2 x six strengths, each retrained from three initialisations. Penalties have Keras' semantics.
All arms of all seeds are trained at once, stacked along an axis of their own.
"""

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.func import functional_call, grad, vmap

GRIDS = {
    ("kernel", "l1"): np.geomspace(3e-5, 0.095, 6),
    ("kernel", "l2"): np.geomspace(1e-4, 0.316, 6),
    ("bias", "l1"): np.geomspace(1e-3, 1.0, 6),
    ("bias", "l2"): np.geomspace(3e-3, 3.0, 6),
    ("activity", "l1"): np.geomspace(1e-4, 0.316, 6),
    ("activity", "l2"): np.geomspace(3e-4, 0.95, 6),
}
ARMS = [("none", None, 0.0)] + [(s, n, float(v)) for (s, n), grid in GRIDS.items() for v in grid]
SEEDS = 3
TEST = 2000

# --- Tasks: each returns draw(rng, n) -> x, y, and the loss -----------------------------------------


def additive(d=6, noise=0.5, irrelevant=0):
    def draw(rng, n):
        x = rng.normal(size=(n, d + irrelevant))
        y = np.sin(2 * x[:, :d]).sum(1) / math.sqrt(d) + noise * rng.normal(size=n)
        return x, y[:, None]

    return draw, "mse", d + irrelevant, 1


def interactions(d=10, noise=0.3):
    def draw(rng, n):
        x = rng.normal(size=(n, d))
        y = x[:, 0] * x[:, 1] + 0.5 * x[:, 2] ** 2 - 0.5 + x[:, 3] + noise * rng.normal(size=n)
        return x, y[:, None]

    return draw, "mse", d, 1


def friedman(d=10, noise=0.4):
    def draw(rng, n):
        u = rng.uniform(size=(n, d))
        y = 10 * np.sin(np.pi * u[:, 0] * u[:, 1]) + 20 * (u[:, 2] - 0.5) ** 2 + 10 * u[:, 3] + 5 * u[:, 4]
        return (u - 0.5) * math.sqrt(12), ((y - 14.4) / 5 + noise * rng.normal(size=n))[:, None]

    return draw, "mse", d, 1


def rings(irrelevant=6, flips=0.15):
    def draw(rng, n):
        y = rng.integers(0, 2, n)
        angle, radius = rng.uniform(0, 2 * np.pi, n), 1 + y + 0.25 * rng.normal(size=n)
        x = np.c_[radius * np.cos(angle), radius * np.sin(angle), rng.normal(size=(n, irrelevant))]
        return x, np.where(rng.uniform(size=n) < flips, 1 - y, y)

    return draw, "cross_entropy", 2 + irrelevant, 2


def signs(relevant=2, d=12, flips=0.05):
    def draw(rng, n):
        x = rng.normal(size=(n, d))
        y = (np.prod(x[:, :relevant], 1) > 0).astype(int)
        return x, np.where(rng.uniform(size=n) < flips, 1 - y, y)

    return draw, "cross_entropy", d, 2


def sparse_logistic(relevant=4, d=60, sharp=2.0):
    def draw(rng, n):
        x = rng.normal(size=(n, d))
        p = 1 / (1 + np.exp(-sharp * x[:, :relevant].sum(1)))
        return x, (rng.uniform(size=n) < p).astype(int)

    return draw, "cross_entropy", d, 2


def categories(fields=5, levels=8, noise=0.7):
    effects = np.random.default_rng(5).normal(size=(fields, levels)) * (np.arange(fields) < 3)[:, None]
    odds = 0.6 ** np.arange(levels)

    def draw(rng, n):
        picked = rng.choice(levels, size=(n, fields), p=odds / odds.sum())
        x = np.eye(levels)[picked].reshape(n, -1)
        return x, (effects[np.arange(fields), picked].sum(1) + noise * rng.normal(size=n))[:, None]

    return draw, "mse", fields * levels, 1


def low_rank(d=20, out=6, rank=2, noise=0.6):
    mix = np.random.default_rng(6)
    a, b = mix.normal(size=(d, rank)) / math.sqrt(d), mix.normal(size=(rank, out)) / math.sqrt(rank)

    def draw(rng, n):
        x = rng.normal(size=(n, d))
        return x, 1.5 * x @ a @ b + noise * rng.normal(size=(n, out))

    return draw, "mse", d, out


def skewed(d=8, noise=0.5):
    def draw(rng, n):
        x = rng.normal(size=(n, d))
        y = np.exp(0.5 * x[:, 0] + 0.3 * x[:, 1] + noise * rng.normal(size=n)) - 1.3
        return x, y[:, None]

    return draw, "mse", d, 1


def shifted(d=8, shift=0.6, noise=0.2):
    """Training targets carry a constant that validation and test don't."""

    def draw(rng, n, *, training=False):
        x = rng.normal(size=(n, d))
        return x, (np.tanh(x[:, 0] - x[:, 1]) + shift * training + noise * rng.normal(size=n))[:, None]

    return draw, "mse", d, 1


def blurred(d=10, classes=3, sigma=0.7):
    """Inputs outside training are noisy."""
    centres = np.random.default_rng(7).normal(size=(classes, d)) * 0.9

    def draw(rng, n, *, training=False):
        y = rng.integers(0, classes, n)
        x = centres[y] + 0.7 * rng.normal(size=(n, d)) + sigma * (not training) * rng.normal(size=(n, d))
        return x, y

    return draw, "cross_entropy", d, classes


def motifs(length=20, noise=0.6):
    shapes = np.array([[1, 1, 1, -1, -1], [1, -1, 1, -1, 1], [-1, 0, 2, 0, -1]])

    def draw(rng, n):
        y = rng.integers(0, 3, n)
        x = noise * rng.normal(size=(n, 1, length))
        for row, start in enumerate(rng.integers(0, length - 5, n)):
            x[row, 0, start : start + 5] += shapes[y[row]]
        return x, y

    return draw, "cross_entropy", 1, 3


def bars(flips=0.1, noise=0.7):
    def draw(rng, n):
        y = rng.integers(0, 4, n)
        x = noise * rng.normal(size=(n, 1, 8, 8))
        for row, at in enumerate(rng.integers(1, 7, n)):
            if y[row] == 0:
                x[row, 0, at] += 1
            elif y[row] == 1:
                x[row, 0, :, at] += 1
            elif y[row] == 2:
                x[row, 0] += np.eye(8)
            else:
                x[row, 0] += np.eye(8)[::-1]
        return x, np.where(rng.uniform(size=n) < flips, rng.integers(0, 4, n), y)

    return draw, "cross_entropy", 1, 4


def order(vocabulary=10, length=7, flips=0.1):
    """Whether token 1 comes before token 2."""

    def draw(rng, n):
        x = rng.integers(3, vocabulary, size=(n, length))
        y = rng.integers(0, 2, n)
        for row in range(n):
            first, second = sorted(rng.choice(length, 2, replace=False))
            x[row, first], x[row, second] = (1, 2) if y[row] else (2, 1)
        return x, np.where(rng.uniform(size=n) < flips, 1 - y, y)

    return draw, "cross_entropy", vocabulary, 2


# --- Networks: source of model.py and the sites of the penalties ------------------------------------


def mlp(hidden, act="ReLU", norm=""):
    def make(d, out):
        lines, kernels, biases, activity, width, at = [], [], [], [], d, 0
        for h in hidden:
            kernels.append(f"{at}.weight"), biases.append(f"{at}.bias")
            lines += [f"nn.Linear({width}, {h})"] + ([f"nn.{norm}({h})"] if norm else []) + [f"nn.{act}()"]
            at, width = len(lines), h
            activity.append(str(at - 1))
        lines.append(f"nn.Linear({width}, {out})")
        kernels.append(f"{at}.weight"), biases.append(f"{at}.bias"), activity.append(str(at))
        body = ",\n        ".join(lines)
        source = f"import torch\nfrom torch import nn\n\n\ndef build() -> nn.Module:\n    return nn.Sequential(\n        {body})\n"
        return source, kernels, biases, activity

    return make


CONV = """from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.act1 = nn.Conv{k}d(1, 8, {w}, padding={p}), nn.ReLU()
        self.conv2, self.act2 = nn.Conv{k}d(8, 8, 3, padding=1), nn.ReLU()
        self.head = nn.Linear(8, {out})

    def forward(self, x):
        x = self.act2(self.conv2(self.act1(self.conv1(x))))
        return self.head(x.flatten(2).amax(2))


def build() -> nn.Module:
    return Net()
"""


def conv(k, width):
    def make(d, out):
        names = ["conv1", "conv2", "head"]
        source = CONV.format(k=k, w=width, p=width // 2, out=out)
        return source, [f"{n}.weight" for n in names], [f"{n}.bias" for n in names], ["act1", "act2", "head"]

    return make


ATTENTION = """import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, vocabulary={d}, length=7, width=12):
        super().__init__()
        self.token, self.position = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.up, self.act, self.down = nn.Linear(width, 24), nn.GELU(), nn.Linear(24, width)
        self.head = nn.Linear(width, {out})

    def forward(self, x):                      # (B, T) int tokens
        h = self.token(x) + self.position.weight
        n = self.norm1(h)
        w = torch.softmax(self.query(n) @ self.key(n).transpose(-1, -2) / n.shape[-1] ** 0.5, -1)
        h = h + w @ self.value(n)
        h = h + self.down(self.act(self.up(self.norm2(h))))
        return self.head(h.mean(1))


def build() -> nn.Module:
    return Net()
"""


def attention(d, out):
    names = ["query", "key", "value", "up", "down", "head"]
    kernels = ["token.weight", "position.weight"] + [f"{n}.weight" for n in names]
    activity = ["query", "key", "value", "act", "down", "head"]
    return ATTENTION.format(d=d, out=out), kernels, [f"{n}.bias" for n in names], activity


# name: task, network, optimizer, lr, steps, training rows, base penalty
CASES = {
    "additive": (additive(), mlp([40]), "adam", 3e-3, 800, 120, None),
    "additive_irrelevant": (additive(irrelevant=14), mlp([32, 32], "GELU"), "adam", 3e-3, 700, 160, None),
    "interactions": (interactions(), mlp([48]), "adam", 3e-3, 800, 150, None),
    "interactions_well": (interactions(), mlp([48], "Tanh"), "adam", 3e-3, 800, 150, ("kernel", "l2", 0.0126)),
    "friedman": (friedman(), mlp([32, 16]), "adam", 3e-3, 800, 100, None),
    "friedman_norm": (friedman(d=20), mlp([32], "ReLU", "BatchNorm1d"), "adam", 3e-3, 700, 120, None),
    "friedman_over": (friedman(), mlp([32]), "adam", 3e-3, 800, 200, ("kernel", "l1", 0.095)),
    "rings": (rings(), mlp([32, 32]), "adam", 3e-3, 600, 150, None),
    "rings_sgd": (rings(irrelevant=2, flips=0.05), mlp([48], "Tanh"), "sgd", 5e-2, 800, 120, None),
    "signs": (signs(), mlp([40]), "adam", 3e-3, 700, 200, None),
    "signs_over": (signs(d=6), mlp([40]), "adam", 3e-3, 700, 300, ("kernel", "l2", 0.316)),
    "sparse_logistic": (sparse_logistic(), mlp([]), "adam", 1e-2, 1000, 120, None),
    "sparse_logistic_hidden": (sparse_logistic(d=40), mlp([24]), "adamw", 3e-3, 600, 150, None),
    "sparse_logistic_well": (sparse_logistic(), mlp([]), "sgd", 5e-2, 1000, 120, ("kernel", "l1", 0.0189)),
    "categories": (categories(), mlp([]), "adam", 1e-2, 1000, 80, None),
    "categories_hidden": (categories(), mlp([32]), "adam", 3e-3, 800, 150, None),
    "low_rank": (low_rank(), mlp([]), "adam", 1e-2, 800, 60, None),
    "low_rank_hidden": (low_rank(), mlp([32], "Tanh"), "adam", 3e-3, 800, 80, None),
    "skewed": (skewed(), mlp([32]), "adam", 3e-3, 800, 120, None),
    "skewed_large": (skewed(noise=0.1), mlp([32]), "adam", 3e-3, 1200, 1500, None),
    "shifted": (shifted(), mlp([32], "Tanh"), "adam", 5e-3, 800, 100, None),
    "shifted_linear": (shifted(d=5, shift=1.0), mlp([]), "sgd", 2e-2, 800, 60, None),
    "blurred": (blurred(), mlp([32]), "adam", 3e-3, 600, 150, None),
    "blurred_norm": (blurred(classes=4), mlp([32], "ReLU", "LayerNorm"), "adam", 3e-3, 600, 150, None),
    "motifs": (motifs(), conv(1, 5), "adam", 5e-3, 300, 120, None),
    "bars": (bars(), conv(2, 3), "adam", 3e-3, 300, 150, None),
    "order": (order(), attention, "adam", 3e-3, 300, 200, None),
    "linear_large": (additive(d=4, noise=0.2), mlp([]), "adam", 1e-2, 600, 1200, None),
    "rings_large": (rings(irrelevant=0, flips=0.0), mlp([32]), "adam", 3e-3, 800, 1500, None),
    "interactions_over": (interactions(d=5), mlp([32]), "sgd", 2e-2, 800, 200, ("activity", "l2", 0.19)),
}


def losses(loss, out, y):
    if loss == "mse":
        return (out - y).square().mean(-1)
    return nn.functional.cross_entropy(out, y, reduction="none")


def data(task, rng, rows):
    draw, loss, *_ = task
    shifts = "training" in draw.__kwdefaults__ if draw.__kwdefaults__ else False
    parts = [draw(rng, rows, training=True) if shifts else draw(rng, rows)]
    parts += [draw(rng, n) for n in (max(32, rows // 2), TEST)]
    kind = (
        (lambda a: torch.tensor(a, dtype=torch.long))
        if loss != "mse"
        else (lambda a: torch.tensor(a, dtype=torch.float32))
    )

    def inputs(x):
        return torch.tensor(x) if x.dtype.kind == "i" else torch.tensor(x, dtype=torch.float32)

    return [(inputs(x), kind(y)) for x, y in parts]


def build(source, seed):
    torch.manual_seed(seed)
    space = {}
    exec(source, space)
    return space["build"]()


class Stack:
    """One network with a column of parameters for each run."""

    def __init__(self, source, sites, penalties, seeds):
        self.kernels, self.biases, self.activity = sites
        self.nets = [build(source, s) for s in seeds]
        self.net = self.nets[0]
        self.params = {
            k: torch.stack([dict(n.named_parameters())[k].detach() for n in self.nets])
            for k, _ in self.net.named_parameters()
        }
        self.buffers = {
            k: torch.stack([dict(n.named_buffers())[k].clone() for n in self.nets]) for k, _ in self.net.named_buffers()
        }
        self.strength = {key: torch.tensor([p[2] if p[:2] == key else 0.0 for p in penalties]) for key in GRIDS}
        self.seen = []
        for name in self.activity:
            self.net.get_submodule(name).register_forward_hook(lambda m, a, y: self.seen.append(y))

    def penalty(self, params, strength, examples):
        total = 0.0
        sites = {"kernel": [params[k] for k in self.kernels], "bias": [params[k] for k in self.biases]}
        sites["activity"] = self.seen
        for (site, norm), value in strength.items():
            size = sum((t.abs() if norm == "l1" else t.square()).sum() for t in sites[site])
            total = total + value * size / (examples if site == "activity" else 1)
        return total

    def objective(self, params, buffers, strength, x, y, loss):
        self.seen.clear()
        out = functional_call(self.net, (params, buffers), (x,))
        value = losses(loss, out, y).mean() + self.penalty(params, strength, len(x))
        self.seen.clear()
        return value, {k: buffers[k] for k in buffers}

    def train(self, task, optimizer, lr, steps, x, y, batch, seeds):
        loss = task[1]
        step = vmap(
            grad(lambda p, b, s, xs, ys: self.objective(p, b, s, xs, ys, loss), has_aux=True),
            in_dims=(0, 0, 0, 0, 0),
            randomness="different",
        )
        m = {k: torch.zeros_like(v) for k, v in self.params.items()}
        v2 = {k: torch.zeros_like(v) for k, v in self.params.items()}
        draws = {s: np.random.default_rng(1000 + s) for s in set(seeds)}
        self.net.train()
        for t in range(1, steps + 1):
            picked = {s: g.choice(len(x), batch, replace=False) for s, g in draws.items()}
            rows = torch.tensor(np.stack([picked[s] for s in seeds]))
            gradients, self.buffers = step(self.params, self.buffers, self.strength, x[rows], y[rows])
            for k, g in gradients.items():
                p = self.params[k]
                if optimizer == "sgd":
                    m[k].mul_(0.9).add_(g)
                    p.sub_(lr * m[k])
                    continue
                if optimizer == "adamw":
                    p.mul_(1 - lr * 0.01)
                m[k].mul_(0.9).add_(g, alpha=0.1)
                v2[k].mul_(0.999).addcmul_(g, g, value=0.001)
                p.sub_(lr * (m[k] / (1 - 0.9**t)) / ((v2[k] / (1 - 0.999**t)).sqrt() + 1e-8))
        self.net.eval()

    def evaluate(self, x, y, loss):
        def one(params, buffers):
            self.seen.clear()
            out = functional_call(self.net, (params, buffers), (x,))
            self.seen.clear()
            return losses(loss, out, y)

        with torch.no_grad():
            return vmap(one)(self.params, self.buffers).double()

    def state(self, run):
        return {k: v[run].clone().contiguous() for k, v in {**self.params, **self.buffers}.items()}


def nearest(base):
    """Return the arm of the grid that is nearest to a penalty."""
    return min((abs(math.log(a[2] / base[2])), i) for i, a in enumerate(ARMS) if a[:2] == base[:2])[1]


def make(root, name, number):
    started = time.perf_counter()
    task, network, optimizer, lr, steps, rows, base = CASES[name]
    _, loss, d, out = task
    (x, y), (xv, yv), (xt, yt) = data(task, np.random.default_rng(number), rows)
    source, *sites = network(d, out)
    batch = min(64, rows)
    arms = ARMS
    at = nearest(base) if base else 0
    base = arms[at] if base else None
    runs = [(arm, s) for s in range(SEEDS) for arm in arms]
    stack = Stack(source, sites, [arm for arm, _ in runs], [number * 10 + s for _, s in runs])
    stack.train(task, optimizer, lr, steps, x, y, batch, [s for _, s in runs])
    test, val = stack.evaluate(xt, yt, loss), stack.evaluate(xv, yv, loss).mean(1)
    train = stack.evaluate(x, y, loss).mean(1)
    write(root, name, locals())
    print(f"{name}: {time.perf_counter() - started:.0f} s", flush=True)


def write(root, name, made):
    stack, arms, test = made["stack"], made["arms"], made["test"].reshape(SEEDS, len(made["arms"]), -1)
    base, at = made["base"], made["at"]
    means = test.mean((0, 2))
    finite = torch.where(means.isfinite(), means, torch.full_like(means, 1e3))
    oracle = int(finite[: len(ARMS)].argmin())
    entries = []
    for i, (site, norm, strength) in enumerate(arms[: len(ARMS)]):
        difference = (test[:, i] - test[:, oracle]).mean(0)
        entries.append(
            {
                "site": site,
                "norm": norm,
                "strength": strength or None,
                "test_mean": float(finite[i]),
                "se_seed": float(test[:, i].mean(1).std() / math.sqrt(SEEDS)),
                "se_test": float(test[:, i].mean(0).std() / math.sqrt(TEST)),
                "se_diff_oracle": float(difference.std() / math.sqrt(TEST)),
                "test_halfA": float(test[:, i, : TEST // 2].mean()),
                "test_halfB": float(test[:, i, TEST // 2 :].mean()),
                "test_seeds": test[:, i].mean(1).tolist(),
                "val_seeds": made["val"].reshape(SEEDS, -1)[:, i].tolist(),
                "train_mean": float(made["train"].reshape(SEEDS, -1)[:, i].mean()),
            }
        )
    y, yt, loss = made["y"], made["yt"], made["loss"]
    null = (
        losses(loss, y.mean(0).expand(len(yt), -1), yt).mean()
        if loss == "mse"
        else losses(loss, torch.bincount(y, minlength=made["out"]).clamp(min=1).log().expand(len(yt), -1), yt).mean()
    )
    label = lambda a: "none" if a[1] is None else f"{a[0]}_{a[1]}"  # noqa: E731
    kind = "none" if base is None else "well" if at == oracle or finite[at] < finite[0] else f"over_{label(base)}"
    saved = {}
    for key in GRIDS:  # the middle of the grid, where the penalty shows and the model lives
        saved[f"{key[0]}_{key[1]}"] = [i for i, a in enumerate(arms) if a[:2] == key][3]
    answer = {
        "case": name,
        "family": name.split("_")[0],
        "tags": "",
        "base_kind": kind,
        "arms": entries,
        "oracle": oracle,
        "oracle_label": label(arms[oracle]),
        "oracle_arm": label(arms[oracle]),
        "base_index": at,
        "base": {
            p: float(made[q][at] if p != "test" else test[0, at].mean())
            for p, q in (("train", "train"), ("val", "val"), ("test", "test"))
        },
        "null_loss": float(null),
        "n_test": TEST,
        "saved_arms": {"none": None, **{k: {"strength": arms[i][2]} for k, i in saved.items()}},
    }
    case = root / "cases" / name
    arm_dir = root / "arms" / name
    for folder in (case, arm_dir, root / "answers"):
        folder.mkdir(parents=True, exist_ok=True)
    save_file(stack.state(at), case / "model.safetensors")
    save_file(stack.state(0), arm_dir / "none.safetensors")
    for key, i in saved.items():
        save_file(stack.state(i), arm_dir / f"{key}.safetensors")
    (case / "model.py").write_text(made["source"])
    np.savez(case / "train.npz", x=made["x"].numpy(), y=y.numpy())
    np.savez(case / "val.npz", x=made["xv"].numpy(), y=made["yv"].numpy())
    (case / "case.json").write_text(
        json.dumps(
            {
                "case": name,
                "loss": loss,
                "optimizer": {
                    "name": made["optimizer"],
                    "lr": made["lr"],
                    **(
                        {"momentum": 0.9}
                        if made["optimizer"] == "sgd"
                        else {"wd": 0.01}
                        if made["optimizer"] == "adamw"
                        else {}
                    ),
                },
                "steps": made["steps"],
                "epochs": made["steps"] * made["batch"] / len(y),
                "batch_size": made["batch"],
                "base_penalty": {
                    "site": base[0] if base else "none",
                    "norm": base[1] if base else None,
                    "strength": base[2] if base else None,
                },
                "n_train": len(y),
                "n_val": len(made["yv"]),
                "kernels": stack.kernels,
                "biases": stack.biases,
                "activity_modules": stack.activity,
            },
            indent=1,
        )
    )
    (root / "answers" / f"{name}.json").write_text(json.dumps(answer, indent=1))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--only", help="make this case alone")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    for number, name in enumerate(CASES):
        if chosen.only in {None, name} and not (chosen.directory / "answers" / f"{name}.json").exists():
            make(chosen.directory, name, number)


if __name__ == "__main__":
    main()
