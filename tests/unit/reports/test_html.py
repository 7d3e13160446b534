"""The HTML page without a browser: whole, well-formed, safe whatever a name is, and small."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

import regaudit
from regaudit import rules
from regaudit.records import (
    Axis,
    Compared,
    Effect,
    Layer,
    LayerAudit,
    Measurement,
    Norm,
    Outcome,
    Parameter,
    Profile,
    Role,
    Site,
    Trial,
    Use,
)
from regaudit.reports import Report, html
from regaudit.reports.page_html import assets
from regaudit.reports.page_html.markup import Markup, data, raw, tag
from regaudit.reports.page_html.scope import chosen, known
from regaudit.reports.several import gather

CASES = ["healthy", "probed", "passed", "failed", "incomplete", "unread", "hostile", "empty"]
VOID = {"meta", "input", "br"}
ATTACKS = [
    "<script>alert(1)</script>",
    "</script><b>",
    '"><img src=x onerror=alert(1)>',
    "<!--",
    "'`${alert(1)}",
    "\u2028",
]
FIXTURES = Path(__file__).resolve().parents[3] / "fixtures"


class Page(HTMLParser):
    """A strict reader: it fails where tags do not match."""

    def __init__(self, content):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.texts, self.data = [], [], [], []
        self.feed(content.decode())
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        if self.open and self.open[-1] == "script":
            self.data.append((self.tags[-1][1], text))
        elif self.open and self.open[-1] != "style" and text.strip():
            self.texts.append((self.open[-1], text))

    def values(self, attribute):
        return [attributes[attribute] for _, attributes in self.tags if attribute in attributes]

    def models(self):
        return [json.loads(text) for attributes, text in self.data if attributes.get("class") == "data"]

    @property
    def text(self):
        return " ".join(text for _, text in self.texts)


def page(report):
    return Page(html.render(report))


def outline(found):
    """Return what a person reads, a line for each piece of text; without the explanations of measures."""
    lines = [f"{tag}: {text.strip()}" for tag, text in found.texts]
    return "\n".join(lines[: next((i for i, each in enumerate(lines) if each == "h2: Measures"), None)]) + "\n"


def trial():
    def outcome(site, norm, strength, loss, gain):
        return Outcome(
            site=site, norm=norm, strength=strength, estimand="retrain", trainings=3, steps=600, loss=loss, loss_se=0.02,
            gain=gain, gain_se=0.03,
        )  # fmt: skip

    control = outcome(Site.NONE, None, 0.0, 0.9, 0.0)
    curve = [outcome(Site.KERNEL, Norm.L2, 10.0**-k, 0.6 + k / 50, 0.3 - k / 50) for k in (1, 2, 3)]
    diverged = replace(control, site=Site.ACTIVITY, norm=Norm.L1, strength=10.0, loss=None, gain=None)
    compared = Compared(rows=256, base=0.9, winner=0.62, gain=0.28, gain_se=0.04)
    return Trial(
        recipe="adam, learning rate 0.001, 600 steps", estimand="retrain", budget=24.0, cost=20.5,
        outcomes=(*curve, control, diverged), winner=curve[0], is_change=True, validation=compared,
        verdict=("Kernel L2 0.1 is better than the model as it is.",), warnings=("One training diverged.",),
    )  # fmt: skip


def named(audit, name):
    """Return the audit with one layer called something else, and findings that speak of it."""
    first = audit.layers[0]
    evil = replace(first, layer=replace(first.layer, name=name, op=name, evidence=(name,)))
    findings = tuple(replace(each, layer=name, message=name) for each in audit.findings)
    return replace(audit, layers=(evil, *audit.layers[1:]), findings=findings)


@pytest.mark.parametrize("case", CASES)
def test_page_is_well_formed(reports, case):
    """Tags match, ids are unique, and every link and every label leads somewhere."""
    found = page(reports[case])
    ids = found.values("id")
    assert len(ids) == len(set(ids))
    targets = {each.removeprefix("#") for each in found.values("href")}
    targets |= {each for value in found.values("aria-labelledby") for each in value.split()}
    assert targets <= set(ids)


@pytest.mark.parametrize("case", CASES)
def test_page_loads_nothing_and_runs_nothing_else(reports, case):
    found = page(reports[case])
    assert all(each.startswith("#") for each in found.values("href"))
    assert not {"src", "srcset", "action", "data", "poster"} & {key for _, each in found.tags for key in each}
    assert not [key for _, each in found.tags for key in each if key.startswith("on")]
    scripts = [each for name, each in found.tags if name == "script"]
    assert scripts[:2] == [{}, {}]
    assert all(each["type"] == "application/json" for each in scripts[2:])
    assert not re.search(r"url\(|@import|expression\(", (assets.head()).split("</style>")[0])


def test_policy_names_the_scripts_of_the_page(reports):
    found = page(reports["healthy"])
    policy = next(each["content"] for _, each in found.tags if each.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; ")
    code = [text for attributes, text in found.data if not attributes]
    digests = [base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in code]
    assert re.findall(r"'sha256-([^']+)'", policy) == digests


def test_own_scripts_never_make_markup_of_text():
    own = assets.own_scripts()
    for word in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "Function(",
        "fetch(",
        "XMLHttp",
    ):
        assert word not in own


def test_library_is_the_one_that_is_described():
    folder = Path(assets.__file__).parent / "vendor"
    digest = hashlib.sha256((folder / "chart.umd.min.js").read_bytes()).hexdigest()
    readme = (folder / "README.md").read_text()
    assert digest in readme
    version = re.search(r"chart.js-(.+)\.tgz", readme)[1]
    assert f"Chart.js v{version}\n" in assets.library()
    assert "MIT" in (folder / "chart.LICENSE.md").read_text()


@pytest.mark.parametrize("name", ATTACKS)
def test_a_name_is_never_markup(reports, name):
    plain, attacked = page(reports["failed"]), page(Report(audit=named(reports["failed"].audit, name)))
    for element in ("script", "img", "b"):
        assert [each for each, _ in attacked.tags].count(element) == [each for each, _ in plain.tags].count(element)
    shown = name if name.isprintable() else "\\u2028"
    assert shown in attacked.text
    assert attacked.models()[0]["layers"][0]["name"] == shown


@pytest.mark.parametrize("name", ATTACKS)
def test_data_of_scripts_cannot_end_them(name):
    document = data({"name": name})
    inner = document.removeprefix('<script type="application/json">').removesuffix("</script>")
    assert not set("<>&\u2028") & set(inner)
    assert json.loads(inner) == {"name": name}


def test_text_is_escaped_unless_it_is_markup():
    assert tag("p", "<b>", Markup("<i></i>"), title='"x"') == '<p title="&quot;x&quot;">&lt;b&gt;<i></i></p>'
    with pytest.raises(ValueError, match="would end it"):
        raw("script", "x = '</SCRIPT>'")


@pytest.mark.parametrize("case", ["healthy", "probed", "failed", "incomplete", "unread", "hostile", "trial", "several"])
def test_what_a_person_reads(reports, golden, monkeypatch, case):
    monkeypatch.setattr(regaudit, "__version__", "0.0.0")
    monkeypatch.setattr(rules, "RULES", ())
    made = {
        "trial": lambda: Report(audit=replace(reports["probed"].audit, trial=trial())),
        "several": lambda: gather([reports["healthy"], reports["failed"], reports["unread"]]),
    }
    report = made.get(case, lambda: reports[case])()
    golden(f"page-{case}.txt", outline(page(report)).encode())


@pytest.mark.parametrize("case", ["mlp_l1", "gpt_sharded"])
def test_every_number_is_explained(case):
    """Each measure of the page has an entry with its formula, and each layer of the file its row and its picture."""
    path = FIXTURES / case
    audit = regaudit.audit(path / "model.safetensors" if case == "mlp_l1" else path)
    found = page(Report(audit=audit))
    model = found.models()[0]
    explained = {each.removeprefix("measure-") for each in found.values("id") if each.startswith("measure-")}
    assert {*found.values("data-m"), *model["measures"]} <= explained <= set(known())
    assert [each["name"] for each in model["layers"]] == [each.layer.name for each in audit.layers]
    for each, shown in zip(audit.layers, model["layers"], strict=True):
        for measurement in each.measurements:
            value = shown["values"][str(model["measures"].index(measurement.measure))]
            assert value == pytest.approx(measurement.value, rel=1e-5)
        assert ("profile" in shown) == (each.profile is not None)


def test_findings_that_do_not_count_are_apart(reports):
    audit = reports["failed"].audit
    waived = replace(audit.findings[0], status="waived", note="Retrained in May.")
    found = page(Report(audit=replace(audit, findings=(waived, *audit.findings[1:]))))
    assert "Retrained in May." in found.text
    assert [each for tag, each in found.texts if tag == "h3"].count(waived.name) == 0
    assert found.models()[0]["layers"][-1]["findings"][0][1] == f"{waived.name} (waived)"


def test_trial_is_drawn_without_what_diverged(reports):
    drawn = page(Report(audit=replace(reports["healthy"].audit, trial=trial()))).models()[0]["trained"]
    assert [(each["series"], each["strength"]) for each in drawn] == [
        ("kernel L2", 0.1), ("kernel L2", 0.01), ("kernel L2", 0.001), ("no penalty", 0.0),
    ]  # fmt: skip


def test_huge_model_fits_and_says_what_is_left_out(reports):
    """1,300 layers with long names, a picture, and an effect each: fewer are shown, those with findings among them."""
    audit = reports["failed"].audit
    layers = tuple(big_layer(f"{'block.' * 15}{i}.dense") for i in range(1300))
    effects = tuple(
        Effect(layer=each.layer.name, target=Site.KERNEL, effect="shrunk", confidence=0.5, text="words " * 100)
        for each in layers
    )
    finding = replace(audit.findings[0], layer=layers[1234].layer.name)
    content = html.render(Report(audit=replace(audit, layers=layers, effects=effects, findings=(finding,))))
    found = Page(content)
    shown = [each["name"] for each in found.models()[0]["layers"]]
    assert len(content) <= html.LIMIT
    assert 100 < len(shown) < html.MOST_LAYERS
    assert layers[1234].layer.name in shown
    assert f"{len(shown):,} of 1,300 layers are shown" in found.text


def big_layer(name):
    axes = (Axis.OUT, Axis.IN)
    kernel = Parameter(
        use=Use.KERNEL, tensors=(name,), dtype="F32", shape=(64, 64), axes=axes, load=lambda _a, _b: None
    )
    measurements = tuple(
        Measurement(layer=name, measure=each, value=1 / 3) for each in known() if each.startswith("kernel.")
    )
    profile = Profile(counts=[250] * 65, reach=5.2, ranks=range(1, 65), singular_values=[1 / 3] * 64)
    layer = Layer(name=name, role=Role.DENSE, parameters=(kernel,))
    return LayerAudit(layer=layer, measurements=measurements, profile=profile)


def test_many_models_fit(reports):
    parts = [reports["healthy"]] * 60 + [reports["failed"]]
    content = html.render(gather(parts))
    assert len(content) <= html.LIMIT
    assert "24 of 61 models are shown in full" in Page(content).text
    assert "3 of 3,840 weights are NaN or infinite." in Page(content).text


@pytest.mark.parametrize(("count", "most"), [(10, 20), (100, 10), (100, 1), (7, 0)])
def test_chosen_layers_are_in_order_urgent_first(make_layer, count, most):
    layers = [make_layer(f"layer.{i}") for i in range(count)]
    names = [each.layer.name for each in chosen(layers, most, frozenset({"layer.3"}))]
    assert len(names) <= max(most, 0) or count <= most
    assert names == sorted(names, key=lambda each: int(each.removeprefix("layer.")))
    assert most == 0 or "layer.3" in names
