"""Names of layers: the module path that a tensor, a scope or a node of an ONNX file carries, where there is one."""

from __future__ import annotations

import re
from itertools import pairwise

# PyTorch and its heirs: fc1.weight; Keras: dense/kernel:0; MXNet and Caffe2: conv0_weight, conv1_w.
_LEAF = re.compile(
    r"^(?P<path>.*[^._/])[._/](?:weights?|kernel|bias|biases|gamma|beta|scale|alpha|slope|embeddings?|table|w|b|W|B|R|mean|var|variance"
    r"|(?:running|moving)_(?:mean|var|variance))(?:_quantized|_transposed|_fp16|_scaled)?(?::0)?$"
)
_RECURRENT = re.compile(r"^(?P<path>.*[^._/])[._/](?:weight|bias)_(?P<kind>ih|hh)(?P<place>_l\d+(?:_reverse)?)?$")
# Operations that TensorFlow puts behind the layer's name.
_TENSORFLOW = re.compile(
    r"/(?:ReadVariableOp(?:_\d+)?(?:/resource)?|MatMul|BiasAdd|Conv[123]D(?:Transpose)?|conv[123]d_transpose|depthwise|separable_conv2d"
    r"|Tensordot|einsum|FusedBatchNorm\w*|batchnorm|embedding_lookup|Reshape|ExpandDims(?:_\d+)?)(?::\d+)?$"
)
_MADE_UP = re.compile(r"^(?:val_\d+|onnx::\w+|scalar_tensor\w*|const\w*|/.*|\d+)$")
_QUOTED = re.compile(r"'([^']*)'")
_NUMBER = re.compile(r"(?:_\d+)?$")


def of_tensor(name: str, op: str) -> str:
    """Return the module path in the name of a tensor, "" for one that was made up by the exporter.

    Args:
        name: As in the file (`fc1.weight`, `onnx::MatMul_12`).
        op: The operator that takes it: some exporters put it before the leaf (`q_proj.MatMul.weight`).
    """
    recurrent = _RECURRENT.match(name)
    if recurrent:
        return f"{recurrent['path']}.weight_{recurrent['kind']}{recurrent['place'] or ''}"
    shorter = _without_operations(name)
    if shorter != name:
        return shorter
    match = _LEAF.match(name)
    return match["path"].removesuffix(f".{op}").removesuffix(f"/{op}") if match else ""


def of_scopes(text: str) -> str:
    """Return the innermost module of PyTorch's list of scopes: the last but the node's own name."""
    scopes = _QUOTED.findall(text)
    return scopes[-2] if len(scopes) > 1 else ""


def of_node(name: str, op: str) -> str:
    """Return the module path in the name of a node: `/fc1/Gemm` is fc1; "" if it has none."""
    if not name.startswith("/"):
        return _without_operations(name) if "/" in name else ""
    parts = name.strip("/").split("/")
    last = parts[-1]
    if len(parts) < 2 or _NUMBER.sub("", last) != op:
        return ""
    # A Sequential's members carry its name too: /c/c.0/Conv.
    nested = [a for a, b in pairwise(parts) if not b.startswith(f"{a}.")]
    return ".".join(nested)


def plain(name: str) -> str:
    """Return the whole name of a node as a path."""
    return ".".join(name.strip("/").split("/")) if name.startswith("/") else name


def is_made_up(name: str) -> bool:
    """Return whether an exporter made a name up for a number that it wrote into the graph."""
    return _MADE_UP.match(name) is not None


def is_torch_recurrent(name: str) -> bool:
    """Return whether a tensor is named as torch names the kernels of its RNNs, whose gates have other letters."""
    return _RECURRENT.match(name) is not None


def _without_operations(name: str) -> str:
    before = ""
    while before != name:
        before, name = name, _TENSORFLOW.sub("", name)
    return name
