import io
import json
import sys
import threading
import zipfile

import numpy as np
import pytest

from regaudit.checkpoints import open_checkpoint
from regaudit.checkpoints.base import CONTAINS_CODE, OPTIMIZER_STATE, UNREADABLE_TENSOR
from regaudit.errors import CorruptCheckpoint, MissingExtra, UnknownFormat

h5py = pytest.importorskip("h5py")
RNG = np.random.default_rng(0)


def layer(kind, name, **settings):
    return {"class_name": kind, "config": {"name": name, "trainable": True, **settings}}


def sequential(*layers, name="net"):
    return {"class_name": "Sequential", "config": {"name": name, "layers": list(layers)}}


def kernel(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def hdf5(arrays, names=None, *, attributes=None, **options):
    """Return the bytes of a file with these arrays by path; `names` are those of the layers, by group."""
    stream = io.BytesIO()
    with h5py.File(stream, "w", **options) as file:
        for path, array in arrays.items():
            file[path] = array
        for path, name in (names or {}).items():
            file.require_group(f"{path}/vars").attrs["name"] = name
        for path, values in (attributes or {}).items():
            file.require_group(path).attrs.update(values)
    return stream.getvalue()


def write_keras(path, config, weights, *, compression=zipfile.ZIP_STORED, version="3.15.1"):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": version}))
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", weights)


def read_all(checkpoint):
    return {t.name: checkpoint.read(t, 0, t.size).reshape(t.shape) for t in checkpoint.tensors}


DENSE = {
    "layers/dense/vars/0": kernel(3, 4),
    "layers/dense/vars/1": kernel(4),
    "layers/dense_1/vars/0": kernel(4, 2),
    "layers/dense_1/vars/1": kernel(2),
}
TWO = sequential(layer("InputLayer", "x"), layer("Dense", "hidden", activation="relu"), layer("Dense", "out"))


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("named", [True, False], ids=["names in the weights", "names by class and order"])
def test_an_archive_names_its_weights_as_keras_does(tmp_path, compression, named):
    names = {"": "net", "layers/dense": "hidden", "layers/dense_1": "out"} if named else {}
    write_keras(tmp_path / "m.keras", TWO, hdf5(DENSE, names), compression=compression)
    with open_checkpoint(tmp_path / "m.keras") as checkpoint:
        assert checkpoint.format == "Keras 3.15.1 model"
        found = read_all(checkpoint)
        assert list(found) == ["net/hidden/kernel", "net/hidden/bias", "net/out/kernel", "net/out/bias"]
        for array, expected in zip(found.values(), DENSE.values(), strict=True):
            np.testing.assert_array_equal(array, expected)
        assert [m.name for m in checkpoint.modules] == ["net/x", "net/hidden", "net/out"]
        assert {t.source for t in checkpoint.tensors} == {"model.weights.h5"}
        assert checkpoint.remarks == ()


def test_the_tenth_layer_of_a_class_comes_after_the_ninth(tmp_path):
    layers = [layer("Dense", f"d{i}") for i in range(12)]
    paths = [f"layers/dense{f'_{i}' if i else ''}/vars/0" for i in range(12)]
    weights = hdf5({path: np.full((1, 1), i, np.float32) for i, path in enumerate(paths)})
    write_keras(tmp_path / "m.keras", sequential(*layers), weights)
    with open_checkpoint(tmp_path / "m.keras") as checkpoint:
        assert [float(a[0, 0]) for a in read_all(checkpoint).values()] == list(range(12))
        assert checkpoint.tensors[11].name == "net/d11/kernel"


CASES = {
    "batch normalization without scale": (
        layer("BatchNormalization", "bn", scale=False),
        {"batch_normalization/vars/0": 4, "batch_normalization/vars/1": 4, "batch_normalization/vars/2": 4},
        ["bn/beta", "bn/moving_mean", "bn/moving_variance"],
    ),
    "separable convolution": (
        layer("SeparableConv2D", "sep"),
        {f"separable_conv2d/vars/{i}": s for i, s in enumerate([(3, 3, 2, 1), (1, 1, 2, 5), 5])},
        ["sep/depthwise_kernel", "sep/pointwise_kernel", "sep/bias"],
    ),
    "recurrent cell": (
        layer("LSTM", "rnn"),
        {f"lstm/cell/vars/{i}": s for i, s in enumerate([(2, 12), (3, 12), 12])},
        ["rnn/lstm_cell/kernel", "rnn/lstm_cell/recurrent_kernel", "rnn/lstm_cell/bias"],
    ),
    "einsum without bias": (
        layer("EinsumDense", "e", bias_axes=None),
        {"einsum_dense/vars/0": (3, 4)},
        ["e/kernel"],
    ),
    "attention": (
        layer("MultiHeadAttention", "mha"),
        {"multi_head_attention/output_dense/vars/0": (2, 3, 6), "multi_head_attention/query_dense/vars/0": (6, 2, 3)},
        ["mha/attention_output/kernel", "mha/query/kernel"],
    ),
    "wrapper": (
        layer("TimeDistributed", "td", layer=layer("Dense", "inner")),
        {"time_distributed/layer/vars/0": (3, 4), "time_distributed/layer/vars/1": 4},
        ["td/inner/kernel", "td/inner/bias"],
    ),
    "both directions": (
        layer("Bidirectional", "bi", layer=layer("GRU", "gru")),
        {"bidirectional/forward_layer/cell/vars/0": (2, 9), "bidirectional/backward_layer/cell/vars/0": (2, 9)},
        ["bi/forward_gru/gru_cell/kernel", "bi/backward_gru/gru_cell/kernel"],
    ),
    "class of the user's": (
        layer("Mine", "mine"),
        {"mine/first/vars/0": (3, 4), "mine/first/vars/1": 4, "mine/second/vars/0": 4},
        ["mine/first/kernel", "mine/first/bias", "mine/second/0"],
    ),
}


@pytest.mark.parametrize(("one", "shapes", "expected"), CASES.values(), ids=CASES.keys())
def test_variables_are_named_by_class_and_settings(tmp_path, one, shapes, expected):
    arrays = {f"layers/{path}": np.ones(shape, np.float32) for path, shape in shapes.items()}
    holders = {"/".join(path.split("/")[:end]) for path in shapes for end in range(1, path.count("/"))}
    weights = hdf5(arrays, attributes={f"layers/{holder}/vars": {} for holder in holders})  # as Keras writes them
    write_keras(tmp_path / "m.keras", sequential(one, name=""), weights)
    with open_checkpoint(tmp_path / "m.keras") as checkpoint:
        assert [t.name.removeprefix("sequential/") for t in checkpoint.tensors] == expected
        modules = {m.name for m in checkpoint.modules}
        assert {t.name.rpartition("/")[0] for t in checkpoint.tensors} <= modules


def test_quantized_kernels_keep_their_scales_apart_from_biases(tmp_path):
    arrays = {
        "layers/dense/vars/0": np.ones((3, 4), np.int8),
        "layers/dense/vars/1": np.ones(4, np.float32),
        "layers/dense/vars/2": np.ones(4, np.float32),
        "layers/dense_1/vars/0": np.ones((4, 2), np.int8),
        "layers/dense_1/vars/1": np.ones(2, np.float32),
    }
    config = sequential(layer("Dense", "a"), layer("Dense", "b", use_bias=False))
    write_keras(tmp_path / "m.keras", config, hdf5(arrays))
    with open_checkpoint(tmp_path / "m.keras") as checkpoint:
        leaves = [t.name.removeprefix("net/") for t in checkpoint.tensors]
    assert leaves == ["a/kernel", "a/bias", "a/kernel_scale", "b/kernel", "b/kernel_scale"]


def test_nested_models_with_equal_layer_names_stay_apart(tmp_path):
    def model(name):
        return {
            "class_name": "Functional",
            "config": {"name": name, "layers": [layer("Dense", "same")], "input_layers": [], "output_layers": []},
        }

    config = {
        "class_name": "Functional",
        "config": {"name": "m", "layers": [model("a"), model("b")], "input_layers": []},
    }
    paths = {"layers/functional/layers/dense/vars/0": "a", "layers/functional_1/layers/dense/vars/0": "b"}
    arrays = {path: np.ones((2, 2), np.float32) for path in paths}
    weights = hdf5(arrays, {"layers/functional": "a", "layers/functional_1": "b"})
    write_keras(tmp_path / "m.keras", config, weights)
    with open_checkpoint(tmp_path / "m.keras") as checkpoint:
        assert [t.name for t in checkpoint.tensors] == ["a/same/kernel", "b/same/kernel"]


def test_weights_without_configuration_are_named_as_far_as_the_file_goes(tmp_path):
    names = {"": "net", "layers/dense": "hidden", "layers/dense_1": "out"}
    (tmp_path / "m.weights.h5").write_bytes(hdf5(DENSE, names))
    with open_checkpoint(tmp_path / "m.weights.h5") as checkpoint:
        assert checkpoint.format == "Keras weights, no configuration: regularizers cannot be known"
        assert [t.name for t in checkpoint.tensors][::2] == ["net/hidden/kernel", "net/out/kernel"]
        assert [m.type for m in checkpoint.modules] == ["Dense", "Dense"]
        assert checkpoint.declared == ()


def test_weights_without_any_names_keep_those_of_their_groups(tmp_path):
    arrays = {"layers/dense/vars/0": kernel(2, 2), "layers/layer_normalization/vars/0": kernel(2), "extra": kernel(1)}
    (tmp_path / "m.weights.h5").write_bytes(hdf5(arrays))
    with open_checkpoint(tmp_path / "m.weights.h5") as checkpoint:
        # whether a lone variable of a normalization is gamma or beta, nobody can know without the settings
        assert {t.name for t in checkpoint.tensors} == {"dense/kernel", "layer_normalization/0", "extra"}


def legacy(layers, *, config=None, training=None, version="2.15.0", optimizer=()):
    """Return the bytes of a legacy file; `layers` maps a layer to its weights by the name that the file lists."""
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        if config is not None:
            file.attrs["model_config"] = json.dumps(config)
        if training is not None:
            file.attrs["training_config"] = json.dumps(training).encode()
        file.attrs["keras_version"] = version
        group = file.create_group("model_weights") if config is not None else file
        group.attrs["layer_names"] = [name.encode() for name in layers]
        for name, weights in layers.items():
            below = group.create_group(name)
            below.attrs["weight_names"] = [weight.encode() for weight in weights]
            for weight, array in weights.items():
                below[weight] = array
        for name in optimizer:
            file[f"optimizer_weights/{name}"] = np.ones((2, 2), np.float32)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("weight", "expected"),
    [
        ("hidden/kernel:0", "hidden/kernel"),
        ("hidden_1/kernel:0", "hidden/kernel"),
        ("net/hidden/kernel", "net/hidden/kernel"),
    ],
    ids=["Keras 2", "a graph that was built twice", "Keras 3"],
)
def test_legacy_weights_are_named_after_their_layers(tmp_path, weight, expected):
    array = kernel(3, 4)
    (tmp_path / "m.h5").write_bytes(legacy({"x": {}, "hidden": {weight: array}}, config=TWO))
    with open_checkpoint(tmp_path / "m.h5") as checkpoint:
        assert checkpoint.format == "Keras 2.15.0 model, HDF5"
        found = read_all(checkpoint)
        assert list(found) == [expected]
        np.testing.assert_array_equal(found[expected], array)
        assert expected.rpartition("/")[0] in {m.name for m in checkpoint.modules}


