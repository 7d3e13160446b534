"""The words that records share: roles, axes, uses, sites, norms and how bad or sure a thing is."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np

    Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


class Role(StrEnum):
    """What a layer does; it decides which statistics mean anything."""

    DENSE = "dense"
    CONV = "conv"
    DEPTHWISE = "depthwise"
    CONV_TRANSPOSE = "conv_transpose"
    EMBEDDING = "embedding"
    POSITIONAL = "positional"
    ATTENTION = "attention"  # a query, key, value or output projection
    RECURRENT = "recurrent"  # an input or hidden kernel of an RNN, GRU or LSTM, gate by gate
    ADAPTER = "adapter"  # a low-rank update, audited as its product
    NORM = "norm"  # scale, offset and running statistics of a normalization
    ACTIVATION = "activation"  # learned slopes of an activation (PReLU)
    BUFFER = "buffer"  # masks, counters, ids, tables: not trained
    QUANTIZED = "quantized"  # packed integers and their scales
    UNKNOWN = "unknown"


class Axis(StrEnum):
    """What one axis of a parameter runs over."""

    OUT = "out"  # output units (heads and head dimensions are both OUT)
    IN = "in"  # input units; for an embedding the vocabulary, as in a kernel on one-hot rows
    TAP = "tap"  # positions of a convolution's window


class Use(StrEnum):
    """What a layer uses a parameter for."""

    KERNEL = "kernel"
    BIAS = "bias"
    SCALE = "scale"  # gamma of a normalization; PReLU's slopes
    OFFSET = "offset"  # beta of a normalization
    MEAN = "mean"  # running mean
    VARIANCE = "variance"  # running variance


class Site(StrEnum):
    """What a penalty acts on."""

    NONE = "none"
    KERNEL = "kernel"
    BIAS = "bias"
    ACTIVITY = "activity"


class Norm(StrEnum):
    """Which penalty: sum of absolute values, or of squares."""

    L1 = "l1"
    L2 = "l2"


class Severity(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    WARN = "warn"
    INFO = "info"


class Confidence(StrEnum):
    """How sure a rule or a role is; apart from how bad."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class Action(StrEnum):
    """How the recommended penalty differs from the one in use."""

    ADD = "add"
    KEEP = "keep"
    REDUCE = "reduce"
    NONE = "none"


class Status(StrEnum):
    """Whether everything that could be asked of the input was measured."""

    COMPLETE = "complete"
    INCOMPLETE = "incomplete"
