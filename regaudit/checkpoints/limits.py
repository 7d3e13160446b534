"""How much a file may ask for: every limit of the readers, in one place, by name.

A reader compares with `limits.TENSORS.value` and raises `UnsafeCheckpoint(path, *limits.TENSORS.exceeded(…))`; nothing else in this folder bounds
what a file may cost. A user raises a limit with `--limit tensors=2M`, a program with `Options(limits={"tensors": 1 << 21})`.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

from regaudit.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_KI, _MI, _GI = 1 << 10, 1 << 20, 1 << 30
_SUFFIXES = (("G", _GI), ("M", _MI), ("K", _KI))

_values: ContextVar[Mapping[str, int] | None] = ContextVar("regaudit_limits", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One limit on what a file may ask for.

    Args:
        name: As `--limit` takes it.
        default: The value where nobody says otherwise; safe on a machine with 2 GB of memory.
        unit: What is counted.
        guards: What it bounds, for `regaudit doctor`.
        is_fixed: Whether it cannot be changed: the interpreter's own stack or the format sets it.
    """

    name: str
    default: int
    unit: str
    guards: str
    is_fixed: bool = False

    @property
    def value(self) -> int:
        """What holds now."""
        return (_values.get() or {}).get(self.name, self.default)

    def exceeded(self, problem: str, *, needed: int = 0) -> tuple[str, str]:
        """Return problem and fix of the error for a file that asks for more.

        Args:
            problem: What was found.
            needed: How much the file asks for; 0 where that is not known.
        """
        enough = shown(_rounded_up(needed if needed > self.value else 2 * self.value)).replace(",", "")
        fix = f"If you trust the file, raise the limit with: --limit {self.name}={enough}"
        if self.is_fixed:
            fix = "This limit is fixed: no model that is known comes near it."
        return f"{problem}; the limit {self.name} is {self.value:,} {self.unit}", fix

    def excess(self, problem: str, *, needed: int = 0) -> str:
        """Return both in one sentence without its full stop: why a tensor, not a file, was refused."""
        said, fix = self.exceeded(problem, needed=needed)
        return f"{said}. {fix.removesuffix('.')}"


# Of every format.
HEADER_BYTES = Limit(  # safetensors' own limit (huggingface/safetensors, 2023)
    name="header-bytes",
    default=100_000_000,
    unit="bytes",
    guards="header of a safetensors or GGUF file, names of an ONNX",
)
JSON_BYTES = Limit(name="json-bytes", default=256 * _MI, unit="bytes", guards="JSON index, graph or schema")
CONFIG_BYTES = Limit(  # the largest label maps take about 1 MB, the configuration of Keras' ResNet152 0.3 MB
    name="config-bytes", default=32 * _MI, unit="bytes", guards="config.json, the configuration of a Keras model"
)
POINTER_BYTES = Limit(  # it has a line for each checkpoint that was kept
    name="pointer-bytes", default=_MI, unit="bytes", guards="text file that names the latest checkpoint"
)
TENSORS = Limit(name="tensors", default=1_000_000, unit="tensors", guards="tensors of one model")
MEMBERS = Limit(name="members", default=1_000_000, unit="members", guards="members of an archive, files of a directory")
EXPANSION = Limit(  # real archives of weights stay below 10
    name="expansion", default=1000, unit="times", guards="declared bytes over stored bytes: archive and HDF5 bombs"
)
RANK = Limit(  # torch and numpy allow 64; real checkpoints stay below 8
    name="rank", default=32, unit="axes", guards="axes of a tensor", is_fixed=True
)
ELEMENTS = Limit(  # beyond it a float64 can't count them
    name="elements", default=1 << 53, unit="elements", guards="elements of a tensor", is_fixed=True
)
NAME_CHARACTERS = Limit(
    name="name-characters", default=4096, unit="characters", guards="whole name of a tensor in a tree", is_fixed=True
)
OBJECT_DEPTH = Limit(  # modules in modules stay below 15, a search over a pipeline of transformers below 10
    name="object-depth", default=64, unit="levels", guards="objects, dicts or modules in each other", is_fixed=True
)
CONFIG_DEPTH = Limit(  # text_config inside a vision-language config inside a composite: real ones stay below 4
    name="config-depth", default=8, unit="levels", guards="configurations in configurations", is_fixed=True
)

