"""Files as scikit-learn, joblib and skops write them, made here with classes that only carry their names."""

import io
import json
import math
import pickle
import re
import sys
import types
import zipfile
import zlib

import numpy as np
import pytest

from regaudit.checkpoints import sklearn
from regaudit.checkpoints.base import UNREADABLE_TENSOR, UNSAFE_GLOBAL
from regaudit.checkpoints.sniff import look
from regaudit.errors import CheckpointError, CorruptCheckpoint, UnknownFormat, UnsafeCheckpoint
from regaudit.records import Axis, Use

LINEAR = "sklearn.linear_model._base"
MLP = "sklearn.neural_network._multilayer_perceptron"
WRAPPER = "joblib.numpy_pickle"
OUT, IN = Axis.OUT, Axis.IN


@pytest.fixture
def make(monkeypatch):
    """Make an object of a class of this module and name."""

    mine: dict[str, types.ModuleType] = {}

    def made(name, module=LINEAR, **attributes):
        parts = module.split(".")
        for length in range(1, len(parts) + 1):  # pickle imports the packages, too
            path = ".".join(parts[:length])
            if path not in mine:  # never the real package, whose classes do things
                mine[path] = types.ModuleType(path)
                mine[path].__path__ = []
                monkeypatch.setitem(sys.modules, path, mine[path])
        home = sys.modules[module]
        if not hasattr(home, name):
            monkeypatch.setattr(home, name, type(name, (), {"__module__": module}), raising=False)
        found = getattr(home, name)()
        vars(found).update(attributes)
        return found

    return made


@pytest.fixture
def model(make):
    """A pipeline that ends in a ridge regression."""
    ridge = make("Ridge", alpha=2.0, coef_=np.arange(6.0) - 2, intercept_=np.float64(0.5), n_iter_=None)
    return make(
        "Pipeline", steps=[("scaler", make("StandardScaler", mean_=np.zeros(6))), ("ridge", ridge)], memory=None
    )


@pytest.fixture
def perceptron(make):
    rng = np.random.default_rng(0)
    coefs = [rng.normal(size=(4, 3)), np.asfortranarray(rng.normal(size=(3, 2)).astype(">f4"))]
    optimizer = make("AdamOptimizer", MLP, ms=[each * 0 for each in coefs], vs=[each * 2 for each in coefs], t=5)
    return make(
        "MLPClassifier", MLP, activation="logistic", out_activation_="softmax", alpha=1e-3, early_stopping=True,
        validation_fraction=0.2, coefs_=coefs, intercepts_=[np.ones(3), np.zeros(2)], _optimizer=optimizer,
        classes_=np.array(["a", "b"], dtype=object),
    )  # fmt: skip


def plain(value, path, protocol=4):
    path.write_bytes(pickle.dumps(value, protocol))
    return path


class JoblibPickler(pickle._Pickler):
    """What `joblib.dump` does: a wrapper in place of each array, and its bytes right behind."""

    def __init__(self, file, wrapper, *, aligned):
        super().__init__(file, 4)
        self.file, self.wrapper, self.aligned = file, wrapper, aligned

    def save(self, value, save_persistent_id=True):
        if type(value) is not np.ndarray:
            super().save(value, save_persistent_id)
            return
        order = "F" if value.flags.f_contiguous and not value.flags.c_contiguous else "C"
        state = {"subclass": np.ndarray, "shape": value.shape, "order": order, "dtype": value.dtype, "allow_mmap": True}
        wrapper = self.wrapper(**state, **({"numpy_array_alignment_bytes": 16} if self.aligned else {}))
        super().save(wrapper)
        self.framer.commit_frame(force=True)
        if value.dtype.hasobject:
            pickle.dump(value, self.file, 5)
            return
        if self.aligned:
            padding = 16 - (self.file.tell() + 1) % 16
            self.file.write(bytes([padding]) + b"\xff" * padding)
        self.file.write(value.tobytes(order))


@pytest.fixture
def joblib(make):
    def dump(value, path, *, aligned=True):
        file = io.BytesIO()
        JoblibPickler(file, lambda **state: make("NumpyArrayWrapper", WRAPPER, **state), aligned=aligned).dump(value)
        path.write_bytes(file.getvalue())
        return path

    return dump


