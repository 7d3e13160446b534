"""Small model files, and ways to run the program on them."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

from regaudit.__main__ import run


@pytest.fixture
def model(tmp_path):
    """A healthy model of two layers."""
    rng = np.random.default_rng(0)
    tensors = {}
    for name, (rows, columns) in {"fc1": (32, 48), "fc2": (24, 32)}.items():
        bound = 1 / np.sqrt(columns)
        tensors[f"{name}.weight"] = rng.uniform(-bound, bound, (rows, columns)).astype(np.float32)
        tensors[f"{name}.bias"] = rng.uniform(-bound, bound, rows).astype(np.float32)
    path = tmp_path / "model.safetensors"
    save_file(tensors, path)
    return path


@pytest.fixture
def broken(tmp_path):
    """A model with NaN in it."""
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(32, 48)).astype(np.float32)
    weight[3, 5] = np.nan
    path = tmp_path / "broken.safetensors"
    save_file({"fc1.weight": weight, "fc2.weight": rng.normal(size=(24, 32)).astype(np.float32)}, path)
    return path


@pytest.fixture
def program(tmp_path):
    """Run the program as a process of its own."""

    def start(*arguments, **environment):
        return subprocess.run(
            [sys.executable, "-m", "regaudit", *map(str, arguments)],
            cwd=tmp_path, capture_output=True, check=False, env={**os.environ, **environment}, timeout=60,
        )  # fmt: skip

    return start


@pytest.fixture
def called(capfdbinary):
    """Run the program in this process; return its exit code, stdout and stderr."""

    def call(*arguments):
        code = run([str(each) for each in arguments])
        out, err = capfdbinary.readouterr()
        return code, out.decode(), err.decode()

    return call


@pytest.fixture
def called_json(called):
    """Run the program in this process; return its exit code and the JSON on stdout."""

    def call(*arguments):
        code, out, _ = called(*arguments)
        return code, json.loads(out)

    return call