# Of pickles.
PICKLE_BYTES = Limit(  # a 10,000-tensor state dict pickles to about 2 MB
    name="pickle-bytes", default=256 * _MI, unit="bytes", guards="a pickle, without its arrays"
)
PICKLE_OPCODES = Limit(  # a state dict takes about 30 a tensor: 0.3 million for 10,000 tensors
    name="pickle-opcodes", default=20_000_000, unit="opcodes", guards="instructions of a pickle"
)
PICKLE_MEMORY = Limit(  # 10,000 tensors make about 20 MB
    name="pickle-memory", default=_GI, unit="bytes", guards="memory, estimated, of what a pickle makes"
)
PICKLE_INTEGER = Limit(  # the largest integers of checkpoints are random states, 16 bytes long
    name="pickle-integer", default=_KI, unit="bytes", guards="one integer in a pickle", is_fixed=True
)
PICKLE_REMARKS = Limit(  # a hostile file may name a million; the rest is counted
    name="pickle-remarks", default=20, unit="names", guards="callables of one pickle that are reported one by one"
)

# Of PyTorch.
TORCH_BOXES = Limit(
    name="torch-boxes", default=3, unit="levels", guards="checkpoints within checkpoints", is_fixed=True
)
TORCH_WRAPPERS = Limit(  # a parameter of a subclass on another device has 3
    name="torch-wrappers", default=8, unit="levels", guards="wrappers around one tensor", is_fixed=True
)
TORCH_OPTIMIZERS = Limit(  # a GAN has 2; a list longer than this is something else
    name="torch-optimizers", default=100, unit="optimizers", guards="optimizers whose state is looked at"
)
TORCH_GROUPS = Limit(  # one for each tensor is the most that real recipes use
    name="torch-groups", default=1000, unit="groups", guards="parameter groups that are looked at"
)
TORCH_MATCHED = Limit(  # the search is quadratic at worst
    name="torch-matched", default=20_000, unit="tensors", guards="optimizer states matched to weights by shape"
)
TORCH_SETTINGS = Limit(
    name="torch-settings", default=10_000, unit="entries", guards="entries of one settings object that are looked at"
)
TORCH_SETTINGS_DEPTH = Limit(  # OmegaConf's values lie 2 deeper than they look
    name="torch-settings-depth", default=8, unit="levels", guards="settings in settings", is_fixed=True
)
TORCH_VIEW_BYTES = Limit(
    name="torch-view-bytes", default=_GI, unit="bytes", guards="memory for matrices that are stored far apart"
)
TORCHSCRIPT_CODE_BYTES = Limit(  # a ResNet's takes 0.2 MB
    name="torchscript-code-bytes", default=16 * _MI, unit="bytes", guards="program text that is read"
)
TORCHSCRIPT_PARSED = Limit(  # takes 3 seconds at worst
    name="torchscript-parsed", default=_MI, unit="characters", guards="methods that are parsed"
)
TORCHSCRIPT_LINE = Limit(  # longer statements are lists of constants
    name="torchscript-line", default=2000, unit="characters", guards="one statement that is parsed"
)
TORCHSCRIPT_CLASSES = Limit(  # TorchScript writes a file for each
    name="torchscript-classes", default=10_000, unit="classes", guards="classes of one program text"
)
EXPORT_PICKLES = Limit(
    name="export-pickles", default=100, unit="members", guards="pickles in a .pt2 that are searched for callables"
)
EXPORT_NAME = Limit(
    name="export-name",
    default=400,
    unit="characters",
    guards="a module's path or setting in a .pt2 graph",
    is_fixed=True,
)
DCP_PATH = Limit(  # an optimizer's state has 4
    name="dcp-path", default=16, unit="keys", guards="keys around a tensor of a distributed checkpoint", is_fixed=True
)
DCP_OBJECT_BYTES = Limit(
    name="dcp-object-bytes", default=64 * _MI, unit="bytes", guards="what is no tensor in a distributed checkpoint"
)
DCP_OPEN_CHUNKS = Limit(  # one takes about 5 KB
    name="dcp-open-chunks", default=256, unit="chunks", guards="chunks of a distributed checkpoint kept open"
)

# Of Keras and HDF5.
KERAS_INFLATED_BYTES = Limit(  # Keras stores the weights uncompressed; HDF5 cannot be read from a compressed stream
    name="keras-inflated-bytes", default=4 * _GI, unit="bytes", guards="weights that are compressed in a .keras archive"
)
KERAS_DEPTH = Limit(  # Bidirectional(LSTM) in a model in a model makes 4
    name="keras-depth", default=40, unit="levels", guards="layers within layers", is_fixed=True
)
KERAS_NESTING = Limit(  # Keras 3 writes 5
    name="keras-nesting", default=16, unit="levels", guards="lists and objects in one setting", is_fixed=True
)
HDF5_DEPTH = Limit(  # two models nested in each other make 9
    name="hdf5-depth", default=64, unit="levels", guards="groups in groups", is_fixed=True
)
HDF5_CHUNK_BYTES = Limit(  # libhdf5 holds a whole chunk in memory; h5py makes chunks of about 1 MB
    name="hdf5-chunk-bytes", default=256 * _MI, unit="bytes", guards="one chunk of an array, and the cache of chunks"
)
HDF5_TEXT_BYTES = Limit(  # the configuration of Keras' ResNet152 has 0.3 MB
    name="hdf5-text-bytes", default=32 * _MI, unit="bytes", guards="text in one attribute"
)
HDF5_BLOCKS = Limit(  # each attribute beyond the first few may add one
    name="hdf5-blocks", default=1000, unit="blocks", guards="continued header of one object"
)

