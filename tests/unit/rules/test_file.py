"""Rules about the file, the declarations and the audit itself."""

import pytest

from regaudit.checkpoints import base
from regaudit.records import (
    Coverage,
    Declared,
    Effect,
    Evidence,
    Remark,
    Role,
    Site,
    Tensor,
    TensorSkip,
    TensorStatistics,
)
from regaudit.rules import run

REMARKS = {
    base.DANGLING_INDEX: ("file-dangling-index", "warn"),
    base.UNLISTED_TENSOR: ("file-unlisted-tensor", "warn"),
    base.OPTIMIZER_STATE: ("file-optimizer-state", "info"),
    base.OTHER_WEIGHTS: ("file-other-weights", "info"),
    base.CONTAINS_CODE: ("file-contains-code", "info"),
    base.UNSAFE_GLOBAL: ("file-unsafe-global", "error"),
    base.UNKNOWN_GLOBAL: ("file-unknown-global", "info"),
    base.UNREADABLE_TENSOR: ("file-unreadable-tensor", "info"),
}


@pytest.mark.parametrize(("kind", "expected"), REMARKS.items(), ids=REMARKS)
def test_every_remark_is_judged(audited, kind, expected):
    (found,) = run(audited(remarks=(Remark(kind=kind, where="model.pt: data.pkl", text="A fact."),)))
    assert (found.name, found.severity) == expected
    assert (found.tensor, found.message) == ("model.pt: data.pkl", "A fact.")


def test_every_kind_of_remark_has_a_rule():
    kinds = {value for name, value in vars(base).items() if name.isupper() and isinstance(value, str)}
    assert kinds == set(REMARKS)


def skip(reason, *, blocking):
    return TensorSkip(tensor="t", reason=reason, blocking=blocking)


def test_blocking_skips_are_one_note(model, audited):
    skipped = (
        skip("packed 4-bit integers", blocking=True),
        skip("packed 4-bit integers", blocking=True),
        skip("a mask", blocking=False),
    )
    coverage = Coverage(tensors=5, measured=2, skipped=skipped)
    (found,) = run(audited(model.layer("fc", model.noise(8, 8)), coverage=coverage))
    assert (found.name, found.severity) == ("audit-incomplete", "info")
    assert found.message == "2 of 5 tensors could not be measured: packed 4-bit integers (2)."


def test_a_quantised_model_of_which_nothing_was_measured_is_no_defect(audited):
    (found,) = run(audited(coverage=Coverage(tensors=1, measured=0, skipped=(skip("integers", blocking=True),))))
    assert (found.name, found.severity) == ("audit-incomplete", "info")


def test_masks_and_counters_are_no_gap(audited):
    assert run(audited(coverage=Coverage(tensors=1, measured=0, skipped=(skip("a mask", blocking=False),)))) == ()


def statistics(name, role):
    return TensorStatistics(
        tensor=Tensor(name=name, shape=(4,), dtype="F32", nbytes=16), role=role, layer="", sum=0.0, fro_norm=0.0,
        minimum=0.0, maximum=0.0, zeros=2, nonfinite=2,
    )  # fmt: skip


def test_nonfinite_tensors_outside_layers(audited):
    (found,) = run(audited(tensors=(statistics("fc.scales", Role.QUANTIZED),)))
    assert (found.name, found.tensor) == ("nonfinite-values", "fc.scales")


def test_masks_may_be_infinite(audited):
    assert run(audited(tensors=(statistics("attn.mask", Role.BUFFER),))) == ()


def declared(target, site, kind, value, unit="keras"):
    return Declared(target=target, site=site, kind=kind, value=value, where="config", unit=unit)


def test_declared_penalty_before_a_normalization(model, audited):
    layer = model.layer("conv1", model.noise(8, 4, 3, 3), role=Role.CONV, followed_by="bn1")
    (found,) = run(audited(layer, declared=(declared("conv1", "kernel", "l2", 0.01),)))
    assert (found.name, found.layer, found.severity) == ("declared-penalty-before-norm", "conv1", "info")
    assert "bn1" in found.message


@pytest.mark.parametrize(
    "entry",
    [
        declared("conv2", "kernel", "l2", 0.01),
        declared("conv1", "kernel", "l2", 0.0),
        declared("conv1", "bias", "l2", 0.01),
        declared("conv1", "kernel", "max_norm", 2.0, unit=""),
        declared("conv", "kernel", "l2", 0.01),
    ],
    ids=["another-layer", "zero", "bias", "constraint", "prefix-of-a-name"],
)
def test_penalties_that_do_not_meet_a_normalization(model, audited, entry):
    layer = model.layer("conv1", model.noise(8, 4, 3, 3), role=Role.CONV, followed_by="bn1")
    assert run(audited(layer, declared=(entry,))) == ()


def test_weight_decay_of_the_whole_model(model, audited):
    layers = (
        model.layer("conv1", model.noise(8, 4, 3, 3), role=Role.CONV, followed_by="bn1"),
        model.layer("fc", model.noise(8, 8)),
    )
    decay = declared("param group 0", "parameters", "weight_decay", 5e-4, unit="torch.SGD")
    (found,) = run(audited(*layers, declared=(decay,)))
    assert "1 of 2 kernels" in found.message


def test_invisible_penalty_is_taken_from_the_effects(model, audited):
    effect = Effect(
        layer="fc", target=Site.KERNEL, effect="declared-not-visible", confidence=0.7, text="It does not show.",
        evidence=(Evidence(measure="kernel.growth", value=3.0, expected=1.0),),
    )  # fmt: skip
    (found,) = run(audited(model.layer("fc", model.noise(8, 8)), effects=(effect,)))
    assert (found.name, found.layer, found.value, found.threshold) == ("declared-penalty-invisible", "fc", 3.0, 1.0)
