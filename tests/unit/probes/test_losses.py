"""Losses against their textbook forms, and labels that fit the output or are refused."""

import math

import numpy as np
import pytest
import torch

from regaudit.errors import ConfigError
from regaudit.probes.base import Data
from regaudit.probes.losses import Shapes, fitted

torch.set_num_threads(1)


def data(labels):
    return Data(inputs={"x": torch.zeros(len(labels), 1)}, labels=torch.as_tensor(labels), source="d.npz")


def per_example(name, outputs, labels, **shapes):
    loss, found, _ = fitted(name, Shapes(output=tuple(outputs.shape), **shapes), data(labels))
    return loss.per_example(outputs, found.labels)


def outputs(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", [(4,), (4, 1)], ids=["flat labels", "column of labels"])
@pytest.mark.parametrize("out", [(4,), (4, 1), (4, 1, 1)], ids=str)
def test_squared_error_never_broadcasts(shape, out):
    f, y = outputs(*out), torch.arange(4.0).reshape(shape)
    expected = [(float(a) - float(b)) ** 2 for a, b in zip(f.flatten(), y.flatten(), strict=True)]
    assert per_example("mse", f, y).tolist() == pytest.approx(expected)


def test_squared_error_is_the_mean_over_output_elements():
    f, y = outputs(3, 2, 5), outputs(3, 2, 5) + 1
    assert per_example("mse", f, y).tolist() == pytest.approx([1.0] * 3)


def test_cross_entropy_of_classes():
    f, y = outputs(4, 3), [2, 0, 1, 1]
    expected = [-math.log(math.exp(row[c]) / sum(map(math.exp, row))) for row, c in zip(f.tolist(), y, strict=True)]
    assert per_example("cross_entropy", f, y).tolist() == pytest.approx(expected, rel=1e-5)
    assert per_example("cross_entropy", f, np.array(y, np.float32)[:, None]).tolist() == pytest.approx(
        expected, rel=1e-5
    )


@pytest.mark.parametrize("axis", [1, 2], ids=["torch's order", "order of tokens"])
def test_cross_entropy_of_positions(axis):
    f = outputs(2, 5, 3)  # 2 examples, 5 positions, 3 classes
    y = torch.tensor([[0, 1, 2, 0, 1], [2, 2, -100, -100, -100]])
    given = f if axis == 2 else f.transpose(1, 2)
    each = -torch.log_softmax(f, 2).gather(2, y.clamp(min=0)[..., None])[..., 0]
    expected = [float(each[0].mean()), float(each[1, :2].mean())]
    assert per_example("cross_entropy", given, y).tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("takes_ids", "axis"), [(True, -1), (False, 1)])
def test_where_both_axes_fit_the_choice_is_said(takes_ids, axis):
    f, y = outputs(2, 3, 3), torch.tensor([[0, 1, 2], [1, 1, 0]])
    loss, found, notes = fitted("cross_entropy", Shapes(output=(2, 3, 3), takes_ids=takes_ids), data(y))
    expected = -torch.log_softmax(f, axis).movedim(axis, 2).gather(2, y[..., None])[..., 0].mean(1)
    torch.testing.assert_close(loss.per_example(f, found.labels), expected)
    assert "taken for the classes" in notes[0]


def test_bce_takes_logits():
    f, y = outputs(4, 1), [0, 1, 1, 0]
    expected = [-math.log(p if c else 1 - p) for p, c in zip(torch.sigmoid(f).flatten().tolist(), y, strict=True)]
    assert per_example("bce", f, y).tolist() == pytest.approx(expected, rel=1e-5)


REFUSED = {
    "three outputs": ("mse", (4, 3), [1.0, 2, 3, 4], ["N×3", "found N"]),
    "classes with mse": ("mse", (4, 3), [0, 1, 2, 0], ["--loss cross_entropy"]),
    "rows for columns": ("mse", (4, 2, 3), np.zeros((4, 3, 2)), ["N×2×3", "N×3×2"]),
    "label too large": ("cross_entropy", (4, 3), [0, 1, 2, 3], ["0 to 2", "3 classes", "0 to 3"]),
    "negative label": ("cross_entropy", (4, 3), [0, 1, 2, -1], ["0 to 2", "-1 to 2"]),
    "fractions": ("cross_entropy", (4, 3), [0.5, 1, 2, 1], ["class numbers", "fractions"]),
    "one logit": ("cross_entropy", (4, 1), [0, 1, 1, 0], ["two or more classes", "--loss bce"]),
    "wrong positions": ("cross_entropy", (4, 3, 5), np.zeros((4, 4), int), ["N×3×5", "found N×4"]),
    "no probability": ("bce", (4,), [0, 1, 2, 0], ["between 0 and 1", "0 to 2"]),
}


@pytest.mark.parametrize(("name", "out", "labels", "words"), REFUSED.values(), ids=REFUSED)
def test_labels_that_do_not_fit_are_refused(name, out, labels, words):
    with pytest.raises(ConfigError) as error:
        per_example(name, outputs(*out), labels)
    assert all(word in str(error.value) for word in words), error.value


@pytest.mark.parametrize(
    "body",
    [
        "return ((o - y) ** 2).flatten(1).sum(1)",
        "return ((o - y) ** 2).flatten(1).sum(1).mean()",
        "return ((o - y) ** 2).flatten(1).sum(1, keepdim=True)",
    ],
    ids=["per example", "mean", "column"],
)
def test_a_users_loss_counts_example_by_example(tmp_path, body):
    path = tmp_path / "mine.py"
    path.write_text(f"def loss(o, y):\n    {body}\n")
    f, y = outputs(3, 2), outputs(3, 2) + torch.tensor([[1.0], [2.0], [3.0]])
    assert per_example(f"{path}:loss", f, y).tolist() == pytest.approx([2.0, 8.0, 18.0], rel=1e-5)


@pytest.mark.parametrize(
    ("body", "words"),
    [("raise KeyError('weights')", ["KeyError", "mine.py:2", "(3, 2)"]), ("return 1.0", ["float tensor", "float"])],
)
def test_what_a_users_loss_does_wrong_is_told(tmp_path, body, words):
    path = tmp_path / "mine.py"
    path.write_text(f"def loss(o, y):\n    {body}\n")
    with pytest.raises(ConfigError) as error:
        per_example(f"{path}:loss", outputs(3, 2), outputs(3, 2))
    assert all(word in str(error.value) for word in ["--loss", *words]), error.value
