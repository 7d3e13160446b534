"""A saved JSON report, version 1, as the report that it was: to render it again, judge it again, compare it.

What JSON does not have (the arrays themselves, the graph) stays behind; `render(read(render(report)))` is the same bytes.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from regaudit.errors import CorruptCheckpoint
from regaudit.records import (
    Action,
    Agreement,
    Alternative,
    Audit,
    Axis,
    Confidence,
    Coverage,
    Declared,
    Detected,
    Effect,
    Evidence,
    Exposure,
    Finding,
    Input,
    Layer,
    LayerAudit,
    LayerHint,
    Measurement,
    Norm,
    Parameter,
    ProbeRun,
    Profile,
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
from regaudit.reports import explanation_fields, trial_fields
from regaudit.reports.anchor import Anchor
from regaudit.reports.base import Problem, Report
from regaudit.reports.fields import FIX, Fields
from regaudit.reports.several import gather

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regaudit.records import Array


def read(raw: bytes, file: str) -> Report:
    """Return the report that a JSON document of version 1 holds, of one or several inputs.

    Args:
        raw: The document.
        file: Its path, for errors.

    Raises:
        CorruptCheckpoint: It is no such document; the message names the first field that is wrong.
    """
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise CorruptCheckpoint(file, f"no report of regaudit: no JSON ({error})", FIX) from error
    if not isinstance(document, dict) or "schema_version" not in document:
        raise CorruptCheckpoint(file, "no report of regaudit: it has no schema_version", FIX)
    if str(document["schema_version"]).partition(".")[0] != "1":
        problem = f"a report of version {document['schema_version']}; this regaudit reads version 1"
        raise CorruptCheckpoint(file, problem, "Use the regaudit that wrote it.")
    return _report(Fields(document, file))


def _report(f: Fields) -> Report:
    parts = tuple(_report(each) for each in f.parts("reports"))
    if parts:
        whole = gather(parts)  # a sum of rounded times is not the rounded sum
        return replace(whole, audit=replace(whole.audit, duration_s=f.part("run").number("duration_s")))
    problems = tuple(
        Problem(path=each.text("path"), problem=each.text("problem"), fix=each.text("fix"))
        for each in f.parts("errors")
    )
    anchor = f.maybe_part("anchor")
    return Report(
        audit=_audit(f),
        verdict=_verdict(f),
        problems=problems,
        anchor=Anchor(path=anchor.text("path"), line=anchor.count("line")) if anchor else None,
        written_by=f.part("tool").text("version"),
    )


def _audit(f: Fields) -> Audit:
    run, model, coverage = f.part("run"), f.part("model"), f.part("coverage")
    return Audit(
        inputs=tuple(_input(each) for each in f.parts("inputs")),
        coverage=Coverage(
            tensors=coverage.count("tensors"),
            measured=coverage.count("measured"),
            skipped=tuple(_tensor_skip(each) for each in coverage.parts("skipped")),
        ),
        evidence=run.text("evidence"),
        seed=run.count("seed"),
        duration_s=run.number("duration_s"),
        objective=run.text("objective", "accuracy"),
        declared=tuple(_declared(each) for each in f.parts("declared")),
        remarks=tuple(
            Remark(kind=each.text("kind"), where=each.text("where"), text=each.text("text"))
            for each in f.parts("remarks")
        ),
        layers=tuple(_layer(each) for each in f.parts("layers")),
        tensors=tuple(_tensor(each) for each in f.parts("tensors")),
        model=tuple(_measurements(model, "")),
        model_skips=tuple(_skips(model, "")),
        probe=_probe(f.maybe_part("probe")),
        responses=tuple(_response(each) for each in f.parts("responses")),
        trial=trial_fields.read(f.maybe_part("trial")),
        stationarity=tuple(_stationarity(each) for each in f.parts("stationarity")),
        explanations=tuple(explanation_fields.read(each) for each in f.parts("explanation")),
        effects=tuple(_effect(each) for each in f.parts("effects")),
        detected=_detected(f.maybe_part("detected")),
        findings=tuple(_finding(each) for each in f.parts("findings")),
        recommendation=_recommendation(f.maybe_part("recommendation")),
    )


def _input(f: Fields) -> Input:
    return Input(
        path=f.text("path"),
        format=f.text("format"),
        bytes=f.count("bytes"),
        tensors=f.count("tensors"),
        parameters=f.count("parameters"),
    )


def _tensor_skip(f: Fields) -> TensorSkip:
    return TensorSkip(tensor=f.text("tensor"), reason=f.text("reason"), blocking=f.flag("blocking"))


def _declared(f: Fields) -> Declared:
    return Declared(
        target=f.text("target"),
        site=f.text("site"),
        kind=f.text("kind"),
        value=f.maybe("value"),
        where=f.text("where"),
        unit=f.text("unit"),
        note=f.text("note"),
        learning_rate=f.maybe("learning_rate"),
    )


def _layer(f: Fields) -> LayerAudit:
    name = f.text("name")
    layer = Layer(
        name=name,
        role=f.word("role", Role),
        op=f.text("op"),
        parameters=tuple(_parameter(each) for each in f.parts("arrays")),
        evidence=f.texts("evidence"),
        confidence=f.word("confidence", Confidence),
        part=f.text("part"),
        activation=f.text("activation"),
        followed_by=f.text("followed_by"),
        is_output=f.flag("is_output"),
        tied_to=f.texts("tied_to"),
    )
    return LayerAudit(
        layer=layer,
        measurements=tuple(_measurements(f, name)),
        skips=tuple(_skips(f, name)),
        profile=_profile(f.maybe_part("profile")),
    )


def _profile(f: Fields | None) -> Profile | None:
    if f is None:
        return None
    return Profile(
        counts=f.counts("counts"),
        reach=f.number("reach"),
        ranks=f.counts("ranks"),
        singular_values=f.numbers("singular_values"),
    )


def _parameter(f: Fields) -> Parameter:
    return Parameter(
        use=f.word("use", Use),
        tensors=f.texts("tensors"),
        dtype=f.text("dtype"),
        shape=f.counts("shape"),
        axes=f.words("axes", Axis),
        load=_no_weights,
    )


def _no_weights(start: int, stop: int) -> Array:
    """Refuse to read.

    Raises:
        ValueError: Always.
    """
    raise ValueError(f"rows {start} to {stop} of a report, which has no weights")


def _measurements(f: Fields, layer: str) -> Iterator[Measurement]:
    details, intervals = f.part("details"), f.part("intervals")
    for measure, value in f.named_numbers("measurements").items():
        interval = intervals.maybe_part(measure)
        bounds = {key: interval.maybe(key) for key in ("se", "low", "high")} if interval else {}
        detail = details.text(measure, "")
        yield Measurement(layer=layer, measure=measure, value=value, detail=detail, **bounds)


def _skips(f: Fields, layer: str) -> Iterator[Skip]:
    for each in f.parts("skips"):
        yield Skip(layer=layer, measure=each.text("measure"), reason=each.text("reason"))


def _tensor(f: Fields) -> TensorStatistics:
    tensor = Tensor(
        name=f.text("name"),
        shape=f.counts("shape"),
        dtype=f.text("dtype"),
        nbytes=f.count("bytes"),
        source=f.text("source"),
        shares=f.text("shares"),
    )
    return TensorStatistics(
        tensor=tensor,
        role=f.word("role", Role),
        layer=f.text("layer"),
        sum=f.number("sum"),
        fro_norm=f.number("fro_norm"),
        minimum=f.maybe("min"),
        maximum=f.maybe("max"),
        zeros=round((f.maybe("zero_fraction") or 0.0) * tensor.size),
        nonfinite=f.count("nonfinite"),
    )


def _probe(f: Fields | None) -> ProbeRun | None:
    if f is None:
        return None
    return ProbeRun(
        runner=f.text("runner"),
        model=f.text("model"),
        data=f.text("data"),
        examples=f.count("examples"),
        val=f.text("val"),
        val_examples=f.count("val_examples"),
        loss=f.text("loss"),
        device=f.text("device"),
        ran_code=f.flag("ran_code"),
        notes=f.texts("notes"),
    )


def _response(f: Fields) -> Response:
    return Response(
        site=f.word("site", Site),
        norm=f.maybe_word("norm", Norm),
        strength=f.number("strength"),
        estimand=f.text("estimand"),
        loss=f.number("loss"),
        gain=f.number("gain"),
        gain_se=f.number("gain_se"),
        behind=f.number("behind"),
        behind_se=f.number("behind_se"),
        zero_fraction=f.maybe("zero_fraction"),
        shrinkage=f.maybe("shrinkage"),
        sensitivity=f.maybe("sensitivity"),
        method=f.text("method"),
        layer=f.text("layer", ""),
        dropped_inputs=f.counts("dropped_inputs") if "dropped_inputs" in f.content else (),
        strength_l2=f.maybe("strength_l2"),
    )


def _stationarity(f: Fields) -> Stationarity:
    return Stationarity(
        site=f.word("site", Site),
        norm=f.word("norm", Norm),
        strength=f.number("strength"),
        se=f.number("se"),
        fit=f.number("fit"),
        statistics=f.named_numbers("statistics"),
    )


def _effect(f: Fields) -> Effect:
    return Effect(
        layer=f.text("layer"),
        target=f.word("target", Site),
        effect=f.text("effect"),
        confidence=f.number("confidence"),
        text=f.text("text"),
        evidence=tuple(_evidence(each) for each in f.parts("evidence")),
        against=tuple(_evidence(each) for each in f.parts("against")),
    )


def _evidence(f: Fields) -> Evidence:
    return Evidence(
        measure=f.text("measure"), value=f.number("value"), expected=f.maybe("expected"), text=f.text("text")
    )


def _detected(f: Fields | None) -> Detected | None:
    if f is None:
        return None
    exposure = f.maybe_part("exposure")
    return Detected(
        site=f.word("site", Site),
        norm=f.maybe_word("norm", Norm),
        strength=f.maybe("strength"),
        strength_low=f.maybe("strength_low"),
        strength_high=f.maybe("strength_high"),
        confidence=f.number("confidence"),
        basis=f.text("basis"),
        rationale=f.texts("rationale"),
        rung=f.text("rung"),
        contradictions=f.texts("contradictions"),
        exposure=_exposure(exposure) if exposure else None,
        coupling=f.text("coupling"),
        agreement=f.maybe_word("agreement", Agreement),
    )


def _exposure(f: Fields) -> Exposure:
    return Exposure(value=f.number("value"), low=f.number("low"), high=f.number("high"), layers=f.texts("layers"))


def _finding(f: Fields) -> Finding:
    evidence = f.part("evidence")
    return Finding(
        rule=f.text("rule"),
        name=f.text("name"),
        severity=f.word("severity", Severity),
        confidence=f.word("confidence", Confidence),
        message=f.text("message"),
        layer=f.text("layer"),
        tensor=f.text("tensor"),
        metric=evidence.text("metric"),
        value=evidence.maybe("value"),
        op=evidence.text("op"),
        threshold=evidence.maybe("threshold"),
        fingerprint=f.text("fingerprint"),
        status=f.text("status"),
        note=f.text("note", ""),
    )


def _recommendation(f: Fields | None) -> Recommendation | None:
    if f is None:
        return None
    gain, snippets = f.maybe_part("expected_gain"), f.part("apply")
    return Recommendation(
        action=f.word("action", Action),
        estimand=f.text("estimand"),
        objective=f.text("objective"),
        site=f.word("site", Site),
        norm=f.maybe_word("norm", Norm),
        strength=f.maybe("strength"),
        strength_low=f.maybe("strength_low"),
        strength_high=f.maybe("strength_high"),
        basis=f.text("basis"),
        confidence=f.number("confidence"),
        rationale=tuple(
            Reason(text=each.text("text"), measure=each.text("measure"), value=each.maybe("value"))
            for each in f.parts("rationale")
        ),
        alternatives=tuple(
            Alternative(site=each.word("site", Site), norm=each.maybe_word("norm", Norm), why_not=each.text("why_not"))
            for each in f.parts("alternatives")
        ),
        layers=tuple(
            LayerHint(layers=each.texts("layers"), advice=each.text("advice"), reason=each.text("reason"))
            for each in f.parts("layers")
        ),
        apply={key: snippets.text(key) for key in snippets.content},
        next_step=f.text("next_step"),
        expected_gain=gain.number("value") if gain else None,
        expected_gain_se=gain.number("se") if gain else None,
        strength_l2=f.maybe("strength_l2"),
    )


def _verdict(f: Fields) -> Verdict | None:
    gate = f.maybe_part("gate")
    if gate is None:
        return None
    return Verdict(
        passed=gate.flag("passed"),
        fail_on=gate.text("fail_on"),
        reasons=gate.texts("reasons"),
        exit_code=f.count("exit_code"),
    )
