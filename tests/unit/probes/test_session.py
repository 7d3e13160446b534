"""A session: the model is tried, probes run where they can, memory that is short halves the batches."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from regaudit.config import Probing
from regaudit.errors import CheckpointError, ConfigError
from regaudit.networks.places import Place
from regaudit.probes import session, synthetic
from regaudit.probes.base import ModelInput, Probe, Probed, Runner
from regaudit.probes.merging import Ran, merged
from regaudit.records import Axis, Layer, Measurement, Parameter, ProbeRun, Role, Skip, Use

torch.set_num_threads(1)


ONES = np.ones((600, 3), np.float32)


def runner(function, **fields):
    inputs = fields.pop("inputs", (ModelInput(name="x"),))
    return Runner(kind="test", network=None, inputs=inputs, places=(), call=lambda _, b: function(b["x"]), **fields)


@pytest.fixture
def opened(tmp_path):
    def open_(function, x=ONES, y=None, **options):
        path = tmp_path / "train.npz"
        np.savez(path, **({"x": x} if y is None else {"x": x, "y": y}))
        made = function if isinstance(function, Runner) else runner(function)
        return session.opened(
            made, "model.pt", (), Probing(probe=str(path), val=str(path) if y is not None else "", **options)
        )

    return open_


def limited(limit, error):
    def run(x):
        if len(x) > limit:
            raise error
        return x

    return run


OUT_OF_MEMORY = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["python", "cuda", "cpu"])
def test_a_model_that_does_not_fit_runs_in_smaller_batches_and_that_is_said(opened, error):
    found, notes = opened(limited(50, error))
    assert found.batch_size == 32
    assert "32 examples at once" in notes[0]


def test_a_model_that_fits_not_one_example_is_told(opened):
    with pytest.raises(CheckpointError, match="not hold a single example"):
        opened(limited(0, MemoryError()))


def test_a_probe_that_does_not_fit_runs_in_smaller_batches_and_that_is_said(opened):
    def run(given):
        if given.batch_size > 10:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return Probed(measurements=(Measurement(layer="", measure="model.batch", value=given.batch_size),))

    found = session.taken(Probe(name="greedy", run=run), opened(lambda x: x)[0])
    assert found.measurements[0].value == 8
    assert "greedy ran on 8 examples" in found.notes[0]


def test_a_probe_that_never_fits_is_skipped(opened):
    def run(given):
        raise MemoryError

    found = session.taken(Probe(name="greedy", run=run), opened(lambda x: x)[0])
    assert found.skips == (Skip(layer="", measure="greedy", reason=session.NO_MEMORY),)


def test_probes_say_what_they_miss(opened):
    def never(given):
        raise AssertionError

    given = opened(runner(lambda x: x, is_differentiable=False))[0]
    labels = session.taken(Probe(name="a", needs_labels=True, run=never), given)
    gradients = session.taken(Probe(name="b", needs_gradients=True, run=never), given)
    assert "labels and --loss" in labels.skips[0].reason
    assert "runner test" in gradients.skips[0].reason


def test_what_a_model_does_not_allow_is_a_skip(opened):
    def run(given):
        raise RuntimeError("derivative for aten::foo is not\nimplemented")

    found = session.taken(Probe(name="curvature", run=run), opened(lambda x: x)[0])
    assert found.skips[0].reason.endswith("derivative for aten::foo is not implemented")


def test_a_bug_of_a_probe_is_no_skip(opened):
    def run(given):
        raise KeyError("bug")

    with pytest.raises(KeyError):
        session.taken(Probe(name="broken", run=run), opened(lambda x: x)[0])


def test_labels_take_the_shape_of_the_output_in_both_files(opened):
    given, _ = opened(lambda x: x.sum(1, keepdim=True), y=np.full(600, 2.0), loss="mse")
    assert given.train.labels.shape == given.val.labels.shape == (600, 1)
    assert given.loss.per_example(given.runner(given.train.inputs), given.train.labels).mean().item() == pytest.approx(
        1
    )


def test_a_loss_of_one_number_is_said(opened, tmp_path):
    (tmp_path / "mine.py").write_text("def loss(o, y):\n    return (o[:, 0] - y).abs().mean()\n")
    name = f"{tmp_path / 'mine.py'}:loss"
    given, notes = opened(lambda x: x, y=np.arange(600.0), loss=name)
    assert "one example at a time" in notes[0]
    assert given.loss.name == name


def raises(x):
    raise ValueError("no such thing")


ROW = ONES.copy()
ROW[417] = -1
REFUSED = {
    "raises": (raises, ["ValueError: no such thing", "test_session.py", "x float32 (2, 3)"]),
    "wrong width": (nn.Linear(5, 1), ["RuntimeError", "float32 (2, 3)"]),
    "no tensor": (lambda x: [x], ["float tensor", "list"]),
    "integers": (lambda x: x.long(), ["float tensor", "int64"]),
    "a mean": (lambda x: x.mean(), ["axis 0 of examples", "()"]),
    "not finite": (lambda x: x.log(), ["example 417 of the 600", "train.npz"]),
}


@pytest.mark.parametrize(("function", "words"), REFUSED.values(), ids=REFUSED)
def test_what_a_model_does_wrong_is_told_in_one_sentence(opened, function, words):
    with pytest.raises((CheckpointError, ConfigError)) as error:
        opened(function, ROW)
    assert all(word in str(error.value) for word in words), error.value


def layer(name, role, shape):
    kernel = Parameter(use=Use.KERNEL, tensors=(name,), dtype="F32", shape=shape, axes=(Axis.OUT, Axis.IN), load=None)
    return Layer(name=name, role=role, parameters=(kernel,))


def drawn(first, *inputs, **options):
    made = replace(
        runner(lambda x: x, inputs=inputs or (ModelInput(name="x"),)), places=(Place(layer=first.name, module=""),)
    )
    return synthetic.draw(made, (first,), Probing(probe="synthetic", **options))[0]


def test_synthetic_data_are_seeded_and_say_their_distribution():
    first = layer("fc", Role.DENSE, (4, 7))
    data = drawn(first, size=2000)
    assert data.inputs["x"].shape == (2000, 7)
    assert abs(float(data.inputs["x"].mean())) < 5 / np.sqrt(14_000)
    assert abs(float(data.inputs["x"].var()) - 1) < 5 * np.sqrt(2 / 14_000)
    assert data.source == "synthetic: standard normal"
    assert torch.equal(data.inputs["x"], drawn(first, size=2000).inputs["x"])
    assert not torch.equal(data.inputs["x"], drawn(first, size=2000, seed=1).inputs["x"])


@pytest.mark.parametrize(
    "inputs", [(), (ModelInput(name="x", shape=(None, None), dtype="I64"),)], ids=["unknown", "ids"]
)
def test_synthetic_tokens_are_uniform_over_the_vocabulary(inputs):
    data = drawn(layer("table", Role.EMBEDDING, (8, 11)), *inputs)
    counts = torch.bincount(data.inputs["x"].flatten(), minlength=11)
    assert len(counts) == 11
    assert float(((counts - counts.sum() / 11) ** 2 / (counts.sum() / 11)).sum()) < 30  # χ² with 10 degrees of freedom
    assert "11" in data.source


def test_synthetic_data_of_unknown_shape_are_refused():
    with pytest.raises(ConfigError, match="--probe FILE"):
        drawn(layer("conv", Role.CONV, (8, 3)))
    with pytest.raises(ConfigError, match="--probe FILE"):
        drawn(layer("fc", Role.DENSE, (4, 7)), ModelInput(name="x", shape=(None, 3, None)))


def test_what_was_found_goes_to_its_layer(make_layer, make_audit):
    audit = make_audit(make_layer("a", values={"kernel.rms": 1.0}), make_layer("b"))
    found = Probed(
        measurements=(
            Measurement(layer="b", measure="activity.rms", value=2.0),
            Measurement(layer="", measure="model.jacobian_fro_norm", value=3.0, se=0.1),
            Measurement(layer="a", measure="activity.rms", value=4.0),
        ),
        skips=(
            Skip(layer="a", measure="activity.kurtosis", reason="r"),
            Skip(layer="", measure="gradients", reason="r"),
        ),
    )
    run = ProbeRun(runner="test", model="m", data="d", examples=1)
    result = merged(audit, Ran(run=run, found=found, evidence="probe", seed=7))
    assert [each.layer.name for each in result.layers] == ["a", "b"]
    assert result.layer("a").value("activity.rms") == 4.0
    assert result.layer("a").value("kernel.rms") == 1.0
    assert result.layer("b").value("activity.rms") == 2.0
    assert result.layer("a").skips[0].measure == "activity.kurtosis"
    assert [each.value for each in result.model] == [3.0]
    assert result.model_skips[0].measure == "gradients"
    assert (result.evidence, result.seed, result.probe) == ("probe", 7, run)
