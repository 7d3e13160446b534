"""One small valid model of each format, made in code: the seeds of the fuzzer."""

import importlib.util
import io
import json
import pickle
import sys
import tempfile
import types
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

UNIT = Path(__file__).parents[1] / "unit/checkpoints"


@dataclass(frozen=True)
class Seed:
    """A valid model: the content of each file by its path, and which of them is opened ("" for the folder)."""

    name: str
    files: dict[str, bytes]
    entry: str

    def write(self, folder, files=None):
        for name, raw in (self.files if files is None else files).items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(raw)
        return folder / self.entry


def seeds():
    """Make the seed of every format that can be made with what is installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of its own old formats
        return [_seed(name, build) for name, build in BUILDERS.items() if _possible(name)]


def _possible(name):
    needed = {"orbax": "tensorstore", "keras": "h5py", "h5": "h5py", "weights.h5": "h5py"}.get(name, "torch")
    return importlib.util.find_spec(needed) is not None


def _seed(name, build):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        entry = build(root) or ""
        files = {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}
    return Seed(name, files, entry)


def builders(name):
    """Load the unit tests of a reader for the functions in it that write its format."""
    spec = importlib.util.spec_from_file_location(f"builders_{name}", UNIT / f"test_{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # torch and pickle look classes up by it
    spec.loader.exec_module(module)
    return module


def weights(*shape):
    return np.random.default_rng(len(shape)).normal(scale=0.3, size=shape).astype(np.float32)


ARRAYS = {
    "fc1.weight": weights(8, 6), "fc1.bias": weights(8), "bn.weight": weights(8), "bn.bias": weights(8),
    "bn.running_mean": weights(8), "bn.running_var": weights(8) ** 2, "lstm.weight_ih_l0": weights(16, 8),
    "lstm.weight_hh_l0": weights(16, 4), "fc2.weight": weights(3, 4).astype(np.float16), "ids": np.arange(5),
}  # fmt: skip
CONFIG = {
    "model_type": "bert",
    "hidden_size": 8,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "initializer_range": 0.02,
}


# --- safetensors and Hugging Face -------------------------------------------------------------------------------------


def safetensors(root):
    from safetensors.numpy import save_file

    save_file(ARRAYS, root / "model.safetensors", {"format": "pt"})
    return "model.safetensors"


def sharded(root):
    builders("huggingface").write_sharded(root)


def hugging_face(root):
    safetensors(root)
    (root / "config.json").write_text(json.dumps(CONFIG))


def quantized(root):
    from safetensors.numpy import save_file

    codes = np.arange(4 * 16, dtype=np.int32).reshape(4, 16) * 19_088_743
    arrays = {
        "a.qweight": codes, "a.qzeros": codes[:2, :2], "a.scales": np.full((2, 16), 0.01, np.float16),
        "a.g_idx": np.arange(32, dtype=np.int32) // 16, "b.weight": weights(4, 4),
        "experts.up_proj_blocks": np.arange(128, dtype=np.uint8).reshape(2, 4, 1, 16),
        "experts.up_proj_scales": np.full((2, 4, 1), 120, np.uint8),
    }  # fmt: skip
    save_file({name: np.ascontiguousarray(each) for name, each in arrays.items()}, root / "model.safetensors")
    method = {"quant_method": "gptq", "bits": 4, "group_size": 16, "sym": True}
    (root / "config.json").write_text(json.dumps(CONFIG | {"quantization_config": method}))


def lora(root):
    from safetensors.numpy import save_file

    names = ("base_model.model.q.lora_A.weight", "base_model.model.q.lora_B.weight")
    save_file({names[0]: weights(2, 8), names[1]: weights(6, 2)}, root / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "lora_dropout": 0.1, "target_modules": ["q"]}
    (root / "adapter_config.json").write_text(json.dumps(config))


# --- PyTorch ----------------------------------------------------------------------------------------------------------


def trained():
    import torch

    model = torch.nn.Sequential(
        torch.nn.Linear(4, 6), torch.nn.BatchNorm1d(6), torch.nn.Dropout(0.25), torch.nn.Linear(6, 2)
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
    model(torch.ones(3, 4)).sum().backward()
    optimizer.step()
    return {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "network": model, "epoch": 3}


def torch_zip(root):
    import torch

    torch.save(trained(), root / "model.pt")
    return "model.pt"


def torch_legacy(root):
    import torch

    torch.save(trained(), root / "model.pth", _use_new_zipfile_serialization=False)
    return "model.pth"


def torch_script(root):
    import torch

    torch.jit.script(builders("torch_script").Network().eval()).save(str(root / "model.pt"))
    return "model.pt"


def torch_export(root):
    import torch

    program = torch.export.export(builders("torch_export").Network().eval(), (torch.ones(2, 3, 7),))
    torch.export.save(program, root / "model.pt2")
    return "model.pt2"


def torch_distributed(root):
    import torch

    whole = torch.arange(24.0).reshape(4, 6)
    parts = [((0, 0), whole[:2].clone()), ((2, 0), whole[2:].clone())]
    builders("torch_distributed").write(root, {"fc.weight": (whole, parts)}, {"epoch": 3}, {"epoch": ("epoch",)})


def deepspeed(root):
    builders("torch_ranks").deepspeed(root)


def megatron(root):
    builders("torch_ranks").megatron(root, "mp_rank_00")


# --- numpy, Keras, scikit-learn ---------------------------------------------------------------------------------------


def npz(root):
    np.savez(root / "model.npz", **ARRAYS)
    return "model.npz"


def npz_compressed(root):
    np.savez_compressed(root / "model.npz", **ARRAYS)
    return "model.npz"


def npy(root):
    np.save(root / "model.npy", weights(8, 6))
    return "model.npy"


def pickled(root):
    (root / "model.pkl").write_bytes(pickle.dumps({"layers": [ARRAYS, {"w": weights(3, 4)}], "lr": 0.1}))
    return "model.pkl"


def keras(root):
    made = builders("keras")
    made.write_keras(root / "model.keras", made.TWO, made.hdf5(made.DENSE), compression=zipfile.ZIP_DEFLATED)
    return "model.keras"


def keras_legacy(root):
    made = builders("keras")
    arrays = {"x": {}, "hidden": {"hidden/kernel:0": weights(3, 4)}, "out": {"out/kernel:0": weights(4, 2)}}
    (root / "model.h5").write_bytes(made.legacy(arrays, config=made.TWO, training={"loss": "mse"}, optimizer=("m",)))
    return "model.h5"


def keras_weights(root):
    made = builders("keras")
    (root / "model.weights.h5").write_bytes(made.hdf5(made.DENSE, {"layers/dense": "hidden"}))
    return "model.weights.h5"


def made(name, module="sklearn.linear_model._base", **attributes):
    """Make an object of a class of this module and name, which need not be installed."""
    parts = module.split(".")
    for length in range(1, len(parts) + 1):
        sys.modules.setdefault(".".join(parts[:length]), types.ModuleType(".".join(parts[:length])))
    home = sys.modules[module]
    if not hasattr(home, name):
        setattr(home, name, type(name, (), {"__module__": module}))
    found = getattr(home, name)()
    vars(found).update(attributes)
    return found


def estimator():
    ridge = made("Ridge", alpha=2.0, coef_=np.arange(6.0) - 2, intercept_=np.float64(0.5), n_iter_=None)
    return made("Pipeline", steps=[("scaler", made("StandardScaler", mean_=np.zeros(6))), ("ridge", ridge)])


def perceptron():
    coefs = [weights(4, 3), np.asfortranarray(weights(3, 2))]
    module = "sklearn.neural_network._multilayer_perceptron"
    shifts = [np.ones(3), np.zeros(2)]
    return made("MLPClassifier", module, activation="tanh", alpha=1e-3, coefs_=coefs, intercepts_=shifts)


def skops(root):
    builders("sklearn").skops(perceptron(), root / "model.skops", zipfile.ZIP_DEFLATED)
    return "model.skops"


def joblib(root):
    stream = io.BytesIO()

    def wrapper(**state):
        return made("NumpyArrayWrapper", "joblib.numpy_pickle", **state)

    builders("sklearn").JoblibPickler(stream, wrapper, aligned=True).dump(perceptron())
    (root / "model.joblib").write_bytes(stream.getvalue())
    return "model.joblib"


def sklearn_pickle(root):
    (root / "model.pkl").write_bytes(pickle.dumps(estimator()))
    return "model.pkl"


# --- Graphs and the other frameworks ----------------------------------------------------------------------------------


def onnx(root):
    made = builders("onnx")
    nodes = [
        made.node("Gemm", "x fc.weight fc.bias", "h", "/fc/Gemm", transB=1),
        made.node("Relu", "h", "r", "/relu/Relu"),
        made.node("LSTM", "r W R", "l", hidden_size=2),
        made.node("DequantizeLinear", "q.weight_quantized s z", "q", axis=1),
        made.node("MatMul", "l q", "y"),
    ]
    tensors = [
        made.tensor("fc.weight", weights(6, 4)), made.typed("fc.bias", (3,), made.FLOAT, 4, weights(3).tobytes()),
        made.tensor("W", weights(1, 8, 6)), made.tensor("R", weights(1, 8, 2)),
        made.tensor("q.weight_quantized", np.arange(8, dtype="i1").reshape(2, 4), made.INT8),
        made.tensor("s", weights(4)), made.tensor("z", np.ones(4, "i1"), made.INT8),
        made.external("beside", (2, 4), {"location": "w.bin", "offset": 0, "length": 32}),
    ]  # fmt: skip
    (root / "model.onnx").write_bytes(made.model(made.graph(nodes, tensors)))
    (root / "w.bin").write_bytes(weights(2, 4).tobytes())
    return "model.onnx"


def gguf(root):
    made = builders("gguf")
    pairs = [
        made.pair("general.architecture", made.STRING, made.text("llama")),
        made.pair("tokenizer.ggml.tokens", made.ARRAY, made.texts("a", "b", "c")),
    ]
    tensors = [
        ("blk.0.attn_q.weight", (2, 32), "F32", weights(2, 32).tobytes()),
        ("blk.0.ffn_up.weight", (2, 32), "Q8_0", bytes(range(68))),
        ("blk.0.ffn_down.weight", (1, 256), "Q4_K", bytes(range(144))),
        ("blk.0.ffn_gate.weight", (1, 256), "TQ1_0", bytes(range(54))),
        ("output.weight", (1, 64), "NVFP4", bytes(range(36))),
    ]
    (root / "model.gguf").write_bytes(made.model(tensors, pairs))
    return "model.gguf"


def tensorflow(root):
    made = builders("tensorflow")
    made.saved_model(root, [("root", "_tf_keras_sequential", made.SEQUENTIAL)])


def flax(root):
    made = builders("flax")
    tree = {"params": {"d": {"kernel": made.array(weights(3, 4)), "bias": made.array(weights(4))}}, "step": 3}
    made.write(root / "model.msgpack", tree)
    return "model.msgpack"


def orbax(root):
    builders("orbax").write(root, {"params/d/kernel": weights(3, 4), "params/d/bias": weights(4)}, driver="zarr3")


BUILDERS = {
    "safetensors": safetensors, "sharded": sharded, "hugging face": hugging_face, "quantized": quantized, "lora": lora,
    "torch zip": torch_zip, "torch legacy": torch_legacy, "torch script": torch_script, "torch export": torch_export,
    "torch distributed": torch_distributed, "deepspeed": deepspeed, "megatron": megatron, "npz": npz,
    "npz compressed": npz_compressed, "npy": npy, "pickle": pickled, "keras": keras, "h5": keras_legacy,
    "weights.h5": keras_weights, "skops": skops, "joblib": joblib, "sklearn pickle": sklearn_pickle, "onnx": onnx,
    "gguf": gguf, "tensorflow": tensorflow, "flax": flax, "orbax": orbax,
}  # fmt: skip
