"""`docs/penalties.md`: the table of units, and how to train with penalties."""

from __future__ import annotations

from typing import Final

from regaudit.penalties.units import UNITS, Unit

_INTRODUCTION: Final = """\
# Penalties and their units

A layer is y = f(Wx + b). A **kernel** penalty shrinks W: the default where nothing else is known. A **bias** penalty
shrinks b, so that the function passes closer to the origin. An **activity** penalty shrinks the output y, and through it
both. The gradient of L2 is 2λw: it shrinks large components most and makes the network less sensitive to small changes
of its inputs. The gradient of L1 is λ·sign(w): it takes every weight to zero whose data gradient stays under λ, and so
ignores inputs altogether (exact zeros need a proximal step; a plain subgradient only hovers around them).

The same symbol means five things in five libraries, so regaudit has **one unit, Keras'**: loss = mean data loss +
λ·Σw² or λ·Σ|w|, and for an activity the sum over the layer's output, after its activation, divided by the batch size.
Declared penalties are converted to it, recommendations are printed back in the other units.

| declared as | what it means | source |
|---|---|---|
"""

_NOTES: Final = """\

N is the number of training examples; a file does not show it, so what needs N is reported without a λ and says so.

**Decoupled weight decay (AdamW) has no λ.** It multiplies each weight by (1 - lr·wd) at each step: an average over the
last 1/(lr·wd) steps, which should lie between one epoch and the whole training (Wang & Aitchison 2024). regaudit reports
it as declared, and never converts it.

**A penalty on a kernel that a normalization follows** does not limit what the network can express: the normalization
divides the scale out again. It sets the effective learning rate (van Laarhoven 2017, Zhang et al. 2019).
"""


_TRAINING: Final = """\

## Training with them

In any PyTorch loop, two lines:

```python
penalty = Penalties.from_report("audit.json")     # from regaudit.penalties import Penalties
loss = loss_fn(model(x), y) + penalty(model)
```

or by hand, on some layers only, by the names of modules or parameters, or by what layers are:

```python
penalty = Penalties(
    Penalty(site="kernel", l2=1e-3, layers=("encoder.*",), except_layers=("*.head",)),
    Penalty(site="activity", l1=1e-5, roles=("conv",)),
)
```

Losses and gradients are those of Keras' `kernel_regularizer`, `bias_regularizer` and `activity_regularizer`, which a test
compares. Kernels are trained arrays with two axes or more of dense, convolutional, recurrent and attention layers; a
recurrent layer has two, the second of which Keras calls `recurrent_regularizer` (`except_layers="*weight_hh*"` leaves it
out). Embeddings, normalizations, frozen and free parameters are left out; tied weights count once. An activity is a layer's
output after the activation that is applied to it directly, be it a module or a function, divided by the length of its first
axis (`batch_size=` sets another number, as for sequences first); query, key, value and output of an attention are layers.

| to | use |
|---|---|
| get exact zeros from L1 | `penalty.without_l1()` in the loss, and `penalty.proximal_step(model, optimizer)` after `optimizer.step()`; SGD, Adam, AdamW, NAdam, RAdam |
| the same in a loop that is not yours | `optimizer.register_step_post_hook(lambda optimizer, *_: penalty.proximal_step(model, optimizer))` |
| let SGD or Adam apply L2 on weights | `torch.optim.Adam(penalty.parameter_groups(model))`, and `penalty.without_decay()` in the loss |
| decay weights as AdamW does | `torch.optim.AdamW(penalty.parameter_groups(model))`, or `penalty.decay_step(model, optimizer)` before `optimizer.step()` |
| train with Lightning | `Trainer(callbacks=[penalty.lightning_callback()])` |
| train with Hugging Face | `penalty.trainer_class()(model=..., args=..., train_dataset=...)`; or of your own class: `penalty.trainer_class(MyTrainer)` |
| train with Keras | `Dense(64, **penalty.keras_arguments())`, or `penalty.apply_to(model)` before `compile` |

With gradient accumulation, divide the sum of loss and penalty as you divide the loss; with a `GradScaler`, scale the sum.

**Activities** are seen from the moment the penalty is made until `penalty.close()`, the end of `with penalty:`, or until
it is gone. Each new call of the model replaces what the last one put out, as in Keras: after two calls for one loss, add
`penalty(model)` after each. Only passes with gradients count, so evaluation changes nothing. What doesn't work: compiled
models (`torch.compile`; kernel and bias penalties do), replicas of `DataParallel`, packed sequences, checkpointing with
`use_reentrant=True` (no gradient) or of in-place activations. Kernels that a parametrization computes (weight norm) are
penalised in the loss as they are used; they have no proximal step.
"""


def describe() -> str:
    """Return the documentation of all units and of `regaudit.penalties` as Markdown."""
    return _INTRODUCTION + "".join(_row(unit) for unit in UNITS.values()) + _NOTES + _TRAINING


def _row(unit: Unit) -> str:
    meaning = unit.meaning.replace("|", "\\|")
    return f"| `{unit.name}` | {meaning} | {unit.source} |\n"
