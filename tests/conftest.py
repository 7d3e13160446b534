"""Fixtures for all tests: hand-made audits that show every part of a report, and golden files."""

import os
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import settings

from regaudit.checkpoints.limits import applied
from regaudit.records import (
    Action,
    Alternative,
    Audit,
    Axis,
    Confidence,
    Coverage,
    Declared,
    Detected,
    Effect,
    Evidence,
    Finding,
    Input,
    Layer,
    LayerAudit,
    LayerHint,
    Measurement,
    Norm,
    Parameter,
    ProbeRun,
    Reason,
    Recommendation,
    Remark,
    Response,
    Role,
    Severity,
    Site,
    Skip,
    Stationarity,
    Tensor,
    TensorSkip,
    TensorStatistics,
    Use,
    Verdict,
)
from regaudit.reports import Problem, Report

# Before the first test imports numpy: on a busy machine two threads of BLAS wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
settings.register_profile("regaudit", deadline=None)  # no test depends on timing
settings.load_profile("regaudit")

GOLDEN = Path(__file__).parent / "golden"
HOSTILE = "a\x1b[31mred[/foo][bold]<script>\nx\u202ey\u200b\ud800" + "z" * 300


def pytest_addoption(parser):
    parser.addoption("--update-golden", action="store_true", help="rewrite the golden files, then review the diff")


@pytest.fixture
def golden(request):
    """Compare bytes with a golden file, or rewrite it with --update-golden."""

    def compare(name, content):
        path = GOLDEN / name
        if request.config.getoption("--update-golden"):
            path.write_bytes(content)
        assert path.exists(), f"{name} is missing: pytest --update-golden"
        assert content.decode() == path.read_bytes().decode(), f"{name}: pytest --update-golden, then review"

    return compare


@pytest.fixture
def reports():
    """Every kind of report, by name."""
    healthy = transformer()
    broken = replace(healthy, findings=FINDINGS)
    failed = Verdict(passed=False, fail_on="error", reasons=("1 error: nonfinite-values in head",), exit_code=1)
    passed = Verdict(passed=True, fail_on="error", reasons=(), exit_code=0)
    packed = TensorSkip(tensor="head.qweight", reason="packed 4-bit integers are no numbers", blocking=True)
    partial = replace(healthy, coverage=replace(healthy.coverage, skipped=(*healthy.coverage.skipped, packed)))
    unread = Problem(path="model.pt", problem="the file is empty", fix="Fetch it again.")
    return {
        "healthy": Report(audit=healthy),
        "probed": Report(audit=probed(healthy)),
        "passed": Report(audit=healthy, verdict=passed),
        "failed": Report(audit=broken, verdict=failed),
        "incomplete": Report(audit=partial),
        "unread": Report(audit=Audit(inputs=(), coverage=Coverage(tensors=0, measured=0)), problems=(unread,)),
        "hostile": Report(audit=hostile(healthy)),
        "empty": Report(audit=Audit(inputs=(), coverage=Coverage(tensors=0, measured=0))),
    }