def node(value, members, ids):
    """Return the node that skops writes for a value."""
    number = ids.setdefault(id(value), len(ids))
    kind = {"__class__": type(value).__name__, "__module__": type(value).__module__, "__id__": number}
    if isinstance(value, np.ndarray | np.generic):
        if value.dtype.hasobject:
            return {**kind, "__loader__": "NdArrayNode", "type": "json", "content": []}
        buffer = io.BytesIO()
        np.save(buffer, value)
        members[f"{number}.npy"] = buffer.getvalue()
        return {**kind, "__loader__": "NdArrayNode", "type": "numpy", "file": f"{number}.npy"}
    if isinstance(value, dict):
        content = {key: node(each, members, ids) for key, each in value.items()}
        return {**kind, "__loader__": "DictNode", "content": content}
    if isinstance(value, list | tuple):
        loader = "ListNode" if isinstance(value, list) else "TupleNode"
        return {**kind, "__loader__": loader, "content": [node(each, members, ids) for each in value]}
    if value is None or isinstance(value, str | int | float):
        return {**kind, "__loader__": "JsonNode", "content": json.dumps(value), "is_json": True}
    return {**kind, "__loader__": "ObjectNode", "content": node(vars(value), members, ids)}


def skops(value, path, compression=zipfile.ZIP_STORED, **changes):
    members = {}
    schema = {**node(value, members, {}), "protocol": 2, **changes}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, raw in members.items():
            archive.writestr(name, raw)
        archive.writestr("schema.json", json.dumps(schema))
    return path


def opened(path):
    candidate = look(path)
    assert sklearn.FORMAT.claims(candidate)
    return sklearn.FORMAT.open(candidate)


@pytest.fixture(params=["pickle 2", "pickle 5", "joblib", "joblib 1.1", "skops", "skops deflated"])
def save(request, tmp_path, joblib):
    """Save an object in each container and open that."""

    def saved(value):
        path = tmp_path / "model"
        match request.param.split():
            case ["pickle", protocol]:
                plain(value, path, int(protocol))
            case ["joblib", *old]:
                joblib(value, path, aligned=not old)
            case ["skops", *deflated]:
                skops(value, path, zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED)
        return opened(path)

    return saved


def values(checkpoint):
    return {t.name: checkpoint.read(t, 0, t.size).reshape(t.shape) for t in checkpoint.tensors}


def test_pipeline_is_walked_to_its_weights(save, model):
    with save(model) as checkpoint:
        found = values(checkpoint)
        assert list(found) == ["coef_", "intercept_"]
        np.testing.assert_array_equal(found["coef_"], np.arange(6.0) - 2)
        assert found["intercept_"] == 0.5
        coef, intercept = checkpoint.tensors
        assert (coef.layer, coef.use, coef.axes, coef.shape) == ("coef_", Use.KERNEL, (IN,), (6,))
        assert (intercept.layer, intercept.use, intercept.axes) == ("coef_", Use.BIAS, ())
        [module] = checkpoint.modules
        assert (module.name, module.type) == ("coef_", f"{LINEAR}.Ridge")
        assert module.settings["alpha"] == 2.0
        assert checkpoint.format.startswith("scikit-learn Pipeline, ")
        assert checkpoint.remarks == ()


def test_mlp_has_layers_activations_and_its_optimizer_apart(save, perceptron):
    with save(perceptron) as checkpoint:
        found = values(checkpoint)
        for i in range(2):
            np.testing.assert_array_equal(found[f"coefs_.{i}"], perceptron.coefs_[i])
            np.testing.assert_array_equal(found[f"intercepts_.{i}"], perceptron.intercepts_[i])
        assert {t.axes for t in checkpoint.tensors if t.use is Use.KERNEL} == {(IN, OUT)}
        assert [t.layer for t in checkpoint.tensors] == ["coefs_.0", "coefs_.0", "coefs_.1", "coefs_.1"]
        assert [(m.activation, m.inputs) for m in checkpoint.modules] == [("sigmoid", ()), ("softmax", ("coefs_.0",))]
        assert [t.name for t in checkpoint.apart] == [f"_optimizer.{k}.{i}" for k in ("ms", "vs") for i in range(2)]
        moment = checkpoint.apart[2]
        np.testing.assert_array_equal(
            checkpoint.read(moment, 0, moment.size).reshape(moment.shape), perceptron.coefs_[0] * 2
        )
        assert [(m.tensor, m.first.name, m.second.name, m.step) for m in checkpoint.moments] == [
            (f"coefs_.{i}", f"_optimizer.ms.{i}", f"_optimizer.vs.{i}", 5) for i in range(2)
        ]
        penalty, stopping = checkpoint.declared
        assert (penalty.kind, penalty.value, penalty.unit, penalty.site) == ("l2", 1e-3, "sklearn.MLP", "kernel")
        assert (stopping.kind, stopping.note) == ("early_stopping", "on 0.2 of the examples")


