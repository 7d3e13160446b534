"""Models that read well and make no sense: a whole report on each, in both formats, or one clear error."""

import json

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from safetensors.numpy import save_file

from regaudit.__main__ import run
from regaudit.reports.json import SCHEMA


def w(*shape, dtype="f4", scale=0.1):
    return np.asarray(np.random.default_rng(0).normal(size=shape) * scale).astype(dtype)


def codes(*shape, dtype="i1"):
    return np.ones(shape, dtype)


def everything(value):
    shapes = {
        "fc.weight": (16, 12), "fc.bias": (16,), "bn.weight": (16,), "bn.bias": (16,), "bn.running_mean": (16,),
        "bn.running_var": (16,), "emb.weight": (30, 8), "lstm.weight_ih_l0": (16, 4), "lstm.weight_hh_l0": (16, 4), "x": (),
        "conv.weight": (8, 4, 3, 3), "l.lora_A.weight": (2, 8), "l.lora_B.weight": (8, 2), "n.weight_g": (4, 1), "n.weight_v": (4, 3),
    }  # fmt: skip
    return {name: np.full(shape, value, "f4") for name, shape in shapes.items()}


MISFITS = {
    "zero-size": {"fc.weight": w(0, 8), "fc.bias": w(0), "b.weight": w(8, 0), "c": w(0), "d.weight": w(3, 0, 5)},
    "0-d": {"a": w(), "b.weight": w(), "c.bias": w(), "scale": w()},
    "20-d": {"a.weight": w(*[2] * 4, *[1] * 16), "b.weight": w(*[1] * 20)},
    "integers": {"fc.weight": codes(8, 8, dtype="i4"), "fc.bias": codes(8, dtype="i8"), "u": codes(8, 8, dtype="u1")},
    "booleans": {"fc.weight": codes(8, 8, dtype="?"), "m.mask": codes(8, dtype="?")},
    "complex": {"fc.weight": w(8, 8, dtype="c8"), "fc.bias": w(8, dtype="c8")},
    "huge": {"fc.weight": np.full((16, 12), 1e308), "fc.bias": np.full(16, 1.7e308), "n.weight": np.full(16, -1e308)},
    "subnormal": {"fc.weight": w(16, 12, dtype="f8", scale=5e-320), "fc.bias": w(16, dtype="f8", scale=5e-324)},
    "all of one size": {"fc.weight": np.where(w(16, 12) > 0, 1e308, 1e-308), "fc.bias": w(16)},
    "dtypes in a layer": {"f.weight": w(8, 8, dtype="f2"), "f.bias": w(8, dtype="f8"), "g.weight": codes(8, 8), "g.bias": w(8)},
    "NaN": everything(np.nan),
    "inf": everything(np.inf),
    "zeros": everything(0),
    "biases": {"fc.weight": w(16, 12), "fc.bias": w(99), "g.weight": w(8, 8), "g.bias": w(8, 8), "h.bias": w(3), "i.weight": w(4, 4), "i.bias": w()},
    "normalizations": {"bn.weight": w(8), "bn.bias": w(9), "bn.running_mean": w(10), "bn.running_var": -w(11), "x.running_mean": w(8, 2)},
    "adapters": {"a.lora_A.weight": w(2, 8), "b.lora_B.weight": w(8, 2), "c.lora_A.weight": w(2), "c.lora_B.weight": w(8, 3, 1), "c.alpha": w(5)},
    "weight norm": {"a.weight_g": w(16, 1), "b.weight_v": w(16, 12), "c.weight_g": w(5, 1), "c.weight_v": w(16, 12), "d.weight_orig": w(3, 4), "d.weight_mask": w(4, 3)},
    "spectral norm": {"a.weight_orig": w(16, 12), "a.weight_u": w(3), "b.weight_orig": w(4, 4), "b.weight_u": np.zeros(4, "f4"), "b.weight_v": np.zeros(4, "f4")},
    "fused": {"a.qkv.weight": w(16, 12), "a.qkv.bias": w(16), "b.c_attn.weight": w(12, 16), "c.in_proj_weight": w(17, 5), "d.in_proj_weight": w(12, 4), "d.in_proj_bias": w(7)},
    "gates": {"a.weight_ih_l0": w(15, 4), "a.weight_hh_l0": w(15, 5), "a.bias_ih_l0": w(13), "b.weight_ih_l0": w(16, 4), "b.weight_hh_l0": w(16), "c.weight_ih_l0": w(16)},
    "scales": {"a.weight": codes(16, 12), "a.weight_scale": w(5), "b.qweight": codes(3, 7, dtype="i4"), "b.scales": w(2, 3), "b.g_idx": codes(3, dtype="i4"), "c.weight_scale": w(5)},
    "experts": {"experts.gate_up_proj": w(4, 8, 7), "experts.down_proj": w(4, 3, 8), "experts.0.w1.weight": w(8, 8)},
    "names": {"": w(8, 8), "weight": w(8, 8), ".weight": w(8, 8), "..": w(8), "a": w(8, 8), "a.weight": w(8, 8), "a.weight.weight": w(8, 8), "x" * 100_000: w(8, 8)},
    "hostile names": {f"{name}.weight": w(8, 8) for name in ("\x1b[31m", "[/foo]", "<b>", "a\nb", "\u202e", "\0", "\u2028", "%s{0}", "²", "layers." + "9" * 5000)},
}  # fmt: skip


@pytest.mark.parametrize("flags", [(), ("-v", "--tensors", "--spectrum", "full")], ids=["plain", "all"])
@pytest.mark.parametrize("name", MISFITS)
def test_the_report_is_whole(tmp_path, capfdbinary, name, flags):
    save_file(MISFITS[name], tmp_path / "m.safetensors")
    for command, form in (("inspect", "text"), ("inspect", "json"), ("check", "json")):
        code = run([command, str(tmp_path / "m.safetensors"), "-f", form, *flags])
        out, err = capfdbinary.readouterr()
        assert code in {0, 1, 3}
        assert code == 0 or command == "check"
        assert err == b""
        text = out.decode()
        if form == "json":
            document = json.loads(text, parse_constant=pytest.fail)
            Draft202012Validator(json.loads(SCHEMA.read_text())).validate(document)
            assert document["exit_code"] == code
        else:
            assert all(c.isprintable() or c == "\n" for c in text)


@pytest.mark.parametrize(
    "fixture", ["mlp_l1/model.safetensors", "mlp_decay/checkpoint.pt", "lstm_npz/model.npz", "keras_model/model.keras", "keras_legacy/model.h5"]
)  # fmt: skip
def test_a_file_cut_short_is_one_error(tmp_path, capfdbinary, request, fixture):
    whole = (request.config.rootpath / "fixtures" / fixture).read_bytes()
    path = tmp_path / fixture.rpartition("/")[2]
    for length in (*range(12), *np.random.default_rng(0).integers(12, len(whole) - 1, 12), len(whole) - 1):
        path.write_bytes(whole[:length])
        assert run(["inspect", str(path)]) == 3
        out, err = capfdbinary.readouterr()
        assert out == b""
        assert [line.partition(b":")[0] for line in err.splitlines()] == [b"error", b"fix"]
