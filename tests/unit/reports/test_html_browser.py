"""The HTML page in a headless Chromium: it draws, sorts, filters, and nothing in it runs that came from a file."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import regaudit
from regaudit.records import Norm, Response, Site
from regaudit.reports import Report, html
from regaudit.reports.several import gather

webdriver = pytest.importorskip("selenium.webdriver", reason="pip install regaudit[browser]")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver"),
    pytest.mark.filterwarnings("default"),  # of selenium's own
]
FIXTURES = Path(__file__).resolve().parents[3] / "fixtures"
ATTACKS = ["<script>alert(1)</script>", "</script><script>pwned=1</script>", '"><img src=x onerror="pwned=1">']


@pytest.fixture(scope="module")
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for each in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--force-prefers-reduced-motion",
        "--window-size=1280,1000",
    ):
        options.add_argument(each)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def visit(browser, tmp_path):
    """Return a function that opens a report at a width and a colour scheme, and gives the browser."""

    def opened(report, *, width=1280, scheme="light"):
        path = tmp_path / "report.html"
        path.write_bytes(html.render(report))
        metrics = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": width < 600}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        for log in ("browser", "performance"):
            browser.get_log(log)  # of the page before
        browser.get(path.as_uri())
        browser.execute_script("try { localStorage.clear() } catch {}")
        return browser

    return opened


@pytest.fixture
def everything(reports):
    """Return one report of each kind that draws something of its own."""
    gpt = Report(audit=regaudit.audit(FIXTURES / "gpt_sharded"))
    responses = tuple(
        Response(
            site=Site.KERNEL, norm=Norm.L2, strength=10.0**-k, estimand="retrain", loss=1 + k / 10, gain=0.1, gain_se=0.05
        )
        for k in range(4)
    )  # fmt: skip
    probed = replace(reports["probed"], audit=replace(reports["probed"].audit, responses=responses))
    return {"gpt": gpt, "probed": probed, "several": gather([gpt, reports["failed"], reports["unread"]]), **reports}


def texts(browser, selector):
    script = "return [...document.querySelectorAll(arguments[0])].filter(e => e.checkVisibility()).map(e => e.textContent.trim())"
    return browser.execute_script(script, selector)


def click(browser, selector, place=0):
    browser.execute_script("document.querySelectorAll(arguments[0])[arguments[1]].click()", selector, place)


def painted(browser, selector):
    """Return how many canvases have something on them, once those in view are drawn."""
    script = """
      const [selector, done] = arguments, canvases = [...document.querySelectorAll(selector)];
      const isPainted = (c) => c.width && c.getContext("2d").getImageData(0, 0, c.width, c.height).data.some(Boolean);
      canvases.forEach((c) => c.scrollIntoView());
      requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(() => done(canvases.filter(isPainted).length), 50)));
    """
    return browser.execute_async_script(script, selector)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("case", ["gpt", "probed", "several", "failed", "hostile", "unread", "empty"])
def test_no_complaint_and_no_request(visit, everything, case, scheme):
    browser = visit(everything[case], scheme=scheme)
    painted(browser, "figure:not([hidden]) canvas")
    assert browser.get_log("browser") == []
    messages = [json.loads(each["message"])["message"] for each in browser.get_log("performance")]
    asked = {each["params"]["request"]["url"] for each in messages if each["method"] == "Network.requestWillBeSent"}
    assert asked <= {browser.current_url}


@pytest.mark.parametrize("case", ["gpt", "probed", "several", "failed", "hostile", "unread"])
def test_page_is_no_wider_than_a_phone(visit, everything, case):
    browser = visit(everything[case], width=390)
    browser.execute_script("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    assert browser.execute_script("return document.documentElement.scrollWidth") == 390


def test_table_sorts_both_ways_and_back(visit, reports):
    browser = visit(reports["healthy"])
    growth = texts(browser, ".layers thead th").index("growth")

    def column():
        cells = texts(browser, f".layers tbody tr:not([hidden]) td:nth-of-type({growth})")
        return [float(each) for each in cells if each not in {"", "–"}], [each == "–" for each in cells]

    before = texts(browser, ".layers .open")
    click(browser, ".layers .sort", growth)
    values, missing = column()
    assert values == sorted(values, reverse=True)
    assert missing == sorted(missing)  # what is missing comes last
    click(browser, ".layers .sort", growth)
    values, missing = column()
    assert values == sorted(values)
    assert missing == sorted(missing)
    assert browser.execute_script("return document.querySelector('[aria-sort]').textContent") == "growth"
    click(browser, ".layers .sort", 0)
    click(browser, ".layers .sort", 0)
    assert texts(browser, ".layers .open") == before[::-1]


def test_table_filters_by_text_role_and_effect(visit, reports):
    browser = visit(reports["healthy"])

    def choose(selector, value):
        script = "const e = document.querySelector(arguments[0]); e.value = arguments[1]; e.dispatchEvent(new Event('input', {bubbles: true}))"
        browser.execute_script(script, selector, value)
        return texts(browser, ".layers .open")

    assert choose(".find", "layer.3 dense") == ["encoder.layer.3.intermediate.dense"]
    assert texts(browser, ".count") == ["1 of 20 layers"]
    assert choose(".find", "nothing like it") == []
    assert texts(browser, ".empty") == ["No layer is like that."]
    assert len(choose(".find", "")) == 20
    assert len(choose("select.role", "norm")) == 6
    assert choose("select.mark", "sparse") == []
    assert len(choose("select.role", "")) == 6


def test_layer_opens_with_its_pictures_and_closes_with_escape(visit, everything):
    browser = visit(everything["gpt"])
    click(browser, ".layers .open", 3)
    first = texts(browser, "#sheet-title")
    assert painted(browser, "dialog canvas") == 2
    click(browser, "dialog [aria-label='Next layer']")
    assert texts(browser, "#sheet-title") != first
    key = {"type": "keyDown", "key": "Escape", "code": "Escape", "windowsVirtualKeyCode": 27}
    browser.execute_cdp_cmd("Input.dispatchKeyEvent", key)
    assert texts(browser, "dialog") == []


def test_measure_is_explained_on_focus(visit, everything):
    browser = visit(everything["gpt"])
    browser.execute_script("document.querySelector('.layers [data-m=\"kernel.growth\"] .sort').focus()")
    assert "Trap:" in texts(browser, ".tip")[0]
    assert browser.execute_script("return document.activeElement.getAttribute('aria-describedby')") == "tip"


def test_theme_follows_the_system_until_it_is_chosen(visit, reports):
    browser = visit(reports["healthy"], scheme="dark")
    ground = "return getComputedStyle(document.documentElement).backgroundColor"
    dark = browser.execute_script(ground)
    click(browser, ".theme")
    assert browser.execute_script(ground) != dark
    click(browser, ".theme")
    assert browser.execute_script(ground) == dark


def test_curves_are_drawn(visit, everything):
    assert painted(visit(everything["probed"]), ".curves canvas") == 1


@pytest.mark.parametrize("name", ATTACKS)
def test_name_of_a_tensor_does_nothing(visit, reports, name):
    audit = reports["failed"].audit
    first = audit.layers[0]
    findings = tuple(replace(each, layer=name, message=name) for each in audit.findings)
    layers = (replace(first, layer=replace(first.layer, name=name, evidence=(name,))), *audit.layers[1:])
    browser = visit(Report(audit=replace(audit, layers=layers, findings=findings)))
    click(browser, ".layers .open")
    assert texts(browser, "#sheet-title") == [f"{name} embedding"]
    assert browser.execute_script("return [typeof pwned, document.images.length]") == ["undefined", 0]
    assert browser.get_log("browser") == []


def test_page_reads_without_scripts(visit, browser, reports):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        visit(reports["failed"])
        tree = browser.execute_cdp_cmd("DOMSnapshot.captureSnapshot", {"computedStyles": []})
        shown = set(tree["strings"])
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert {"encoder.layer.3.intermediate.dense", "Keep the kernel L2 penalty, strength 0.01"} <= shown
