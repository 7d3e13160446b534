"""The JSON report keeps its contract: strict, valid, and whole, whatever happened."""

import json
from dataclasses import replace

import pytest
from jsonschema import Draft202012Validator

from regaudit import records
from regaudit.reports import Report
from regaudit.reports.json import SCHEMA, SCHEMA_VERSION, document, render

CASES = ["healthy", "probed", "passed", "failed", "incomplete", "unread", "hostile", "empty"]
SCHEMA_DOCUMENT = json.loads(SCHEMA.read_text(encoding="utf-8"))


def parsed(report):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(render(report), parse_constant=refuse)


def test_schema_is_valid_and_of_this_version():
    Draft202012Validator.check_schema(SCHEMA_DOCUMENT)
    assert SCHEMA_DOCUMENT["properties"]["schema_version"] == {"const": SCHEMA_VERSION}


@pytest.mark.parametrize("case", CASES)
def test_every_document_is_valid(reports, case):
    Draft202012Validator(SCHEMA_DOCUMENT).validate(parsed(reports[case]))


@pytest.mark.parametrize("case", CASES)
def test_documents_are_ascii_sorted_and_end_in_a_newline(reports, case):
    raw = render(reports[case])
    assert raw.isascii()
    assert raw.endswith(b"}\n")
    assert list(json.loads(raw)) == sorted(json.loads(raw))


@pytest.mark.parametrize(
    ("words", "place"),
    [
        (records.Role, ("layer", "role")),
        (records.Site, ("effect", "target")),
        (records.Severity, ("finding", "severity")),
        (records.Confidence, ("finding", "confidence")),
        (records.Action, ("recommendation", "action")),
    ],
)
def test_schema_knows_every_word(words, place):
    definition, field = place
    assert SCHEMA_DOCUMENT["$defs"][definition]["properties"][field]["enum"] == [str(each) for each in words]


def test_schema_knows_every_use():
    uses = SCHEMA_DOCUMENT["$defs"]["layer"]["properties"]["tensors"]["propertyNames"]["enum"]
    assert uses == [str(each) for each in records.Use]


def test_schema_is_strict_throughout():
    def objects(node):
        if isinstance(node, dict):
            if "properties" in node:
                yield node
            for each in node.values():
                yield from objects(each)
        elif isinstance(node, list):
            for each in node:
                yield from objects(each)

    for each in objects(SCHEMA_DOCUMENT):
        assert each["additionalProperties"] is False
        assert each["required"] == list(each["properties"])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_is_a_bug_not_a_document(reports, value):
    audit = replace(reports["healthy"].audit, duration_s=value)
    with pytest.raises((ValueError, OverflowError)):
        render(Report(audit=audit))


def test_numbers_are_rounded_to_what_platforms_agree_on(reports):
    audit = replace(reports["healthy"].audit, duration_s=0.1 + 0.2)
    assert parsed(Report(audit=audit))["run"]["duration_s"] == 0.3


def test_whole_numbers_stay_exact(reports):
    audit = replace(reports["healthy"].audit, duration_s=2.0**52 + 1)
    assert parsed(Report(audit=audit))["run"]["duration_s"] == 2**52 + 1


def test_layer_maps_uses_to_tensors_and_measures_to_values(reports):
    layer = document(reports["healthy"])["layers"][-1]
    assert layer["tensors"] == {"kernel": "head.weight", "bias": "head.bias"}
    assert layer["shape"] == (10, 384)
    assert layer["measurements"]["kernel.growth"] == 0.4
    assert layer["details"] == {"kernel.dead_out_count": "units 3, 17, 40"}
    assert layer["skips"][0]["measure"] == "kernel.condition_number"


def test_declared_penalties_come_in_keras_unit_too(reports):
    declared = {(each["unit"], each["kind"]): each for each in document(reports["healthy"])["declared"]}
    assert declared["keras", "l2"]["l2"] == 0.01
    assert declared["torch.SGD", "weight_decay"]["l2"] == pytest.approx(2.5e-4)
    assert declared["torch.AdamW", "decoupled_weight_decay"]["l2"] is None
    assert declared["", "dropout"]["l1"] is None


def test_input_that_cannot_be_read_is_a_document_too(reports):
    found = parsed(reports["unread"])
    assert found["run"]["status"] == "incomplete"
    assert found["exit_code"] == 3
    assert found["errors"] == [{"path": "model.pt", "problem": "the file is empty", "fix": "Fetch it again."}]


def test_hostile_names_survive_as_they_are(reports):
    (tensor,) = parsed(reports["hostile"])["tensors"]
    assert tensor["name"].startswith("a\x1b[31mred[/foo][bold]<script>\nx\u202ey\u200b\\ud800zzz")


@pytest.mark.parametrize(("case", "code"), [("healthy", 0), ("passed", 0), ("failed", 1), ("incomplete", 0)])
def test_exit_code_is_in_the_document(reports, case, code):
    assert parsed(reports[case])["exit_code"] == code


def test_estimates_carry_their_uncertainty(reports):
    model = parsed(reports["probed"])["model"]
    assert model["intervals"]["model.jacobian_fro_norm"] == {"se": 0.32, "low": None, "high": None}
    assert model["intervals"]["model.local_lipschitz"] == {"se": None, "low": 18.0, "high": 21.5}
    assert "model.parameters" not in model["intervals"]
    assert model["skips"][0]["measure"] == "gradients"


def test_what_ran_is_told_apart_from_the_input(reports):
    found = parsed(reports["probed"])
    assert found["inputs"][0]["ran_code"] is False
    assert found["probe"]["runner"] == "onnxruntime"
    assert parsed(reports["healthy"])["probe"] is None
