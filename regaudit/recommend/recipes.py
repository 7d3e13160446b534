"""The field's default strengths by kind of model, each with its source: the prior where nothing better is known.

All are penalties on kernels. The range is that of good values in practice; the right one falls as 1/N with the number N of
training examples, which a file does not show.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from regaudit.records import Role

if TYPE_CHECKING:
    from regaudit.effects.base import Subject

# Up to here a network is small: the constant was measured on networks of up to 3,000 weights, Keras' examples that use
# it have up to about 100,000; with millions of weights (and then examples) 0.01 is far above practice.
SMALL_UP_TO = 100_000
# Beyond this attention and recurrence follow their own practice: on an LSTM of 78,000 weights 0.01 adds 24 to the loss.
MEASURED_UP_TO = 3_000

# AdamW's weight_decay: BERT 0.01 (google-research/bert, optimization.py); nanoGPT, Pythia, OLMo 0.1 (their configurations).
ADAMW_LOW = 0.01
ADAMW_HIGH = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The default for one kind of model.

    Args:
        kind: In words, with its article.
        strength: λ of kernel L2 in Keras' unit.
        low: Of the range of good values.
        high: And its end.
        confidence: That kernel L2 of about this strength helps; never above 0.35, for nothing was measured on this task.
        why: Where the strength comes from; a whole sentence.
        value: The number that `why` carries.
        uses_adamw: Models of this kind are trained with AdamW, so decoupled decay is what to apply.
    """

    kind: str
    strength: float
    low: float
    high: float
    confidence: float
    why: str
    value: float
    uses_adamw: bool = False


# 30 small networks, 37 penalties each, retrained three times: regret 0.44 (0 = the best penalty, 1 = no better than none)
# against 0.86 of no penalty; 47 % had a kernel L2 as their best penalty, and 0.01 made 23 % worse by over 2 %.
SMALL = Recipe(
    kind="a small network",
    strength=0.01,
    low=1e-3,
    high=0.1,
    confidence=0.35,
    why="0.01 is Keras' own L2() and was the best constant on 30 small networks that were retrained under 37 penalties: "
    "regret 0.44, against 0.86 of no penalty (0 is the best penalty for each).",
    value=0.44,
)
CONVOLUTIONAL = Recipe(
    kind="a convolutional network",
    strength=1e-4,
    low=1e-5,
    high=1e-3,
    confidence=0.3,
    # kuangliu/pytorch-cifar: SGD 5e-4; torchvision: ResNet 1e-4, MobileNetV2 4e-5; nnU-Net 3e-5. λ is half of these.
    why="Convolutional networks use torch weight decay 5e-4 (CIFAR), 1e-4 (ImageNet) or 4e-5 (MobileNetV2), half of that in "
    "Keras' unit; 1e-4 lies between.",
    value=1e-4,
)
TRANSFORMER = Recipe(
    kind="a transformer",
    # Matches AdamW's 0.01 to 0.1 at learning rate 1e-4 in decay a step, if SGD runs at 0.1: λ = lr·wd/(2·lr_SGD).
    strength=1e-5,
    low=1e-6,
    high=1e-4,
    confidence=0.3,
    why="Transformers use AdamW with weight_decay 0.01 (BERT) to 0.1 (GPT-like). That is no L2 penalty: 1e-5 only decays as "
    "fast under SGD at learning rate 0.1 as they do under AdamW at 0.0001. Prefer AdamW.",
    value=ADAMW_HIGH,
    uses_adamw=True,
)
RECURRENT = Recipe(
    kind="a recurrent network",
    strength=6e-7,
    low=1e-7,
    high=1e-5,
    confidence=0.2,
    why="AWD-LSTM language models use torch weight decay 1.2e-6, 6e-7 in Keras' unit, beside penalties on the activity.",
    value=1.2e-6,
)
DENSE = Recipe(
    kind="a large dense network",
    strength=1e-4,
    low=1e-6,
    high=1e-2,
    confidence=0.2,
    why="Large dense networks have no agreed default: 0.01 is right for small ones, 5e-5 to 2.5e-4 for convolutional ones, "
    "and 1e-4 lies between.",
    value=1e-4,
)

# By the largest role; attention anywhere makes a transformer, for its dense layers outweigh the attention.
_BY_ROLE = {
    Role.CONV: CONVOLUTIONAL,
    Role.DEPTHWISE: CONVOLUTIONAL,
    Role.CONV_TRANSPOSE: CONVOLUTIONAL,
    Role.RECURRENT: RECURRENT,
}


def recipe_for(kernels: tuple[Subject, ...]) -> Recipe:
    """Return the default for a model with these kernels.

    Small networks share one default (with attention or recurrence only very small ones); of the others attention makes
    a transformer, then the larger of convolution and recurrence decides, then dense.

    Args:
        kernels: The layers whose kernel a penalty may act on.

    Returns:
        The recipe.

    Source: measured (small networks); the configurations named with each recipe.
    """
    is_dense = not any(s.role in {Role.ATTENTION, Role.RECURRENT} for s in kernels)
    if sum(s.size for s in kernels) <= (SMALL_UP_TO if is_dense else MEASURED_UP_TO):
        return SMALL
    if any(s.role is Role.ATTENTION for s in kernels):
        return TRANSFORMER
    sizes = {Role.CONV: 0, Role.RECURRENT: 0}
    for s in kernels:
        recipe = _BY_ROLE.get(s.role)
        if recipe:
            sizes[Role.RECURRENT if recipe is RECURRENT else Role.CONV] += s.size
    largest = max(sizes, key=lambda role: sizes[role])
    return _BY_ROLE[largest] if sizes[largest] else DENSE