# Of ONNX and TensorFlow.
PROTOBUF_FIELDS = Limit(  # a graph of 50,000 nodes, above any network of 2026, has 1.5 million fields
    name="protobuf-fields", default=2_000_000, unit="fields", guards="fields of an ONNX or TensorFlow file"
)
PROTOBUF_NAME_BYTES = Limit(
    name="protobuf-name-bytes", default=64 * _KI, unit="bytes", guards="one name in such a file"
)
PROTOBUF_NUMBERS = Limit(
    name="protobuf-numbers", default=64 * _KI, unit="numbers", guards="floats of one attribute in such a file"
)
ONNX_NODES = Limit(  # large networks have 10,000 to 50,000
    name="onnx-nodes", default=100_000, unit="nodes", guards="nodes of all graphs, functions written out"
)
ONNX_TENSORS = Limit(name="onnx-tensors", default=100_000, unit="tensors", guards="constants of all graphs")
ONNX_NESTING = Limit(  # If in Loop in If …
    name="onnx-nesting", default=16, unit="levels", guards="graphs in graphs, functions in functions", is_fixed=True
)
ONNX_PIECES = Limit(name="onnx-pieces", default=64 * _KI, unit="pieces", guards="ranges that one tensor is stored in")
ONNX_JOINED = Limit(  # an LSTM's gates are put together from 12
    name="onnx-joined",
    default=32,
    unit="tensors",
    guards="constants that one weight is put together from",
    is_fixed=True,
)
ONNX_NUMBERS = Limit(
    name="onnx-numbers", default=64, unit="integers", guards="constant that is read as a shape or axes", is_fixed=True
)
TENSORFLOW_INDEX_BYTES = Limit(  # an entry takes about 100 bytes: 1 MB for 10,000 variables
    name="tensorflow-index-bytes", default=32 * _MI, unit="bytes", guards="index of a TensorFlow checkpoint"
)
TENSORFLOW_ENTRIES = Limit(  # the largest checkpoints, with slots, have some 20,000
    name="tensorflow-entries", default=100_000, unit="entries", guards="entries of that index"
)
TENSORFLOW_KEY_BYTES = Limit(  # shared beginnings can multiply a small file
    name="tensorflow-key-bytes", default=64 * _MI, unit="bytes", guards="keys of that index, written out"
)
TENSORFLOW_GRAPH_BYTES = Limit(  # 1 MB for some thousand variables
    name="tensorflow-graph-bytes", default=4 * _MI, unit="bytes", guards="object graph of a TensorFlow checkpoint"
)
TENSORFLOW_KERAS_BYTES = Limit(  # 2 MB for a model of 500 layers
    name="tensorflow-keras-bytes", default=8 * _MI, unit="bytes", guards="keras_metadata.pb of a SavedModel"
)

# Of JAX.
MESSAGEPACK_ITEMS = Limit(  # a tensor takes 3 to 5
    name="messagepack-items", default=2_000_000, unit="items", guards="keys and values of a Flax file"
)
MESSAGEPACK_DEPTH = Limit(  # optax nests to about 10
    name="messagepack-depth", default=100, unit="levels", guards="dicts in dicts of a Flax file", is_fixed=True
)
MESSAGEPACK_TEXT = Limit(
    name="messagepack-text", default=4096, unit="bytes", guards="a text that may be a key or a dtype", is_fixed=True
)
FLAX_NAME_CHARACTERS = Limit(  # a long key may stand above a million arrays
    name="flax-name-characters", default=64 * _MI, unit="characters", guards="names of all arrays together"
)
ORBAX_METADATA_BYTES = Limit(  # 0.4 KB an array
    name="orbax-metadata-bytes", default=32 * _MI, unit="bytes", guards="_METADATA of an Orbax directory"
)
ORBAX_CHUNK_BYTES = Limit(  # a chunk is one device's share of an array
    name="orbax-chunk-bytes", default=4 * _GI, unit="bytes", guards="one decoded chunk of an array"
)
ORBAX_CACHE_BYTES = Limit(
    name="orbax-cache-bytes",
    default=256 * _MI,
    unit="bytes",
    guards="decoded chunks that are kept; one larger is kept too",
)

