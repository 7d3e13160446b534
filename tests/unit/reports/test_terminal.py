"""The text report: what matters first, nothing raw, nothing cut that a reader needs."""

from dataclasses import replace

import pytest
from rich.cells import cell_len

from regaudit.records import Action, Norm, Site
from regaudit.reports import View
from regaudit.reports.terminal import render

CASES = ["healthy", "passed", "failed", "incomplete", "unread", "hostile", "empty"]
WIDTHS = [72, 80, 100, 120, 200]


def shown(report, **view):
    return render(replace(report, view=View(**view)))


def one_line(text):
    return " ".join(text.split())


@pytest.mark.parametrize("verbose", [False, True], ids=["short", "verbose"])
@pytest.mark.parametrize("case", CASES)
def test_nothing_raw_reaches_the_screen(reports, case, verbose):
    for line in shown(reports[case], verbose=verbose).splitlines():
        assert line.isprintable()
        assert line == line.rstrip()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("case", ["healthy", "failed", "incomplete"])
def test_text_fits_the_screen(reports, case, width):
    assert max(map(cell_len, shown(reports[case], width=width).splitlines())) <= width


def test_colours_only_where_wanted(reports):
    assert "\x1b[" in shown(reports["failed"], color=True)
    assert "\x1b[" not in shown(reports["failed"], color=False)


def test_hostile_markup_is_shown_as_text(reports):
    text = shown(reports["hostile"], color=True, width=200)
    assert "[/foo][bold]<script>" in text
    assert "\\x1b[31mred" in text
    assert "\x1b[31mred" not in text


@pytest.mark.parametrize(
    ("case", "word"),
    [("healthy", "NO DEFECTS"), ("passed", "PASSED"), ("failed", "FAILED"), ("incomplete", "INCOMPLETE")],
)
def test_verdict_comes_first(reports, case, word):
    assert shown(reports[case]).splitlines()[3].startswith(word)


@pytest.mark.parametrize(
    ("case", "start"), [("healthy", "audited 33/33 tensors"), ("incomplete", "incomplete: audited 32/33")]
)
def test_scope_comes_last(reports, case, start):
    last = one_line(shown(reports[case]).split("\n\n")[-1])
    assert last.startswith(start)
    assert "22.7 M parameters, 90.9 MB" in last
    assert last.endswith("0 errors, 0 warnings, 1 note; evidence: weights only")


def test_findings_come_before_effects_and_all_errors_and_warnings_are_shown(reports):
    text = shown(reports["failed"], quiet=True)
    assert text.index("nonfinite-values") < text.index("dead-units")
    assert "sparse" not in text


def test_repeated_blocks_are_one_row(reports):
    text = shown(reports["healthy"])
    assert "encoder.layer.0–5  ×6" in text
    assert "0.98–1.18" in text
    assert "encoder.layer.3.intermediate.dense" not in text


def test_verbose_shows_every_layer_and_every_measure(reports):
    text = one_line(shown(reports["healthy"], verbose=True, width=200))
    for each in reports["healthy"].audit.layers:
        assert each.layer.name in text
    assert "dead_out_count 3 (units 3, 17, 40)" in text
    assert "kernel.condition_number: above 1e7" in text


def test_quiet_shows_no_table(reports):
    assert "Layers" not in shown(reports["healthy"], quiet=True)


def test_tensors_are_listed_as_the_file_has_them(reports):
    text = one_line(shown(reports["healthy"], width=120))
    assert (
        "head.weight 10×384 · F32 · dense · layer head sum -26.3183 · norm 11.0283 · min -0.43 · max 0.333333 · zeros 0"
        in text
    )


def test_many_rows_are_cut_and_said_so(reports):
    audit = reports["healthy"].audit
    head = audit.layers[-1]
    layers = tuple(replace(head, layer=replace(head.layer, name=f"fc{i}")) for i in range(60))
    report = replace(reports["healthy"], audit=replace(audit, layers=layers))
    assert "and 12 more rows (shown with -v)" in shown(report)
    assert "fc59" in shown(report, verbose=True)


@pytest.mark.parametrize(
    ("action", "site", "norm", "line"),
    [
        (Action.ADD, Site.KERNEL, Norm.L2, "add a kernel L2 penalty, strength 0.01"),
        (Action.KEEP, Site.BIAS, Norm.L1, "keep the bias L1 penalty, strength 0.01"),
        (Action.REDUCE, Site.ACTIVITY, Norm.L2, "reduce the activity L2 penalty to strength 0.01"),
        (Action.NONE, Site.NONE, None, "use no penalty"),
    ],
)
def test_recommendation_in_one_line(reports, action, site, norm, line):
    audit = reports["healthy"].audit
    advice = replace(audit.recommendation, action=action, site=site, norm=norm)
    assert line in shown(replace(reports["healthy"], audit=replace(audit, recommendation=advice)))


def test_code_to_copy_is_never_wrapped(reports):
    audit = reports["healthy"].audit
    code = "kernel_regularizer=" + "x" * 100
    advice = replace(audit.recommendation, apply={"keras": code})
    assert code in shown(replace(reports["healthy"], audit=replace(audit, recommendation=advice)), width=80)