def test_legacy_weights_of_nested_models_and_cells_find_their_layers(tmp_path):
    inner = sequential(layer("Dense", "d"), name="inner")
    config = {
        "class_name": "Functional",
        "config": {"name": "m", "layers": [inner, layer("LSTM", "rnn")], "input_layers": []},
    }
    weights = {
        "inner": {"d/kernel:0": kernel(2, 2), "d/bias:0": kernel(2)},
        "rnn": {"rnn/lstm_cell_3/kernel:0": kernel(2, 8)},
    }
    (tmp_path / "m.h5").write_bytes(legacy(weights, config=config))
    with open_checkpoint(tmp_path / "m.h5") as checkpoint:
        assert [t.name for t in checkpoint.tensors] == ["inner/d/kernel", "inner/d/bias", "rnn/lstm_cell_3/kernel"]
        assert {m.name: m.type for m in checkpoint.modules}["rnn/lstm_cell_3"] == "LSTMCell"


def test_legacy_weights_without_configuration_say_so(tmp_path):
    (tmp_path / "w.h5").write_bytes(legacy({"dense_1": {"dense_1/kernel:0": kernel(2, 2)}}))
    with open_checkpoint(tmp_path / "w.h5") as checkpoint:
        assert "no configuration" in checkpoint.format
        assert [(m.name, m.type) for m in checkpoint.modules] == [("dense_1", "Dense")]