def test_several_estimators_carry_their_paths_and_one_is_audited_once(save, make):
    first = make("LogisticRegression", C=2.0, coef_=np.ones((3, 4)), intercept_=np.zeros(3))
    second = make("Ridge", alpha=1.0, coef_=np.zeros((2, 4)), intercept_=0.0)
    vote = make(
        "Voting", estimators_=[first, second], named_estimators_={"a": first}, estimators=[("a", make("Ridge"))]
    )
    with save(vote) as checkpoint:
        assert [t.name for t in checkpoint.tensors] == [
            "estimators_.0.coef_", "estimators_.0.intercept_", "estimators_.1.coef_",
        ]  # fmt: skip
        assert checkpoint.tensors[0].axes == (OUT, IN)
        assert [d.target for d in checkpoint.declared] == ["estimators_.0", "estimators_.1"]


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        ("Ridge", {"alpha": 2.0}, [("l2", 2.0, "sklearn.Ridge")]),
        ("RidgeCV", {"alphas": (1.0,), "alpha_": np.float64(0.3)}, [("l2", 0.3, "sklearn.Ridge")]),
        ("Ridge", {"alpha": np.array([1.0, 2.0])}, [("l2", None, "sklearn.Ridge")]),
        ("Ridge", {"alpha": math.nan}, [("l2", None, "sklearn.Ridge")]),
        ("Lasso", {"alpha": 0.1}, [("l1", 0.1, "sklearn.Lasso")]),
        ("ElasticNet", {"alpha": 0.1, "l1_ratio": 0.25},
         [("l1", 0.025, "sklearn.Lasso"), ("l2", 0.0375, "sklearn.ElasticNet")]),
        ("LogisticRegression", {"C": 0.5, "penalty": "deprecated", "l1_ratio": 0.0},
         [("l2", 0.5, "sklearn.LogisticRegression")]),
        ("LogisticRegression", {"C": 0.5, "penalty": "l1", "l1_ratio": None},
         [("l1", 0.5, "sklearn.LogisticRegression")]),
        ("LogisticRegression", {"C": 0.5, "penalty": "elasticnet", "l1_ratio": 0.2},
         [("l1", 2.5, "sklearn.LogisticRegression"), ("l2", 0.625, "sklearn.LogisticRegression")]),
        ("LogisticRegression", {"C": 0.5, "penalty": None}, []),
        ("LogisticRegression", {"C": math.inf, "l1_ratio": 0.0}, []),
        ("LogisticRegressionCV", {"Cs": 3, "C_": np.array([2.0, 2.0])}, [("l2", 2.0, "sklearn.LogisticRegression")]),
        ("SGDClassifier", {"penalty": "elasticnet", "alpha": 0.1, "l1_ratio": 0.4, "loss": "hinge"},
         [("l1", 0.04, "sklearn.SGDClassifier"), ("l2", 0.06, "sklearn.SGDClassifier")]),
        ("SGDRegressor", {"penalty": "l2", "alpha": 0.1, "loss": "squared_error"}, [("l2", 0.1, "sklearn.SGDRegressor")]),
        ("Perceptron", {"penalty": None, "alpha": 0.1}, []),
        ("LinearSVC", {"penalty": "l1", "C": 3}, [("l1", 3.0, "sklearn.LogisticRegression")]),
        ("BayesianRidge", {"lambda_": np.float64(0.7)}, [("l2", 0.7, "gaussian_prior")]),
        ("LinearRegression", {"alpha": 1.0}, []),
        ("SGDClassifier", {"average": True}, [("averaging", None, "")]),
        ("Lasso", {"alpha": 1, "positive": True}, [("l1", 1.0, "sklearn.Lasso"), ("non_neg", None, "")]),
    ],
)  # fmt: skip
def test_declared_penalty(save, make, name, settings, expected):
    with save(make(name, coef_=np.ones(3), **settings)) as checkpoint:
        found = [(d.kind, d.value, d.unit) for d in checkpoint.declared]
    assert [(kind, unit) for kind, _, unit in found] == [(kind, unit) for kind, _, unit in expected]
    assert [value for _, value, _ in found] == pytest.approx([value for _, value, _ in expected])


