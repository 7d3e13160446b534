"""A local Hugging Face directory through transformers: its own classes, no code of the model's, no network."""

from __future__ import annotations

import inspect
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regaudit.errors import CheckpointError, MissingExtra
from regaudit.probes.base import ModelInput, Runner
from regaudit.probes.padding import MASK, mask_of
from regaudit.probes.runners.base import RunnerKind
from regaudit.probes.runners.by_value import completed
from regaudit.probes.runners.loading import matched
from regaudit.probes.runners.outputs import call_by_name
from regaudit.probes.runners.places import places
from regaudit.probes.user_code import UserCode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from regaudit.checkpoints.base import Checkpoint
    from regaudit.config import Probing
    from regaudit.probes.base import Network, Tensor
    from regaudit.records import Array, Layer

_IDS = ("input_ids", "decoder_input_ids")
_BESIDE_IDS = (MASK, "token_type_ids", "decoder_input_ids")  # further inputs that a data file may have
_FIX = "Give the code that builds the model with --model."


def _open(checkpoint: Checkpoint, layers: tuple[Layer, ...], probing: Probing, device: str) -> Runner:
    network, notes = _loaded(checkpoint)
    network = network.float().to(device).eval().requires_grad_(requires_grad=True)
    wanted = network.state_dict(keep_vars=True)
    names, more = matched([tensor.name for tensor in checkpoint.tensors], wanted)
    names = completed(names, checkpoint, wanted)
    found = places(network, layers, names)
    return Runner(
        kind="transformers",
        network=network,
        inputs=_inputs(network),
        places=found.places,
        skips=found.skips,
        device=device,
        names=names,
        notes=(*notes, *more),
        call=_call,
    )


def _loaded(checkpoint: Checkpoint) -> tuple[Network, tuple[str, ...]]:
    """Return the model of a directory.

    Raises:
        CheckpointError: Weights are missing.
        ConfigError: transformers cannot build it without code of the model's.
        MissingExtra: transformers is not installed.
    """
    os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"  # read when it is imported
    try:
        import transformers
    except ImportError as error:
        raise MissingExtra(checkpoint.path, "transformers", "transformers") from error
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call, unused-ignore]
    architecture = _architecture(checkpoint)
    kind: Any = getattr(transformers, architecture, transformers.AutoModel)
    safe = {"trust_remote_code": False, "local_files_only": True}
    with UserCode(f"{checkpoint.path}: transformers {transformers.__version__}", _FIX):
        config = transformers.AutoConfig.from_pretrained(checkpoint.path, **safe)
        network, report = kind.from_pretrained(
            checkpoint.path, config=config, use_safetensors=True, output_loading_info=True, **safe
        )
    _check(checkpoint.path, report)
    return network, (f"Ran as {type(network).__name__} of transformers {transformers.__version__}.",)


def _architecture(checkpoint: Checkpoint) -> str:
    """Return the first class that the configuration names, "" if it names none."""
    found = checkpoint.config.get("architectures")
    first = found[0] if isinstance(found, list) and found else ""
    return first if isinstance(first, str) and first.isidentifier() and not first.startswith("_") else ""


def _check(path: str, report: Mapping[str, Any]) -> None:
    """Refuse a model that lacks weights.

    Raises:
        CheckpointError: Some weights are missing or have another shape: they would be random.
    """
    for key in ("missing_keys", "mismatched_keys"):
        if names := sorted(map(str, report.get(key) or ())):
            shown = ", ".join(names[:5])
            raise CheckpointError(
                path, f"its configuration and its weights disagree, {key.replace('_', ' ')}: {shown}", _FIX
            )


def _inputs(network: Network) -> tuple[ModelInput, ...]:
    main = network.main_input_name
    takes = inspect.signature(network.forward).parameters
    if main not in _IDS:
        return (ModelInput(name=main),)
    names = (main, *(name for name in _BESIDE_IDS if name in takes and name != main))
    # Models have defaults for both. That of the mask attends to padding; that of the types is all zeros in BERT, none in
    # GPT-2.
    pad = getattr(network.config, "pad_token_id", None)
    defaults: dict[str, Callable[[Array], Array | None]] = {
        MASK: partial(mask_of, pad=pad),
        "token_type_ids": _left_out,
    }
    return tuple(
        ModelInput(name=name, shape=(None, None), dtype="I64", default=defaults.get(name) if name != main else None)
        for name in names
    )


def _left_out(ids: Array) -> None:
    """Run the model without this input."""


def _call(network: Network, batch: Mapping[str, Tensor]) -> Tensor:
    """Return the output; attention by plain products, which have second derivatives."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with sdpa_kernel(SDPBackend.MATH):
        return call_by_name(network, batch)


def _fits(checkpoint: Checkpoint, probing: Probing) -> bool:
    is_complete = isinstance(checkpoint.config.get("model_type"), str) and not checkpoint.adapter
    return is_complete and Path(checkpoint.path).is_dir()


RUNNER = RunnerKind(name="transformers", fits=_fits, open=_open)