def test_a_long_list_of_names_is_read_from_its_parts(tmp_path):
    content = io.BytesIO(legacy({"hidden": {"hidden/kernel:0": kernel(2, 2), "hidden/bias:0": kernel(2)}}, config=TWO))
    with h5py.File(content, "r+") as file:
        names = file["model_weights/hidden"].attrs
        names["weight_names0"], names["weight_names1"] = names["weight_names"][1:], names["weight_names"][:1]
        del names["weight_names"]
    (tmp_path / "m.h5").write_bytes(content.getvalue())
    with open_checkpoint(tmp_path / "m.h5") as checkpoint:
        assert [t.name for t in checkpoint.tensors] == ["hidden/bias", "hidden/kernel"]


def test_a_listed_weight_that_is_missing_is_said(tmp_path):
    content = io.BytesIO(legacy({"hidden": {"hidden/kernel:0": kernel(2, 2)}}, config=TWO))
    with h5py.File(content, "r+") as file:
        del file["model_weights/hidden/hidden/kernel:0"]
    (tmp_path / "m.h5").write_bytes(content.getvalue())
    with pytest.raises(CorruptCheckpoint, match="lists the weight 'hidden/kernel:0'"):
        open_checkpoint(tmp_path / "m.h5")


def test_optimizer_state_is_kept_apart(tmp_path):
    arrays = DENSE | {"optimizer/vars/0": np.int64(3), "optimizer/vars/1": kernel(3, 4)}
    write_keras(tmp_path / "m.keras", TWO, hdf5(arrays))
    (tmp_path / "m.h5").write_bytes(
        legacy({"hidden": {"hidden/kernel:0": kernel(3, 4)}}, config=TWO, optimizer=["adam/m:0"])
    )
    with open_checkpoint(tmp_path / "m.keras") as checkpoint:
        assert [t.name for t in checkpoint.apart] == ["optimizer/vars/0", "optimizer/vars/1"]
        assert len(checkpoint.tensors) == 4
        assert [r.kind for r in checkpoint.remarks] == [OPTIMIZER_STATE]
        assert checkpoint.read(checkpoint.apart[0], 0, 1) == [3]
    with open_checkpoint(tmp_path / "m.h5") as checkpoint:
        assert [t.name for t in checkpoint.apart] == ["optimizer_weights/adam/m"]


