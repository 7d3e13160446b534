"""A kernel has a checkerboard in it.

Why:
    Neighbouring units that take the same inputs with opposite signs cancel each other in the next layer.

How:
    kernel.alternation, the cosine of each row with the negative of the next one, is 0.9 or more in the mean.

Fix:
    Look at how the layer was initialised; train it again.

Silent on:
    Kernels of one unit.

Example:
    Neighbouring units of fc1 are opposites (0.98).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from regaudit.checkpoints.base import Candidate, Checkpoint, Format
from regaudit.measures.base import Measure, NotMeasurable
from regaudit.records import Confidence, Role, Severity, Tensor
from regaudit.reports.base import Report, Reporter
from regaudit.rules.base import Rule, Threshold

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regaudit.measures.subject import Subject
    from regaudit.records import Array, Audit, Finding


# A measure: a number of one parameter of a layer, which its name begins with.
def alternation(subject: Subject) -> float:
    parameter = subject.parameter
    if len(parameter.shape) != 2 or parameter.shape[0] < 2:
        raise NotMeasurable("needs a matrix with two units or more")
    rows = parameter.load(0, parameter.shape[0]).astype(np.float64)
    norms = np.linalg.norm(rows, axis=1)
    if not norms.all():
        raise NotMeasurable("a unit has no weights")
    rows /= norms[:, None]
    return float(-np.mean(np.sum(rows[1:] * rows[:-1], axis=1)))


ALTERNATION = Measure(
    name="kernel.alternation",
    formula="-mean of cos(w_j, w_j+1)",
    range="[-1, 1]",
    tells="1 where every unit is the opposite of the one before it.",
    not_for=frozenset({Role.EMBEDDING, Role.POSITIONAL}),
    function=alternation,
)


# A rule: the audit in, findings out. Its page is a docstring, here that of the module.
LEAST = Threshold("alternation", "mean cosine of opposites", 0.9, "", "choice: random rows give 0")


def check(audit: Audit) -> Iterator[Finding]:
    for each in audit.layers:
        value = each.value("kernel.alternation")
        if value is not None and value >= LEAST.value:
            yield RULE.finding(
                f"Neighbouring units of {each.layer.name} are opposites ({value:.2f}).",
                layer=each.layer.name,
                metric="kernel.alternation",
                value=value,
                op=">=",
                threshold=LEAST.value,
            )


RULE = Rule(
    code="ACME101",
    name="kernel-checkerboard",
    page=__doc__ or "",
    severity=Severity.WARN,
    confidence=Confidence.MEDIUM,
    thresholds=(LEAST,),
    check=check,
    since="1.2.0",
)


# A format: ACME1, then a line for each tensor: its name, its shape, a colon, its values.
MAGIC = b"ACME1\n"


def open_text(candidate: Candidate) -> Checkpoint:
    arrays: dict[str, Array] = {}
    for line in candidate.path.read_text(encoding="ascii").splitlines()[1:]:
        head, _, values = line.partition(":")
        name, *shape = head.split()
        arrays[name] = np.array(values.split(), np.float32).reshape([int(n) for n in shape])
    return Checkpoint(
        path=str(candidate.path),
        format="ACME text",
        nbytes=candidate.size,
        tensors=tuple(
            Tensor(name=name, shape=array.shape, dtype="F32", nbytes=array.nbytes, source=candidate.path.name)
            for name, array in arrays.items()
        ),
        read=lambda tensor, start, stop: arrays[tensor.name].reshape(-1)[start:stop].copy(),
    )


FORMAT = Format(name="acme-text", claims=lambda candidate: candidate.head.startswith(MAGIC), open=open_text)


# A report: everything known in, text out.
def render(report: Report) -> str:
    lines = [f"{each.severity} {each.rule} {each.layer}" for each in report.audit.findings]
    return "\n".join([f"{report.name}: exit code {report.exit_code}", *lines, ""])


REPORTER = Reporter(name="acme", suffixes=(".acme-report",), render=render)