def test_arrays_of_text_are_stepped_over_and_those_of_objects_refused(save, make):
    labels = make("Ridge", classes_=np.array(["x", "yy"]), coef_=np.ones(2), intercept_=np.array([{}], dtype=object))
    with save(labels) as checkpoint:
        assert list(values(checkpoint)) == ["coef_"]
        [remark] = checkpoint.remarks
        assert (remark.kind, remark.where) == (UNREADABLE_TENSOR, "intercept_")
        assert "objects" in remark.text


@pytest.mark.parametrize("attributes", [{}, {"coef_": None}, {"coefs_": []}, {"coef_": "text", "coefs_": "text"}])
def test_object_without_weights_is_named(save, make, attributes):
    with pytest.raises(UnknownFormat, match="is a scikit-learn Forest without coef_"):
        save(make("Forest", **attributes))


def test_objects_without_end_are_refused(make, tmp_path, joblib):
    deep = make("Ridge", coef_=np.ones(2))
    for _ in range(100):
        deep = [deep]
    for path in (
        plain(deep, tmp_path / "deep.pkl"),
        skops(deep, tmp_path / "deep.skops"),
        joblib(deep, tmp_path / "j"),
    ):
        if sklearn.FORMAT.claims(look(path)):
            with pytest.raises(UnsafeCheckpoint, match="without end"):
                sklearn.FORMAT.open(look(path))


def test_object_that_holds_itself_is_read(make, tmp_path):
    ridge = make("Ridge", coef_=np.ones(2))
    ridge.me = [ridge]
    with opened(plain(ridge, tmp_path / "m.pkl")) as checkpoint:
        assert [t.name for t in checkpoint.tensors] == ["coef_"]


def test_array_used_twice_is_shared(make, tmp_path):
    coef = np.ones((2, 2))
    mlp = make("MLPClassifier", MLP, coefs_=[coef, coef], intercepts_=[])
    with opened(plain(mlp, tmp_path / "m.pkl")) as checkpoint:
        assert [t.shares for t in checkpoint.tensors] == ["", "coefs_.0"]


def test_one_array_named_again_and_again_is_refused(make, tmp_path):
    mlp = make("MLPClassifier", MLP, coefs_=[np.ones((200, 200))] * 20_000, intercepts_=[])
    with pytest.raises(UnsafeCheckpoint, match="claims 20,000 tensors"):
        opened(plain(mlp, tmp_path / "m.pkl"))


class Evil:
    def __reduce__(self):
        import os

        return os.system, ("touch /tmp/regaudit-was-here",)


def test_code_is_a_finding_and_does_not_run(make, tmp_path, joblib):
    ridge = make("Ridge", coef_=np.ones(2), evil=Evil())
    for path in (plain(ridge, tmp_path / "m.pkl"), joblib(ridge, tmp_path / "m.joblib")):
        with opened(path) as checkpoint:
            assert [r.kind for r in checkpoint.remarks] == [UNSAFE_GLOBAL]
    labels = make("Ridge", coef_=np.ones(2), classes_=np.array([Evil()], dtype=object))
    with opened(joblib(labels, tmp_path / "nested.joblib")) as checkpoint:
        assert [r.kind for r in checkpoint.remarks] == [UNSAFE_GLOBAL]


def test_class_that_a_schema_names_is_a_finding(make, tmp_path):
    evil = {"__class__": "system", "__module__": "os", "__loader__": "FunctionNode", "__id__": 10**6}
    with opened(skops(make("Ridge", coef_=np.ones(2)), tmp_path / "m.skops", extra=evil)) as checkpoint:
        [remark] = checkpoint.remarks
        assert remark.kind == UNSAFE_GLOBAL
        assert "os.system" in remark.text


