"""Repeated blocks become one row; nothing is lost, and what differs stays apart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regaudit.records import Axis, Layer, LayerAudit, Measurement, Parameter, Role, Use
from regaudit.reports.folding import fold, fold_names


def layer(name, shape=(4, 4), role=Role.DENSE, growth=1.0):
    kernel = Parameter(
        use=Use.KERNEL, tensors=(name,), dtype="F32", shape=shape, axes=(Axis.OUT, Axis.IN), load=lambda a, b: None
    )
    return LayerAudit(
        layer=Layer(name=name, role=role, parameters=(kernel,)),
        measurements=(Measurement(layer=name, measure="kernel.growth", value=growth),),
    )


def named(rows):
    return [(row.block, row.name, row.blocks, len(row.layers)) for row in rows]


def test_repeats_of_a_block_are_one_row_with_their_values():
    (row,) = fold([layer(f"h.{i}.attn.q", growth=float(i)) for i in range(4)])
    assert named([row]) == [("h.0–3", ".attn.q", 4, 4)]
    assert row.values("kernel.growth") == (0.0, 1.0, 2.0, 3.0)
    assert row.values("bias.rms") == ()


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([layer("net.0"), layer("net.2"), layer("net.4")], [("", f"net.{i}", 1, 1) for i in (0, 2, 4)]),
        ([layer("h.0.q"), layer("h.1.q")], [("", "h.0.q", 1, 1), ("", "h.1.q", 1, 1)]),
        ([layer(f"h.{i}.q", (i, 4)) for i in (1, 2, 3)], [("", f"h.{i}.q", 1, 1) for i in (1, 2, 3)]),
        ([layer(f"h/{i}/q") for i in (0, 1, 5, 6)], [("h/0–1,5–6", "/q", 4, 4)]),
        ([layer(f"h.{i}.q") for i in (0, 2, 4, 6)], [("h.0…6", ".q", 4, 4)]),
        ([layer(f"moe[expert {i}]") for i in range(3)], [("", "moe[expert 0–2]", 1, 3)]),
        ([layer(f"a.2.h.{i}.q") for i in range(3)], [("a.2.h.0–2", ".q", 3, 3)]),
        ([layer(f"h.{i}.e.{j}.w") for i in range(2) for j in range(3)], [("h.0–1", ".e.0–2.w", 2, 6)]),
        ([layer("x"), layer("x"), layer("x")], [("", "x", 1, 3)]),
    ],
    ids=["last number", "too few", "shapes", "gaps", "many gaps", "parts", "first varies", "nested", "one name"],
)
def test_what_folds_and_what_does_not(layers, expected):
    assert named(fold(layers)) == expected


def test_layers_with_a_finding_stay_apart():
    rows = fold([layer(f"h.{i}.q") for i in range(5)], frozenset({"h.2.q"}))
    assert named(rows) == [("h.0–1,3–4", ".q", 4, 4), ("", "h.2.q", 1, 1)]


@given(st.lists(st.from_regex(r"[a-c](\.[0-2]){0,2}(\.[ab])?(\[e [0-3]\])?", fullmatch=True), max_size=40, unique=True))
def test_no_layer_is_lost(names):
    rows = fold([layer(name) for name in names])
    assert sorted(each.layer.name for row in rows for each in row.layers) == sorted(names)


def test_names_fold_alike():
    assert fold_names(["head", *(f"h.{i}.q" for i in range(3)), "head"]) == ("head", "h.0–2.q ×3")
