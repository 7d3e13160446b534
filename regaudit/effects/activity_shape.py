"""sparse-activity and outlier-channels: few outputs, or a few channels, carry what a layer gives on the probe batch.

Seen only where the model was run, and told because they are misread. Sparse outputs prove no activity penalty: trained
transformers have 3% (T5-Base) to 6% (ViT-B16) of their ReLU outputs above zero with none, and so on random labels (Li et
al. 2023, arXiv:2210.06313). Channels of a larger scale, and massive activations (above 100 and 1,000 medians), serve as
bias terms that the model needs (Sun et al. 2024, arXiv:2402.17762): an activity penalty against them has to be tried.
"""

from __future__ import annotations

from regaudit.effects.base import Detector, Subject, on_batch
from regaudit.records import Effect, Evidence, Site

SPARSE_ABOVE = 0.9  # of the outputs below 1e-3 of the rms (our choice; half are behind a ReLU at initialisation)
SPARSE_EXPECTED = 0.5
SURE_OF_SPARSE = 0.3  # as the effect of a penalty; that they are sparse is certain
OUTLIERS_BELOW = 0.05  # of the channels: more are the spread of an ordinary layer (our choice)
MASSIVE, MASSIVE_RATIO = 100.0, 1000.0  # Sun et al. 2024
SURE_OF_OUTLIERS = 0.5


def _sparse(subject: Subject) -> Effect | None:
    share = subject.values.get("activity.near_zero_fraction")
    if share is None or share < SPARSE_ABOVE or subject.audit.layer.is_output:
        return None
    return subject.effect(
        "sparse-activity",
        SURE_OF_SPARSE,
        f"{share:.1%} of the outputs are zero or next to it; that alone does not prove an activity penalty.",
        target=Site.ACTIVITY,
        evidence=(
            Evidence(
                measure="activity.near_zero_fraction",
                value=share,
                expected=SPARSE_EXPECTED,
                text="share of outputs below 0.001 of the layer's rms; expected of a ReLU at initialisation",
            ),
        ),
        against=(
            Evidence(
                measure="activity.near_zero_fraction",
                value=share,
                text="trained ReLU transformers show 0.94 to 0.97 with no activity penalty (Li et al. 2023)",
            ),
        ),
    )


def _outliers(subject: Subject) -> Effect | None:
    count = subject.values.get("activity.outlier_channels", 0.0)
    few = 1 <= count <= max(1.0, OUTLIERS_BELOW * subject.outputs)
    massive = (
        subject.values.get("activity.max_abs", 0.0) > MASSIVE
        and subject.values.get("activity.max_to_median", 0.0) > MASSIVE_RATIO
    )
    if subject.audit.layer.is_output or not subject.has_own_kernel or not (few or massive):
        return None
    measure = "activity.max_to_median" if massive else "activity.outlier_channels"
    value = subject.values[measure]
    text = (
        f"The largest output is {value:,.0f} times the median: a massive activation."
        if massive
        else f"{count:.0f} of {subject.outputs:,} channels {'has' if count == 1 else 'have'} more than 6 times the usual rms{_which(subject)}."
    )
    return subject.effect(
        "outlier-channels",
        SURE_OF_OUTLIERS,
        text,
        target=Site.ACTIVITY,
        evidence=(Evidence(measure=measure, value=value, text="channels, or single outputs, of another scale"),),
        against=(
            Evidence(
                measure=measure, value=value, text="they act as bias terms that the model needs (Sun et al. 2024)"
            ),
        ),
    )


def _which(subject: Subject) -> str:
    detail = subject.audit.detail("activity.outlier_channels")
    return f" ({detail})" if detail else ""


SPARSE_ACTIVITY = Detector(
    effect="sparse-activity",
    target=Site.ACTIVITY,
    summary="Nearly all outputs are zero or next to it; no proof of a penalty.",
    see=on_batch(_sparse),
)
OUTLIER_CHANNELS = Detector(
    effect="outlier-channels",
    target=Site.ACTIVITY,
    summary="A few channels are of another scale; they often act as bias terms.",
    see=on_batch(_outliers),
)