def transformer():
    """Return the audit of a small model with an embedding, six repeated blocks and a head."""
    blocks = tuple(
        each
        for i in range(6)
        for each in (
            kernel_layer(f"encoder.layer.{i}.attention.self.query", Role.ATTENTION, (384, 384), growth=0.98 + i / 25),
            kernel_layer(f"encoder.layer.{i}.intermediate.dense", Role.DENSE, (1536, 384), growth=1.31, zeros=0.9),
            norm_layer(f"encoder.layer.{i}.output.LayerNorm"),
        )
    )
    table = kernel_layer("embeddings.word_embeddings", Role.EMBEDDING, (30522, 384), growth=2.2, bias=None)
    head = kernel_layer("head", Role.DENSE, (10, 384), growth=0.4)
    layers = (table, *blocks, head)
    ids = TensorSkip(tensor="embeddings.position_ids", reason="counts positions: no weights", blocking=False)
    return Audit(
        inputs=(Input(path="model.safetensors", format="safetensors", bytes=90_868_376, tensors=33, parameters=22_713_216),),
        coverage=Coverage(tensors=33, measured=32, skipped=(ids,)),
        duration_s=1.25,
        declared=DECLARED,
        remarks=(Remark(kind="optimizer-state", where="model.pt", text="The file carries 12 tensors of an optimizer."),),
        layers=layers,
        tensors=(
            statistics("head.weight", (10, 384), Role.DENSE, "head"),
            statistics("embeddings.position_ids", (1, 512), Role.BUFFER, "", dtype="I64"),
            replace(statistics("empty", (0, 4), Role.UNKNOWN, ""), minimum=None, maximum=None),
        ),
        model=(Measurement(layer="", measure="model.parameters", value=22_713_216.0),),
        effects=effects(layers),
        detected=Detected(
            site=Site.KERNEL, norm=Norm.L2, strength=0.01, strength_low=0.003, strength_high=0.03, confidence=0.8,
            basis="declared", rationale=("The file declares it on 12 layers, and 10 of them have shrunk.",),
        ),
        findings=FINDINGS[2:],
        recommendation=RECOMMENDATION,
    )  # fmt: skip


def probed(audit):
    """Return the audit with what probes add: a run, estimates of the model and of each layer, skips, predictions."""
    activity = {"activity.rms": 0.8, "activity.zero_fraction": 0.5, "activity.dead_fraction": 0.125, "bias.share": 0.03}
    layers = tuple(
        replace(
            each,
            measurements=(
                *each.measurements,
                *(Measurement(layer=each.layer.name, measure=m, value=v) for m, v in activity.items()),
            ),
        )
        if each.layer.role is Role.DENSE
        else each
        for each in audit.layers
    )
    estimates = {
        "model.jacobian_fro_norm": {"value": 4.73, "se": 0.32, "detail": "64 draws"},
        "model.local_lipschitz": {"value": 19.6, "low": 18.0, "high": 21.5},
        "model.noise_slope": {"value": 1.0, "se": 1e-9},
        "input.ignored_fraction": {"value": 0.05, "detail": "x[3, 17]"},
        "input.sensitivity_share_90": {"value": 0.28},
    }
    return replace(
        audit,
        evidence="labels",
        layers=layers,
        model=(*audit.model, *(Measurement(layer="", measure=m, **e) for m, e in estimates.items())),
        model_skips=(Skip(layer="", measure="gradients", reason="needs gradients, which the runner onnxruntime does not give"),),
        probe=ProbeRun(
            runner="onnxruntime", model="model.onnx", data="train.npz", examples=1024, val="val.npz", val_examples=256,
            loss="cross_entropy", device="cpu", notes=("Memory was short: the model ran on 32 examples at once.",),
        ),
        responses=(
            Response(
                site=Site.KERNEL, norm=Norm.L1, strength=3e-4, estimand="retrain", loss=1.1, gain=0.17, gain_se=0.03,
                zero_fraction=0.4, method="local-quadratic",
            ),
            Response(site=Site.NONE, norm=None, strength=0.0, estimand="resume", loss=1.27, gain=0.0, gain_se=0.0),
        ),
        stationarity=(
            Stationarity(site=Site.BIAS, norm=Norm.L2, strength=-1e-3, se=2e-3, fit=0.4, statistics={"noise_fit": 0.2}),
        ),
    )  # fmt: skip


