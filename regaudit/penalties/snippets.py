"""The lines that apply a penalty in Keras and in PyTorch, ready to paste."""

from __future__ import annotations

from regaudit.records import Norm, Site

# Kernels: every trained array with two axes or more that is no embedding table. Norm scales and biases have one axis.
_KERNELS = """\
from torch import nn
tables = {id(p) for m in model.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
kernels = [p for p in model.parameters() if p.ndim > 1 and id(p) not in tables]
others = [p for p in model.parameters() if p.ndim <= 1 or id(p) in tables]
"""
_BIASES = """\
from torch import nn
layers = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
biases = [m.bias for m in model.modules() if isinstance(m, layers) and m.bias is not None]
"""
_PENALTIES = """\
from regaudit.penalties import Penalties, Penalty
penalty = Penalties(Penalty(site="{site}", {norm}={strength:g}))
"""
_ACTIVITY = """\
loss = loss_fn(model(x), y) + penalty(model)  # each layer's output after its activation, over the batch size"""
_PROXIMAL = """\
loss = loss_fn(model(x), y)  # a term {strength:g} * sum(|w|) would leave no exact zeros; instead,
penalty.proximal_step(model, optimizer)  # after each optimizer.step() of SGD, Adam, AdamW, NAdam or RAdam"""
_DECAY = """\
optimizer = torch.optim.Adam([  # or SGD; AdamW's weight_decay is another thing
    {{"params": kernels, "weight_decay": {decay:g}}},  # 2 x {strength:g}: torch counts half of the square
    {{"params": others, "weight_decay": 0.0}}], lr=learning_rate)"""
_ADAMW = """\
optimizer = torch.optim.AdamW([
    {{"params": kernels, "weight_decay": {decay:g}}},
    {{"params": others, "weight_decay": 0.0}}], lr=learning_rate)"""
_KERAS_ADAMW = """\
from keras import optimizers
optimizer = optimizers.AdamW(learning_rate=1e-4, weight_decay={decay:g})
optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta", "embeddings"])"""
_NO_DECAY = "optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate, weight_decay=0.0)"


def keras_lines(site: Site, norm: Norm | None, strength: float, strength_l2: float | None = None) -> str:
    """Return the Keras lines that apply a penalty.

    Args:
        site: kernel, bias or activity; none for no penalty.
        norm: L1 or L2; None for no penalty, and for both.
        strength: λ in Keras' unit; of L1 for both.
        strength_l2: λ of L2 for both.

    Returns:
        Python source; compiles as it stands.

    Source: keras.regularizers (Keras 3.15).
    """
    if site is Site.NONE or (norm is None and strength_l2 is None):
        return "# Leave out kernel_regularizer, bias_regularizer and activity_regularizer."
    regularizer = f"{norm.upper()}({strength:g})" if norm else f"L1L2(l1={strength:g}, l2={strength_l2:g})"
    where = "Dense and Conv layer; not Embedding, not normalization"
    return (
        "from keras import layers, regularizers\n"
        f"layers.Dense(64, {site}_regularizer=regularizers.{regularizer})  # every {where}"
    )


def torch_lines(site: Site, norm: Norm | None, strength: float, strength_l2: float | None = None) -> str:
    """Return the PyTorch lines that apply a penalty with the same meaning as Keras'.

    Kernel L2 goes into SGD's or Adam's `weight_decay` = 2λ; AdamW's is another thing. Kernel L1 is a proximal step, the others
    are terms of the loss. What plain torch cannot do exactly in a few lines is left to `regaudit.penalties`.

    Args:
        site: kernel, bias or activity; none for no penalty.
        norm: L1 or L2; None for no penalty, and for both on kernels: L2 as `weight_decay`, L1 as a proximal step.
        strength: λ in Keras' unit; of L1 for both.
        strength_l2: λ of L2 for both.

    Returns:
        Python source over the names model, loss_fn, optimizer, x, y and learning_rate; compiles as it stands.

    Source: torch.optim (PyTorch 2.13).
    """
    if strength_l2 is not None:
        return "\n".join(torch_lines(site, n, x) for n, x in ((Norm.L2, strength_l2), (Norm.L1, strength)))
    if norm is None:
        return _NO_DECAY
    match site:
        case Site.NONE:
            return _NO_DECAY
        case Site.KERNEL if norm is Norm.L2:
            return _KERNELS + _DECAY.format(decay=2 * strength, strength=strength)
        case Site.KERNEL:
            return (_PENALTIES + _PROXIMAL).format(site=site, norm=norm, strength=strength)
        case Site.BIAS:
            element = "abs()" if norm is Norm.L1 else "square()"
            return f"{_BIASES}loss = loss_fn(model(x), y) + {strength:g} * sum(b.{element}.sum() for b in biases)"
        case Site.ACTIVITY:
            return (_PENALTIES + _ACTIVITY).format(site=site, norm=norm, strength=strength)


def keras_adamw_lines(decay: float) -> str:
    """Return the Keras lines for decoupled weight decay of the kernels.

    Args:
        decay: AdamW's weight_decay.

    Returns:
        Python source; compiles as it stands.

    Source: keras.optimizers.AdamW (Keras 3.15).
    """
    return _KERAS_ADAMW.format(decay=decay)


def torch_adamw_lines(decay: float) -> str:
    """Return the PyTorch lines for decoupled weight decay of the kernels.

    Args:
        decay: AdamW's weight_decay.

    Returns:
        Python source over the names model and learning_rate; compiles as it stands.

    Source: torch.optim.AdamW (PyTorch 2.13).
    """
    return _KERNELS + _ADAMW.format(decay=decay)


def adamw_sentence(decay_low: float, decay_high: float) -> str:
    """Return what to do where the optimizer is AdamW, whose decay has no λ.

    Args:
        decay_low: AdamW's weight_decay at the low end of practice.
        decay_high: And at the high end.

    Returns:
        One or two sentences.

    Source: Wang & Aitchison 2024, arXiv:2405.13698 (the timescale).
    """
    return (
        f"AdamW: weight_decay {decay_low:g} to {decay_high:g} on the kernels, 0 on the rest. It is no L2 penalty and has no "
        "λ: it forgets over 1 / (learning rate x weight_decay) steps, which should lie between one epoch and the whole "
        f"training (with learning rate 0.001, {1 / (1e-3 * decay_high):,.0f} to {1 / (1e-3 * decay_low):,.0f} steps)."
    )