def test_the_counters_of_an_untrained_optimizer_are_no_state_worth_a_remark(tmp_path):
    write_keras(tmp_path / "m.keras", TWO, hdf5(DENSE | {"optimizer/vars/0": np.int64(0)}))
    with open_checkpoint(tmp_path / "m.keras") as checkpoint:
        assert (len(checkpoint.apart), checkpoint.remarks) == (1, ())


@pytest.mark.parametrize(
    "function",
    [
        {"class_name": "__lambda__", "config": {"code": "4wEA"}},
        ["4wEA", None, None],
    ],
    ids=["Keras 3", "Keras 2"],
)
def test_stored_code_is_reported_and_not_loaded(tmp_path, function):
    one = layer("Lambda", "lam", function=function, function_type="lambda")
    write_keras(tmp_path / "m.keras", sequential(one, layer("Dense", "d")), hdf5({"layers/dense/vars/0": kernel(2, 2)}))
    with open_checkpoint(tmp_path / "m.keras") as checkpoint:
        (remark,) = checkpoint.remarks
    assert remark.kind == CONTAINS_CODE
    assert "4 characters of Python code; it was not loaded" in remark.text


KINDS = ["f2", "f4", "f8", ">f4", "i1", "<i8", ">i4", "u1", "u8", "?", "c8"]
LAYOUTS = {
    "contiguous": {},
    "chunked": {"chunks": (2, 3, 2)},
    "compressed": {"chunks": (3, 2, 4), "compression": "gzip", "shuffle": True},
    "compact": {"compact": True},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_type_and_layout_reads_the_same_elements(tmp_path, kind, layout):
    array = (RNG.normal(size=(5, 4, 6)) * 3).astype(kind)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        if layout == "compact":
            plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            plan.set_layout(h5py.h5d.COMPACT)
            space = h5py.h5s.create_simple(array.shape)
            h5py.h5d.create(file.id, b"w", h5py.h5t.py_create(array.dtype, logical=True), space, plan)
            file["w"][...] = array
        else:
            file.create_dataset("w", data=array, **LAYOUTS[layout])
    with open_checkpoint(tmp_path / "a.h5") as checkpoint:
        (tensor,) = checkpoint.tensors
        assert checkpoint.format == "HDF5 file, not by Keras"
        assert (tensor.name, tensor.shape, tensor.nbytes) == ("w", (5, 4, 6), array.nbytes)
        for start, stop in [(0, 120), (0, 0), (7, 8), (5, 19), (23, 25), (24, 72), (25, 119), (119, 120)]:
            np.testing.assert_array_equal(checkpoint.read(tensor, start, stop), array.reshape(-1)[start:stop])


FORMS = {
    "user block": {"userblock_size": 1024},
    "newest form": {"libver": "latest"},
    "order tracked": {"track_order": True},
    "both, in pages": {"libver": "latest", "track_order": True, "fs_strategy": "page"},
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_every_form_of_the_container_is_read_alike(tmp_path, form):
    plain = legacy({"hidden": {"hidden/kernel:0": kernel(3, 4)}}, config=TWO)
    with h5py.File(io.BytesIO(plain)) as source, h5py.File(tmp_path / "m.h5", "w", **form) as file:
        for name in source:
            source.copy(name, file)
        file.attrs.update(source.attrs)
        expected = source["model_weights/hidden/hidden/kernel:0"][()]
    with open_checkpoint(tmp_path / "m.h5") as checkpoint:
        assert checkpoint.format == "Keras 2.15.0 model, HDF5"
        np.testing.assert_array_equal(read_all(checkpoint)["hidden/kernel"], expected)


def test_bfloat16_is_read_from_the_bytes_that_keras_stores(tmp_path):
    values = np.array([1.0, -2.5, 0.0], np.float32)
    raw = (values.view(np.uint32) >> 16).astype(np.uint16).view("V2")
    (tmp_path / "a.h5").write_bytes(hdf5({"w": raw}))
    with open_checkpoint(tmp_path / "a.h5") as checkpoint:
        assert checkpoint.tensors[0].dtype == "BF16"
        np.testing.assert_array_equal(read_all(checkpoint)["w"], values)


def test_one_array_with_two_names_is_shared(tmp_path):
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file["a"] = kernel(2, 2)
        file["b"] = file["a"]
    (tmp_path / "a.h5").write_bytes(stream.getvalue())
    with open_checkpoint(tmp_path / "a.h5") as checkpoint:
        assert [(t.name, t.shares) for t in checkpoint.tensors] == [("a", ""), ("b", "a")]


def test_texts_are_left_out_with_a_remark(tmp_path):
    (tmp_path / "a.h5").write_bytes(hdf5({"w": kernel(2), "words": np.array([b"a", b"b"]), "free": "text"}))
    with open_checkpoint(tmp_path / "a.h5") as checkpoint:
        assert [t.name for t in checkpoint.tensors] == ["w"]
        assert {(r.kind, r.where) for r in checkpoint.remarks} == {
            (UNREADABLE_TENSOR, "words"), (UNREADABLE_TENSOR, "free"),
        }  # fmt: skip


@pytest.mark.parametrize("arrays", [{}, {"words": np.array([b"a"])}], ids=["empty", "only text"])
def test_a_file_without_numbers_is_no_model(tmp_path, arrays):
    (tmp_path / "a.h5").write_bytes(hdf5(arrays))
    with pytest.raises(UnknownFormat, match="no array of numbers"):
        open_checkpoint(tmp_path / "a.h5")


def test_threads_read_chunked_arrays_at_once(tmp_path):
    array = np.arange(60_000, dtype=np.float32).reshape(300, 200)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name in "abcd":
            file.create_dataset(name, data=array, chunks=(7, 200), compression="gzip")
    wrong = []
    with open_checkpoint(tmp_path / "a.h5") as checkpoint:

        def work(seed):
            rng = np.random.default_rng(seed)
            for _ in range(40):
                tensor = checkpoint.tensors[rng.integers(4)]
                start, stop = sorted(int(n) for n in rng.integers(0, 60_000, 2))
                if not np.array_equal(checkpoint.read(tensor, start, stop), array.reshape(-1)[start:stop]):
                    wrong.append((tensor.name, start, stop))

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_without_h5py_the_extra_is_named(tmp_path, monkeypatch):
    (tmp_path / "a.h5").write_bytes(hdf5({"w": kernel(2)}))
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingExtra, match=r"regaudit\[keras\]"):
        open_checkpoint(tmp_path / "a.h5")


ADAM = {"compile_config": {"optimizer": {"class_name": "Adam", "config": {}}}}
PAIRS = [moment for array in DENSE.values() for moment in (array + 1, array + 2)]
BLOCKS = [*(array + 1 for array in DENSE.values()), *(array + 2 for array in DENSE.values())]


STEP, RATE = np.int64(9), np.float32(0.1)


def numbered(moments, scalars=(STEP, RATE)):
    return {f"optimizer/vars/{i}": array for i, array in enumerate([*scalars, *moments])}


@pytest.mark.parametrize("moments", [PAIRS, BLOCKS], ids=["pair by pair", "first ones first"])
@pytest.mark.parametrize("scalars", [(STEP, RATE), (STEP,)], ids=["a rate", "a schedule"])
def test_numbered_moments_of_adam_find_their_weights(tmp_path, moments, scalars):
    write_keras(tmp_path / "m.keras", TWO | ADAM, hdf5(DENSE | numbered(moments, scalars)))
    with open_checkpoint(tmp_path / "m.keras") as checkpoint:
        assert [each.tensor for each in checkpoint.moments] == [each.name for each in checkpoint.tensors]
        for each, array in zip(checkpoint.moments, DENSE.values(), strict=True):
            np.testing.assert_array_equal(checkpoint.read(each.first, 0, array.size), array.ravel() + 1)
            np.testing.assert_array_equal(checkpoint.read(each.second, 0, array.size), array.ravel() + 2)
            assert each.step == 9


@pytest.mark.parametrize(
    ("config", "weights", "moments"),
    [
        (TWO, DENSE, PAIRS),
        (TWO | {"compile_config": {"optimizer": {"class_name": "Adamax", "config": {}}}}, DENSE, PAIRS),
        (TWO | ADAM, DENSE, [*PAIRS, *DENSE.values()]),
        (TWO | ADAM, DENSE, PAIRS[2:]),
        (
            sequential(layer("Dense", "a", use_bias=False), layer("Dense", "b", use_bias=False)) | ADAM,
            {"layers/dense/vars/0": kernel(3, 3), "layers/dense_1/vars/0": kernel(3, 3)},
            [kernel(3, 3) for _ in range(4)],
        ),
        (
            sequential(layer("MultiHeadAttention", "mha", use_bias=False)) | ADAM,
            {f"layers/multi_head_attention/{part}_dense/vars/0": kernel(6, 2, 3) for part in ("key", "query")},
            [kernel(6, 2, 3) for _ in range(4)],
        ),
    ],
    ids=["no optimizer is named", "Adamax", "AMSGrad", "a frozen layer", "two orders fit", "layers in a layer"],
)
def test_numbered_moments_that_could_be_another_weights_are_none(tmp_path, config, weights, moments):
    write_keras(tmp_path / "m.keras", config, hdf5(weights | numbered(moments)))
    with open_checkpoint(tmp_path / "m.keras") as checkpoint:
        assert checkpoint.moments == ()


@pytest.mark.parametrize(
    "names",
    [
        ("adam/hidden_kernel_momentum", "adam/hidden_kernel_velocity"),
        ("Adam/m/hidden/kernel:0", "Adam/v/hidden/kernel:0"),
        ("Adam/hidden/kernel/m:0", "Adam/hidden/kernel/v:0"),
        ("training/Adam/hidden/kernel/m:0", "training/Adam/hidden/kernel/v:0"),
    ],
    ids=["Keras 3", "Keras 2.11", "Keras 2.3", "Keras 2.2"],
)
@pytest.mark.parametrize("optimizer", ["Adam", "SGD"])
def test_named_moments_of_legacy_files_find_their_weights(tmp_path, names, optimizer):
    training = {"optimizer_config": {"class_name": optimizer, "config": {}}}
    weights = {"hidden": {"hidden/kernel:0": kernel(2, 2)}}
    (tmp_path / "m.h5").write_bytes(legacy(weights, config=TWO, training=training, optimizer=names))
    with open_checkpoint(tmp_path / "m.h5") as checkpoint:
        expected = [("hidden/kernel", "optimizer_weights/" + names[0].removesuffix(":0"))]
        assert [(m.tensor, m.first.name) for m in checkpoint.moments] == (expected if optimizer == "Adam" else [])