def hostile(audit):
    """Return the audit with terminal commands, markup and worse in every text that a file can choose."""
    skip = TensorSkip(tensor=HOSTILE, reason=HOSTILE, blocking=False)
    layer = audit.layers[0]
    evil = replace(
        layer,
        layer=replace(
            layer.layer, name=HOSTILE, op=HOSTILE, part=HOSTILE, evidence=(HOSTILE,), activation=HOSTILE,
            followed_by=HOSTILE, tied_to=(HOSTILE,),
            parameters=tuple(replace(each, tensors=(HOSTILE, HOSTILE), dtype=HOSTILE) for each in layer.layer.parameters),
        ),
        measurements=tuple(replace(each, detail=HOSTILE) for each in layer.measurements),
        skips=(Skip(layer=HOSTILE, measure="kernel.condition_number", reason=HOSTILE),),
    )  # fmt: skip
    statistic = audit.tensors[0]
    return replace(
        audit,
        inputs=(replace(audit.inputs[0], path=HOSTILE, format=HOSTILE),),
        coverage=Coverage(tensors=1, measured=0, skipped=(skip,)),
        declared=tuple(
            replace(each, target=HOSTILE, where=HOSTILE, note=HOSTILE, site=HOSTILE, kind=HOSTILE) for each in audit.declared
        ),
        remarks=(Remark(kind=HOSTILE, where=HOSTILE, text=HOSTILE),),
        probe=ProbeRun(
            runner=HOSTILE, model=HOSTILE, data=HOSTILE, examples=1, val=HOSTILE, loss=HOSTILE, device=HOSTILE, notes=(HOSTILE,)
        ),
        model=(Measurement(layer="", measure="input.ignored_fraction", value=0.5, detail=HOSTILE),),
        model_skips=(Skip(layer="", measure="gradients", reason=HOSTILE),),
        layers=(evil, *audit.layers[1:]),
        tensors=(
            replace(
                statistic, layer=HOSTILE,
                tensor=replace(statistic.tensor, name=HOSTILE, dtype=HOSTILE, shares=HOSTILE, source=HOSTILE),
            ),
        ),
        effects=tuple(replace(each, layer=HOSTILE, text=HOSTILE) for each in audit.effects),
        findings=tuple(replace(each, layer=HOSTILE, tensor=HOSTILE, message=HOSTILE) for each in FINDINGS),
        recommendation=replace(
            RECOMMENDATION,
            rationale=(Reason(text=HOSTILE),),
            layers=(LayerHint(layers=(HOSTILE,), advice=HOSTILE, reason=HOSTILE),),
            apply={"keras": HOSTILE, "pytorch": HOSTILE},
            next_step=HOSTILE,
        ),
    )  # fmt: skip


def kernel_layer(name, role, shape, *, growth, zeros=0.0, bias=0.03):
    """Return a layer with a kernel, and a bias where its size is given."""
    values = {"kernel.fro_norm": 12.5, "kernel.growth": growth, "kernel.zero_fraction": zeros}
    values |= {"kernel.stable_rank_ratio": 1 / 3, "kernel.dead_out_count": 3.0}
    if bias is not None:
        values["bias.to_kernel_median"] = bias
    details = {"kernel.dead_out_count": "units 3, 17, 40"}
    parameters = [parameter(Use.KERNEL, f"{name}.weight", shape, (Axis.OUT, Axis.IN))]
    if bias is not None:
        parameters.append(parameter(Use.BIAS, f"{name}.bias", shape[:1], (Axis.OUT,)))
    return LayerAudit(
        layer=Layer(name=name, role=role, op="Linear", parameters=tuple(parameters), evidence=("2-d weight and bias",)),
        measurements=tuple(
            Measurement(layer=name, measure=measure, value=value, detail=details.get(measure, ""))
            for measure, value in values.items()
        ),
        skips=(Skip(layer=name, measure="kernel.condition_number", reason="above 1e7: the Gram matrix cannot tell"),),
    )


def norm_layer(name):
    """Return a normalization with a scale."""
    return LayerAudit(
        layer=Layer(
            name=name, role=Role.NORM, parameters=(parameter(Use.SCALE, f"{name}.weight", (384,), (Axis.OUT,)),)
        ),
        measurements=(Measurement(layer=name, measure="scale.mean", value=0.87),),
    )


def parameter(use, tensor, shape, axes):
    """Return a parameter whose values nobody reads."""
    return Parameter(use=use, tensors=(tensor,), dtype="F32", shape=shape, axes=axes, load=lambda _start, _stop: None)


def statistics(name, shape, role, layer, dtype="F32"):
    """Return what --tensors shows of a tensor."""
    tensor = Tensor(name=name, shape=shape, dtype=dtype, nbytes=4, source="model.safetensors")
    return TensorStatistics(
        tensor=tensor, role=role, layer=layer, sum=-26.318317011, fro_norm=11.0283341683, minimum=-0.43,
        maximum=1 / 3, zeros=0, nonfinite=0,
    )  # fmt: skip