@pytest.mark.parametrize("container", ["pickle", "joblib", "skops"])
def test_truncated_at_any_byte(container, model, tmp_path, joblib):
    save = {"pickle": plain, "joblib": joblib, "skops": skops}[container]
    raw = save(model, tmp_path / "whole").read_bytes()
    path = tmp_path / "cut"
    for length in range(1, len(raw)):
        path.write_bytes(raw[:length])
        candidate = look(path)
        if sklearn.FORMAT.claims(candidate):
            with pytest.raises(CheckpointError, match=re.escape(str(path))):
                sklearn.FORMAT.open(candidate)


@pytest.mark.parametrize("container", ["pickle", "joblib", "skops"])
def test_any_changed_byte_is_refused_or_read(container, model, tmp_path, joblib):
    save = {"pickle": plain, "joblib": joblib, "skops": skops}[container]
    raw = save(model, tmp_path / "whole").read_bytes()
    path = tmp_path / "changed"
    for position in range(0, len(raw), 3):
        for value in (0, 0x7F, 0xFF, raw[position] ^ 1):
            path.write_bytes(raw[:position] + bytes([value]) + raw[position + 1 :])
            try:
                candidate = look(path)
                if sklearn.FORMAT.claims(candidate):
                    with sklearn.FORMAT.open(candidate) as checkpoint:
                        values(checkpoint)
            except CheckpointError:
                pass


def wrapper_state(**changes):
    return {"subclass": np.ndarray, "shape": (2,), "order": "C", "dtype": np.dtype("f8"), **changes}


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"shape": (1 << 40,)}, CorruptCheckpoint, "8,796,093,022,208 bytes follows"),
        ({"shape": (-1,)}, CorruptCheckpoint, "is none"),
        ({"shape": "ab"}, CorruptCheckpoint, "is none"),
        ({"order": ["C"]}, CorruptCheckpoint, "is none"),
        ({"dtype": "f8"}, CorruptCheckpoint, "is none"),
    ],
)
def test_wrapper_that_lies(make, tmp_path, changes, error, message):
    ridge = make("Ridge", coef_=make("NumpyArrayWrapper", WRAPPER, **wrapper_state(**changes)))
    with pytest.raises(error, match=message):
        opened(plain(ridge, tmp_path / "m.joblib"))


def test_arrays_in_files_of_their_own_are_refused(make, tmp_path):
    ridge = make("Ridge", coef_=make("NDArrayWrapper", WRAPPER, filename="m_01.npy"))
    with pytest.raises(UnknownFormat, match=r"before version 0\.10"):
        opened(plain(ridge, tmp_path / "m.joblib"))


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("m.joblib", zlib.compress(pickle.dumps([1]))),
        ("m", zlib.compress(pickle.dumps([1]), 9, 31)),
        ("m.joblib", b"BZh91AY&SY"),
        ("m.pkl", b"\xfd7zXZ\x00\x00\x04"),
    ],
)
def test_compressed_pickle_is_refused_with_what_to_do(tmp_path, name, raw):
    path = tmp_path / name
    path.write_bytes(raw)
    with pytest.raises(UnknownFormat, match=r"joblib\.dump"):
        opened(path)


@pytest.mark.parametrize("raw", [b"x\x9cnot zlib", zlib.compress(b"some text"), b"BZh91AY&SY", pickle.dumps({"a": 1})])
def test_other_files_are_not_claimed(tmp_path, raw):
    path = tmp_path / "data.bin"
    path.write_bytes(raw)
    assert not sklearn.FORMAT.claims(look(path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"content": {"__loader__": "DictNode", "content": {"coef_": {"__loader__": "NdArrayNode", "file": "no"}}}},
         "no such member"),
        ({"content": {"__loader__": "DictNode", "content": {"coef_": {"__loader__": "JsonNode", "content": "{"}}}},
         "no JSON"),
        ({"content": {"__loader__": "DictNode", "content": {"coef_": {"__loader__": "JsonNode", "content": "[" * 4000}}}},
         "no JSON"),
        ({"content": 3}, "without coef_"),
    ],
)  # fmt: skip
def test_schema_that_lies(make, tmp_path, changes, message):
    with pytest.raises(CheckpointError, match=message):
        opened(skops(make("Ridge", coef_=np.ones(2)), tmp_path / "m.skops", **changes))
