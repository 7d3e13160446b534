"""Runs side by side: layers matched by name, limits that hold, limits that cannot be judged."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from safetensors.numpy import save_file

import regaudit
from regaudit.cli.compare import FORMATS, natural
from regaudit.compare import Run, compare, parse, rule, with_distances
from regaudit.compare.names import common_prefixes
from regaudit.compare.records import Track, relative
from regaudit.errors import ConfigError
from regaudit.records import Audit, Axis, Coverage, Layer, LayerAudit, Measurement, Parameter, Role, Use
from regaudit.reports import View, comparison
from regaudit.reports.comparison import Judged
from regaudit.reports.comparison.judged import moved, sparkline

RENDERERS = {each.name: each.render for each in comparison.RENDERERS}


def layer(name, shape=(4, 4), **values):
    kernel = Parameter(
        use=Use.KERNEL,
        tensors=(f"{name}.weight",),
        dtype="F32",
        shape=shape,
        axes=(Axis.OUT, Axis.IN),
        load=lambda _a, _b: None,
    )
    measures = tuple(
        Measurement(layer=name, measure=key.replace("__", "."), value=value) for key, value in values.items()
    )
    return LayerAudit(layer=Layer(name=name, role=Role.DENSE, parameters=(kernel,)), measurements=measures)


def run_of(name, *layers, **model):
    measures = tuple(Measurement(layer="", measure=f"model.{key}", value=value) for key, value in model.items())
    return Run(
        name=name, audit=Audit(inputs=(), coverage=Coverage(tensors=1, measured=1), layers=layers, model=measures)
    )


def norms(**values):
    return [layer(name, kernel__fro_norm=value) for name, value in values.items()]


class TestAlignment:
    def test_measures_are_side_by_side(self):
        found = compare([run_of("a", *norms(x=1.0, y=2.0), rms=1.0), run_of("b", *norms(x=1.5, y=2.0), rms=3.0)])
        assert found.track("x", "kernel.fro_norm").values == (1.0, 1.5)
        assert found.track("x", "kernel.fro_norm").change == 0.5
        assert found.track("", "model.rms").values == (1.0, 3.0)

    def test_new_gone_and_reshaped_layers(self):
        old = run_of("a", layer("x", (4, 4)), layer("gone"))
        new = run_of("b", layer("new"), layer("x", (8, 4)))
        found = compare([old, new])
        assert (found.added, found.removed, found.reshaped) == (("new",), ("gone",), ("x",))
        assert {each.layer.name for each in found.layers} == {"x", "new", "gone"}

    @pytest.mark.parametrize(
        ("old", "new", "prefixes"),
        [
            (["a.x", "b.y"], ["a.x", "b.y"], ("", "")),
            (["m.a", "m.b"], ["a", "b"], ("m.", "")),
            (["a", "b"], ["module.model.a", "module.model.b"], ("", "module.model.")),
            (["bert.a", "bert.b"], ["model.a", "model.b"], ("bert.", "model.")),
            (["m.a", "b"], ["a", "b"], ("", "")),
            (["m/a", "m/b"], ["a", "b"], ("m/", "")),
            (["x", "y"], ["a", "b"], ("", "")),
            ([], ["a"], ("", "")),
        ],
        ids=str,
    )
    def test_a_wrappers_prefix_is_taken_off(self, old, new, prefixes):
        assert common_prefixes([old, new]) == prefixes

    def test_renamed_layers_keep_their_values(self):
        found = compare(
            [run_of("a", *(layer(f"m.{n}", kernel__fro_norm=1.0) for n in "xy")), run_of("b", *norms(x=2.0, y=3.0))]
        )
        assert found.track("y", "kernel.fro_norm").values == (1.0, 3.0)
        assert found.added == found.removed == ()

    def test_a_run_that_misses_a_measure_leaves_a_gap(self):
        found = compare([run_of("a", *norms(x=1.0)), run_of("b", layer("x")), run_of("c", *norms(x=4.0))])
        assert found.track("x", "kernel.fro_norm").values == (1.0, None, 4.0)
        assert found.track("x", "kernel.fro_norm").slope == 1.5

    def test_a_run_compared_with_itself_does_not_move(self, reports):
        audit = reports["failed"].audit
        found = compare([Run(name="a", audit=audit), Run(name="b", audit=audit)])
        assert {each.change for each in (*found.tracks, *found.model)} == {0.0}
        assert (found.added, found.removed, found.appeared, found.resolved) == ((), (), (), ())


class TestRatchets:
    @pytest.mark.parametrize(
        ("text", "parts"),
        [
            ("kernel.fro_norm:+10%", ("kernel.fro_norm", "", "+", 0.1, True)),
            ("kernel.fro_norm:-5%", ("kernel.fro_norm", "", "-", 0.05, True)),
            ("bias.rms:0.1", ("bias.rms", "", "", 0.1, False)),
            ("model.kernel_rms:+1e-3", ("model.kernel_rms", "", "+", 0.001, False)),
            ("encoder.**/kernel.fro_norm:+10%", ("kernel.fro_norm", "encoder.**", "+", 0.1, True)),
            ("block/dense/kernel.fro_norm:0%", ("kernel.fro_norm", "block/dense", "", 0.0, True)),
        ],
    )
    def test_form(self, text, parts):
        found = parse(text)
        assert (found.measure, found.layers, found.sign, found.amount, found.is_relative) == pytest.approx(parts)

    @pytest.mark.parametrize(
        "text",
        ["", "kernel.fro_norm", "kernel.fro_norm:", "kernel.fro_norm:10 %", "kernel.fro_norm:+-1", "fro_norm:1", "a.b:x%",
         "a.b:1e999", "a.b:nan", "a.b:1%%", "a.b:.5", "/a.b:1", "a.b:١"],
    )  # fmt: skip
    def test_what_has_not_the_form_is_refused(self, text):
        with pytest.raises(ConfigError, match="no limit on a measure"):
            parse(text)

    @pytest.mark.parametrize(
        ("text", "old", "new", "holds"),
        [
            ("+10%", 10.0, 11.0, True), ("+10%", 10.0, 11.1, False), ("+10%", 10.0, 1.0, True),
            ("-10%", 10.0, 9.0, True), ("-10%", 10.0, 8.9, False), ("-10%", 10.0, 99.0, True),
            ("10%", 10.0, 8.9, False), ("10%", 10.0, 11.1, False), ("10%", -10.0, -10.5, True),
            ("+10%", -10.0, -8.9, False), ("+10%", -10.0, -9.1, True),
            ("+0.5", 0.0, 0.5, True), ("+0.5", 0.0, 0.6, False), ("0", 1.0, 1.0, True), ("0", 1.0, 1.1, False),
            ("+10%", 0.0, 0.0, True), ("+10%", 0.0, 1e-9, False), ("-10%", 0.0, 1e-9, True), ("10%", 0.0, -1e-9, False),
        ],
    )  # fmt: skip
    def test_limits(self, text, old, new, holds):
        found = compare([run_of("a", *norms(x=old)), run_of("b", *norms(x=new))])
        ruling = rule(found, parse(f"kernel.fro_norm:{text}"))
        assert (not ruling.breaches) is holds
        assert Judged(comparison=found, rulings=(ruling,)).exit_code == (0 if holds else 1)

    def test_every_later_run_is_held_against_the_first(self):
        found = compare([run_of(str(v), *norms(x=v)) for v in (1.0, 2.0, 1.0)])
        assert [each.run for each in rule(found, parse("kernel.fro_norm:+50%")).breaches] == ["2.0"]

    def test_globs_choose_layers(self):
        found = compare([run_of("a", *norms(**{"e.x": 1.0, "h": 1.0})), run_of("b", *norms(**{"e.x": 1.0, "h": 9.0}))])
        assert rule(found, parse("e.*/kernel.fro_norm:0")).breaches == ()
        assert [each.layer for each in rule(found, parse("*/kernel.fro_norm:0")).breaches] == ["h"]

    @pytest.mark.parametrize(
        ("text", "message"),
        [("kernel.fro_nrm:1", "Did you mean kernel.fro_norm"), ("y/kernel.fro_norm:1", "named like 'y'")],
    )
    def test_one_that_fits_nothing_is_a_mistake(self, text, message):
        found = compare([run_of("a", *norms(x=1.0)), run_of("b", *norms(x=1.0))])
        with pytest.raises(ConfigError, match=message):
            rule(found, parse(text))

    def test_what_is_missing_later_is_no_pass(self):
        found = compare([run_of("a", *norms(x=1.0, y=1.0)), run_of("b", *norms(x=9.0))])
        ruling = rule(found, parse("kernel.fro_norm:+10%"))
        assert ruling.missing == ("y",)
        assert Judged(comparison=found, rulings=(ruling,)).exit_code == 3

    def test_a_new_layer_has_nothing_to_keep(self):
        found = compare([run_of("a", *norms(x=1.0)), run_of("b", *norms(x=1.0, y=9.0))])
        assert Judged(comparison=found, rulings=(rule(found, parse("kernel.fro_norm:0")),)).exit_code == 0

    @given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.floats(0, 10))
    def test_both_ways_is_one_way_or_the_other(self, old, new, percent):
        found = compare([run_of("a", *norms(x=old)), run_of("b", *norms(x=new))])
        both, up, down = (rule(found, parse(f"kernel.fro_norm:{s}{percent:.3f}%")).breaches for s in ("", "+", "-"))
        assert len(both) == len(up) + len(down)


class TestShown:
    @pytest.mark.parametrize(
        ("measure", "values", "said"),
        [
            ("m", (1.0, 1.1), "+10.0%"), ("m", (1.0, 1.0001), "="), ("m", (0.0, 1.0), "from 0"), ("m", (0.0, 0.0), "="),
            ("m", (None, 1.0), "new"), ("m", (1.0, None), "gone"), ("m", (None, None), "–"), ("m", (1.0, 20.0), "×20.0"),
            ("z_fraction", (0.1, 0.35), "+25.0 pt"), ("m", (5e-324, 1e308), "from 0"),
        ],
    )  # fmt: skip
    def test_changes_in_words(self, measure, values, said):
        assert moved(Track(layer="x", measure=measure, values=values)) == said

    @pytest.mark.parametrize(
        ("values", "bars"),
        [((0, 1, 2), "▁▅█"), ((1, 1, 1), ""), ((1, 2), ""), ((0, None, 7), "▁ █"), ((-1e308, 1e308, 0), "")],
    )
    def test_sparklines(self, values, bars):
        assert sparkline(values) == bars

    @pytest.mark.parametrize("name", RENDERERS)
    def test_hostile_names_do_no_harm(self, reports, name):
        audit = reports["hostile"].audit
        evil = audit.layers[0].layer.name
        other = replace(audit, layers=audit.layers[1:])
        for runs in ([audit, other], [other, audit, audit]):
            found = compare([Run(name=evil, audit=each) for each in runs])
            said = RENDERERS[name](Judged(comparison=found), View(verbose=True))
            said = said if isinstance(said, str) else said.decode()
            assert "\x1b[31m" not in said
            assert "\u202e" not in said
            assert name != "markdown" or "<script>" not in said

    def test_json_is_strict_and_whole(self, reports):
        audit = reports["failed"].audit
        found = compare([Run(name="a", audit=reports["healthy"].audit), Run(name="b", audit=audit)])
        judged = Judged(comparison=found, rulings=(rule(found, parse("kernel.fro_norm:0")),))
        document = json.loads(RENDERERS["json"](judged, View()), parse_constant=pytest.fail)
        assert document["gate"] == {"passed": True}
        assert [each["rule"] for each in document["findings"]["new"]] == ["RGA101", "RGA104"]
        assert document["layers"][0]["values"][0] == document["layers"][0]["values"][1]


@given(st.lists(st.integers(0, 10**6), unique=True))
def test_numbers_decide_the_order(numbers):
    paths = [f"epoch_{n}-0.5.h5" for n in numbers]
    assert sorted(paths, key=natural) == [f"epoch_{n}-0.5.h5" for n in sorted(numbers)]


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_a_relative_change_is_finite_or_none(old, new):
    change = relative(old, new)
    assert change is None or abs(change) < float("inf")


class TestDistances:
    def save(self, path, **kernels):
        save_file({f"{name}.weight": kernel.astype(np.float32) for name, kernel in kernels.items()}, path)
        return str(path)

    def compared(self, *paths):
        runs = [Run(name=path, audit=regaudit.audit(path, regaudit.Options(spectrum="off"))) for path in paths]
        return with_distances(compare(runs), {})

    def test_it_is_the_norm_of_the_difference_over_the_first(self, tmp_path, monkeypatch):
        monkeypatch.setattr("regaudit.compare.distances.BLOCK", 24)  # several blocks, the last one shorter
        rng = np.random.default_rng(0)
        first = {name: rng.normal(size=(11, 12)) for name in ("x", "y")}
        last = {name: kernel + 0.1 * rng.normal(size=kernel.shape) for name, kernel in first.items()}
        found = self.compared(
            self.save(tmp_path / "a.safetensors", **first), self.save(tmp_path / "b.safetensors", **last)
        )
        for name, kernel in first.items():
            expected = np.linalg.norm(last[name] - kernel) / np.linalg.norm(kernel)
            assert found.track(name, "kernel.distance").values == (0.0, pytest.approx(expected, rel=1e-5))
        both = [np.concatenate([each["x"], each["y"]]) for each in (first, last)]
        expected = np.linalg.norm(both[1] - both[0]) / np.linalg.norm(both[0])
        assert found.track("", "model.kernel_distance").last == pytest.approx(expected, rel=1e-5)

    def test_what_cannot_be_said_is_missing(self, tmp_path):
        one = np.ones((8, 8))
        first = self.save(tmp_path / "a.safetensors", same=one, nan=one, reshaped=one, gone=one, zero=0 * one)
        broken = np.where(np.eye(8) > 0, np.nan, 1.0)
        last = self.save(tmp_path / "b.safetensors", same=one, nan=broken, reshaped=np.ones((8, 9)), zero=one, new=one)
        found = self.compared(first, last)
        distances = {each.layer: each.values for each in found.tracks if each.measure == "kernel.distance"}
        assert distances == {"same": (0.0, 0.0), "zero": (0.0, None)}

    def test_percent_of_a_distance_is_its_own_value(self):
        track = Track(layer="x", measure="kernel.distance", values=(0.0, 0.12))
        found = replace(compare([run_of("a", *norms(x=1.0)), run_of("b", *norms(x=1.0))]), tracks=(track,))
        assert [bool(rule(found, parse(f"kernel.distance:{limit}")).breaches) for limit in ("10%", "0.1", "+13%", "12%")] == [
            True, True, False, False,
        ]  # fmt: skip

    def test_a_limit_that_would_hold_nothing_is_a_mistake(self):
        found = compare([run_of("a", *norms(x=1.0)), run_of("b", *norms(x=1.0, new=9.0))])
        with pytest.raises(ConfigError, match=r"the first run has no kernel\.fro_norm there"):
            rule(found, parse("new/kernel.fro_norm:+1%"))

    def test_reports_have_no_distances(self):
        with pytest.raises(ConfigError, match="distances need the weights"):
            rule(compare([run_of("a", *norms(x=1.0)), run_of("b", *norms(x=1.0))]), parse("kernel.distance:1%"))


def test_the_document_fits_its_schema():
    schema = json.loads(comparison.SCHEMA.read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    found = compare([run_of("a", *norms(x=1.0, y=0.0), rms=1.0), run_of("b", *norms(x=2.0), rms=1.0)])
    for limits in ((), (parse("kernel.fro_norm:+1%"),)):
        judged = Judged(comparison=found, rulings=tuple(rule(found, each) for each in limits))
        Draft202012Validator(schema).validate(json.loads(RENDERERS["json"](judged, View())))


def test_the_formats_of_the_option_are_those_there_are():
    assert [each.name for each in comparison.RENDERERS] == FORMATS