def effects(layers):
    """Return an effect on every repeated dense kernel, and one of the whole model."""
    sparse = tuple(
        Effect(
            layer=each.layer.name, target=Site.KERNEL, effect="sparse", confidence=0.72,
            text="90% of the kernel's weights are exactly 0.",
            evidence=(Evidence(measure="kernel.zero_fraction", value=0.9, expected=0.0, text="under any smooth prior"),),
            against=(Evidence(measure="kernel.dead_out_count", value=3.0, text="pruning leaves zeros too"),),
        )
        for each in layers
        if "intermediate" in each.layer.name
    )  # fmt: skip
    return (
        *sparse,
        Effect(layer="", target=Site.KERNEL, effect="untouched", confidence=0.3, text="Kernels look as initialised."),
    )


DECLARED = (
    Declared(target="", site="inputs", kind="dropout", value=0.1, where="config.json: hidden_dropout_prob"),
    Declared(target="head", site="kernel", kind="l2", value=0.01, where="model.keras: kernel_regularizer", unit="keras"),
    Declared(target="pooler", site="kernel", kind="l2", value=0.01, where="model.keras: kernel_regularizer", unit="keras"),
    Declared(
        target="param group 0", site="parameters", kind="weight_decay", value=5e-4, where="model.pt: optimizer",
        unit="torch.SGD", note="lr 0.1, momentum 0.9",
    ),
    Declared(
        target="param group 1", site="parameters", kind="decoupled_weight_decay", value=0.1,
        where="model.pt: optimizer", unit="torch.AdamW",
    ),
)  # fmt: skip

FINDINGS = (
    Finding(
        rule="RGA101", name="nonfinite-values", severity=Severity.ERROR, confidence=Confidence.HIGH, layer="head",
        message="3 of 3,840 weights are NaN or infinite.", metric="kernel.nonfinite_count", value=3.0, op=">",
        threshold=0.0, fingerprint="rga1:0",
    ),
    Finding(
        rule="RGA104", name="dead-units", severity=Severity.WARN, confidence=Confidence.MEDIUM,
        layer="encoder.layer.3.intermediate.dense", message="768 of 1,536 units have kernels of norm 0.",
        metric="kernel.dead_out_fraction", value=0.5, op=">=", threshold=0.05, fingerprint="rga1:1",
    ),
    Finding(
        rule="RGA802", name="optimizer-state", severity=Severity.INFO, confidence=Confidence.HIGH,
        tensor="optimizer.state.0.exp_avg", message="The file carries 12 tensors of an optimizer.", fingerprint="rga1:2",
    ),
)  # fmt: skip

RECOMMENDATION = Recommendation(
    action=Action.KEEP,
    estimand="retrain",
    objective="validation loss",
    site=Site.KERNEL,
    norm=Norm.L2,
    strength=0.01,
    strength_low=2.5e-4,
    strength_high=0.03,
    basis="default",
    confidence=0.3,
    rationale=(
        Reason(text="The kernels' rms is 0.98 to 1.31 times that of their initialisation.", measure="kernel.growth", value=1.31),
        Reason(text="Weights alone cannot tell whether the model overfits."),
    ),
    alternatives=(Alternative(site=Site.BIAS, norm=Norm.L2, why_not="biases are 0.03 of their kernels' norm."),),
    layers=(LayerHint(layers=("encoder.layer.0.output.LayerNorm",), advice="exclude", reason="a scale near 1 is its rest"),),
    apply={
        "keras": "kernel_regularizer=keras.regularizers.L2(0.01)",
        "pytorch": "groups = [\n    {'params': kernels, 'weight_decay': 0.02},\n]",
    },
    next_step="Validation data and a training recipe would decide.",
)  # fmt: skip


@pytest.fixture
def limit():
    """Return a function that lets another limit hold for the rest of the test: `limit("tensors", 1)`."""
    with ExitStack() as stack:
        yield lambda name, value: stack.enter_context(applied({name: value}))