# Of the others.
GGUF_PAIRS = Limit(name="gguf-pairs", default=1_000_000, unit="pairs", guards="key-value pairs of a GGUF header")
GGUF_NAME_BYTES = Limit(  # ggml itself allows tensor names of 64 bytes and keys of 65,535
    name="gguf-name-bytes", default=64 * _KI, unit="bytes", guards="one name in a GGUF header", is_fixed=True
)
GGUF_PARTS = Limit(name="gguf-parts", default=10_000, unit="files", guards="parts of a split GGUF model")
GGUF_ALIGNMENT = Limit(
    name="gguf-alignment", default=_MI, unit="bytes", guards="distance between tensors of a GGUF file", is_fixed=True
)
SKLEARN_CHILDREN = Limit(  # a longer list or dict is a vocabulary or a forest
    name="sklearn-children", default=10_000, unit="entries", guards="list or dict that is searched for estimators"
)
SKOPS_VALUE = Limit(  # the longest are lists of feature names, which are nodes of their own
    name="skops-value", default=4096, unit="characters", guards="one plain value in a skops file"
)
QUANT_STATE_BYTES = Limit(  # it has about 100
    name="quant-state-bytes", default=64 * _KI, unit="bytes", guards="JSON that bitsandbytes keeps beside a weight"
)
QUANT_BLOCK = Limit(  # bitsandbytes' own limit is 4096
    name="quant-block", default=_MI, unit="weights", guards="weights that share one scale", is_fixed=True
)
QUANT_INPUTS = Limit(  # the largest vocabularies have 2^18 rows
    name="quant-inputs", default=1 << 24, unit="inputs", guards="inputs of a packed kernel"
)
# Two small factors may announce a product that takes hours. The largest matrix of a known model, the embedding of
# Command R+ (2024), has 256,000 × 12,288 weights, which is 3.1e9.
ADAPTER_WEIGHTS = Limit(
    name="adapter-weights", default=1 << 32, unit="weights", guards="weights of an adapter's update B · A, written out"
)

LIMITS = tuple(each for each in list(globals().values()) if isinstance(each, Limit))


@contextmanager
def applied(values: Mapping[str, int]) -> Iterator[None]:
    """Let other values hold inside of the block, in this thread.

    Args:
        values: By the names of limits.

    Raises:
        ConfigError: A name is unknown or of a fixed limit, or a value is no positive integer.
    """
    for name, value in values.items():
        _check(name, value)
    token = _values.set({**(_values.get() or {}), **values})
    try:
        yield
    finally:
        _values.reset(token)


def parse(words: list[str]) -> dict[str, int]:
    """Return limits by name from words like `tensors=2M`; K, M and G stand for powers of 1,024.

    Raises:
        ConfigError: A word is none such, or `applied` would not take it.
    """
    found: dict[str, int] = {}
    for word in words:
        name, is_pair, text = word.partition("=")
        if not is_pair:
            raise ConfigError(f"--limit takes NAME=VALUE, as in tensors=2M, not {word!r}.{_suggestion(name)}")
        found[name] = _number(name, text)
        _check(name, found[name])
    return found


def shown(value: int) -> str:
    """Return a value as `parse` takes it: with a suffix where that is exact, with commas otherwise."""
    for suffix, size in _SUFFIXES:
        if value and value % size == 0 and value < _KI * size:
            return f"{value // size}{suffix}"
    return f"{value:,}"


def _number(name: str, text: str) -> int:
    suffix, size = next((pair for pair in _SUFFIXES if text.upper().endswith(pair[0])), ("", 1))
    digits = text[: len(text) - len(suffix)].replace(",", "").replace("_", "")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20):  # 2^63 has 19 digits
        raise ConfigError(f"--limit {name} takes a whole number, as in 500000 or 2M, not {text!r}")
    return int(digits) * size


def _check(name: str, value: int) -> None:
    limit = next((each for each in LIMITS if each.name == name), None)
    if limit is None:
        known = ", ".join(each.name for each in LIMITS if not each.is_fixed)
        raise ConfigError(f"there is no limit {name!r}.{_suggestion(name)} Limits that can be set: {known}")
    if limit.is_fixed:
        raise ConfigError(f"the limit {name} is fixed at {limit.default:,} {limit.unit}")
    if type(value) is not int or not 0 < value < 1 << 63:
        raise ConfigError(f"the limit {name} must be a whole number from 1 to 2^63 - 1, not {value!r}")


def _suggestion(name: str) -> str:
    names = [each.name for each in LIMITS]
    close = get_close_matches(name.lower().replace("_", "-").removeprefix("max-"), names, n=1)
    return f" Did you mean {close[0]}?" if close else ""


def _rounded_up(value: int) -> int:
    """Return the next number with at most three digits before a suffix."""
    size = next((size for _, size in _SUFFIXES if value >= size), 1)
    return -(-value // size) * size
