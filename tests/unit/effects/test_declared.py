import pytest

from regaudit.effects import detect, see
from regaudit.records import Declared, Norm, Site


def declared(site="kernel", kind="l2", value=0.01, unit="keras", target="fc1"):
    return Declared(target=target, site=site, kind=kind, value=value, where="config.json", unit=unit)


@pytest.fixture
def verdict(make_layer, make_audit):
    def of(entry, *, growth=1.0, layer=(), others=(), **values):
        measured = {"kernel.growth": growth, "kernel.excess_kurtosis": 0.5, "kernel.near_zero_fraction": 0.0}
        named = {name.replace("__", "."): value for name, value in values.items()}
        layers = [make_layer(values=measured | named, **dict(layer))]
        layers += [make_layer(f"other{i}", values={"kernel.growth": g}) for i, g in enumerate(others)]
        return next(e for e in see(make_audit(*layers, declared=(entry,))) if e.effect.startswith("declared-"))

    return of


@pytest.mark.parametrize(
    ("entry", "given", "expected"),
    [
        (declared(), {"growth": 0.1}, "declared-agrees"),
        (declared(), {"growth": 1.0, "others": (4.0, 5.0)}, "declared-agrees"),
        (declared(), {"growth": 5.0}, "declared-not-visible"),
        (declared(value=1e-6), {"growth": 5.0}, "declared-cannot-tell"),
        (declared(), {"growth": 1.0}, "declared-cannot-tell"),
        (declared(), {"growth": 0.1, "layer": {"followed_by": "bn1"}}, "declared-acts-on-learning-rate"),
        (declared(kind="l1"), {"kernel__near_zero_fraction": 0.4}, "declared-agrees"),
        (declared(kind="l1"), {"growth": 5.0}, "declared-not-visible"),
        (declared(site="activity"), {"growth": 0.1}, "declared-cannot-tell"),
        (declared(site="scale"), {"growth": 0.1}, "declared-cannot-tell"),
        (declared(site="bias"), {"bias__to_kernel_median": 1e-5}, "declared-agrees"),
        (declared(site="bias"), {"bias__dominant_fraction": 0.9}, "declared-not-visible"),
        (declared(target="gone"), {"growth": 0.1}, "declared-cannot-tell"),
        (
            declared("parameters", "decoupled_weight_decay", 0.1, "torch.AdamW", ""),
            {"growth": 9},
            "declared-not-visible",
        ),
        (
            declared("parameters", "decoupled_weight_decay", 0.01, "torch.AdamW", ""),
            {"growth": 9},
            "declared-cannot-tell",
        ),
        (
            declared("parameters", "weight_decay", 5e-4, "torch.SGD", "param group 0: fc1"),
            {"growth": 0.1},
            "declared-agrees",
        ),
    ],
    ids=[
        "shrunk",
        "less-grown-than-the-free",
        "grown",
        "too-weak-to-show",
        "fits-both",
        "scale-free",
        "l1-shows",
        "l1-not",
        "activity",
        "norm-scale",
        "bias",
        "bias-dominant",
        "no-such-layer",
        "adamw-strong",
        "adamw-weak",
        "sgd-group",
    ],
)
def test_declared_against_observed(entry, given, expected, verdict):
    effect = verdict(entry, **given)
    assert effect.effect == expected
    assert effect.evidence[0].measure.startswith("declared.")
    assert f"{entry.value:g}" in effect.text


@pytest.mark.parametrize("value", [0.0, None, float("nan"), float("inf"), -1.0])
def test_what_is_no_penalty_is_not_compared(value, make_layer, make_audit):
    assert see(make_audit(make_layer(), declared=(declared(value=value),))) == ()


def test_a_declared_penalty_that_shows_is_detected(make_layer, make_audit):
    layer = make_layer(values={"kernel.growth": 0.1, "kernel.excess_kurtosis": 0.5})
    audit = make_audit(layer, declared=(declared("parameters", "weight_decay", 0.02, "torch.SGD", ""),))
    found = detect(make_audit(layer, declared=audit.declared, effects=see(audit)))
    assert (found.site, found.norm, found.strength, found.basis) == (Site.KERNEL, Norm.L2, 0.01, "declared")


@pytest.fixture
def detected(make_layer, make_audit):
    def of(*shares, tensors=("weight",), **values):
        layers = [
            make_layer(
                f"fc{i}", values={"kernel.zero_fraction": z, "kernel.l1_norm": 1.0, "kernel.fro_norm": 1.0, **values}
            )
            for i, z in enumerate(shares)
        ]
        return detect(make_audit(*layers, effects=see(make_audit(*layers))))

    return of


def test_scattered_zeros_are_l1_or_pruning(detected):
    found = detected(0.3, 0.6)
    assert (found.site, found.norm, found.strength) == (Site.KERNEL, Norm.L1, None)
    assert "pruning" in found.rationale[0]
    assert found.confidence <= 0.4


def test_equal_shares_of_zeros_speak_for_pruning(detected):
    assert detected(0.5, 0.5).confidence < detected(0.3, 0.6).confidence


@pytest.mark.parametrize(
    ("shares", "values"),
    [((0.0, 0.0), {}), ((0.3, 0.0, 0.0), {}), ((0.5, 0.5), {"kernel.two_of_four_fraction": 1.0})],
    ids=["dense", "one-of-three", "two-of-four"],
)
def test_without_evidence_nothing_is_detected(shares, values, detected):
    assert detected(*shares, **values) is None
