"""scale-free: a normalization takes the kernel's output, so that f(cW) = f(W).

Decay on such a kernel acts on the effective learning rate, not on the capacity of the function (van Laarhoven 2017,
arXiv:1706.05350; Kosson et al. 2024, arXiv:2305.17212). A fact of the network, told so that its norm is not misread.
"""

from __future__ import annotations

from regaudit.effects.base import Detector, Subject, each_layer, scale_text
from regaudit.records import Effect, Evidence, Site

SURE = 0.9  # times the certainty of the role; the graph may hold what names don't show


def _see(subject: Subject) -> Effect | None:
    growth = subject.values.get("kernel.growth")
    if not subject.has_own_kernel or subject.has_own_scale or growth is None:
        return None
    return subject.effect(
        "scale-free",
        SURE,
        f"Layer {subject.audit.layer.followed_by} normalizes the output, so the kernel's scale (now {scale_text(growth)} times the assumed "
        "initialisation) cancels: decay here sets the effective learning rate, not the capacity.",
        evidence=(
            Evidence(measure="kernel.growth", value=growth, text="a scale that the function does not depend on"),
        ),
    )


SCALE_FREE = Detector(
    effect="scale-free",
    target=Site.KERNEL,
    summary="A normalization cancels the kernel's scale.",
    see=each_layer(_see),
)
