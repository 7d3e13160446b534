import pytest

from regaudit.effects import EFFECTS, see
from regaudit.records import Confidence, Role, Site

# Measurements of a kernel that shows nothing: normal weights, even units, a full spectrum.
PLAIN = {
    "kernel.growth": 1.3,
    "kernel.rms": 0.1,
    "kernel.l1_norm": 650.0,
    "kernel.fro_norm": 9.05,
    "kernel.excess_kurtosis": 0.4,
    "kernel.laplace_log_ratio": -0.04,
    "kernel.zero_fraction": 0.0,
    "kernel.near_zero_fraction": 8e-4,
    "kernel.zero_out_count": 0.0,
    "kernel.zero_in_count": 0.0,
    "kernel.dead_out_count": 0.0,
    "kernel.ignored_in_count": 0.0,
    "kernel.effective_rank": 55.0,
    "kernel.effective_rank_ratio": 0.97,
    "kernel.stable_rank_ratio": 0.5,
    "kernel.outlier_count": 3.0,
    "kernel.two_of_four_fraction": 0.0,
    "kernel.zero_block_fraction": 0.0,
    "bias.zero_fraction": 0.0,
    "bias.to_kernel_median": 0.1,
    "bias.to_kernel_max": 0.5,
    "bias.dominant_fraction": 0.0,
}
SHOWS = {
    "units-collapsed": {"kernel.dead_out_count": 30.0},
    "inputs-ignored": {"kernel.ignored_in_count": 5.0},
    "sparse": {"kernel.zero_fraction": 0.3, "kernel.near_zero_fraction": 0.3},
    "structured-sparsity": {"kernel.zero_fraction": 0.5, "kernel.two_of_four_fraction": 1.0},
    "nearly-sparse": {"kernel.near_zero_fraction": 0.2},
    "shrunk": {"kernel.growth": 0.1},
    "grown": {"kernel.growth": 8.0},
    "low-rank": {"kernel.effective_rank_ratio": 0.1},
    "bias-dominant": {"bias.dominant_fraction": 0.6, "bias.to_kernel_max": 40.0},
    "bias-near-origin": {"bias.to_kernel_median": 1e-4},
    "heavy-tailed": {"kernel.laplace_log_ratio": 0.05},
}

# Seen only where the model was run: test_on_batch.py.
ON_BATCH = {"units-dead", "saturated", "bias-driven", "units-alike", "sparse-activity", "outlier-channels"}
ON_BATCH |= {"activity-scale", "inputs-unused", "over-sensitive"}


@pytest.fixture
def effects_of(make_layer, make_audit):
    def effects(values=(), **layer):
        return see(make_audit(make_layer(values=PLAIN | dict(values), **layer)))

    return effects


def names(effects):
    return {e.effect for e in effects}


def test_a_plain_trained_kernel_shows_nothing(effects_of):
    assert effects_of() == ()


@pytest.mark.parametrize("effect", SHOWS)
def test_an_effect_is_seen_with_its_numbers(effect, effects_of):
    seen = {e.effect: e for e in effects_of(SHOWS[effect])}[effect]
    assert seen.layer == "fc1"
    assert 0.2 < seen.confidence <= 1
    assert seen.text.endswith(".")
    assert any(ch.isdigit() for ch in seen.text)
    assert seen.evidence[0].expected is not None


@pytest.mark.parametrize("effect", SHOWS)
@pytest.mark.parametrize("role", [Role.NORM, Role.ADAPTER, Role.UNKNOWN, Role.EMBEDDING, Role.POSITIONAL])
def test_the_role_decides_first(effect, role, effects_of):
    assert effect not in names(effects_of(SHOWS[effect], role=role))


@pytest.mark.parametrize("effect", ["shrunk", "grown", "bias-dominant", "bias-near-origin"])
def test_a_normalization_takes_the_word_from_the_scale(effect, effects_of):
    assert names(effects_of(SHOWS[effect], followed_by="bn1")) == {"scale-free"}


@pytest.mark.parametrize("effect", SHOWS)
def test_an_uncertain_role_halves_the_confidence(effect, effects_of):
    sure, unsure = (
        {e.effect: e.confidence for e in effects_of(SHOWS[effect], confidence=confidence)}[effect]
        for confidence in (Confidence.HIGH, Confidence.LOW)
    )
    assert unsure == pytest.approx(sure / 2, abs=1e-3)


@pytest.mark.parametrize("effect", ["low-rank", "nearly-sparse", "sparse"])
def test_a_small_layer_is_less_sure(effect, effects_of):
    small, large = (
        {e.effect: e.confidence for e in effects_of(SHOWS[effect], shape=shape)}.get(effect, 0.0)
        for shape in ((8, 10), (512, 512))
    )
    assert small < large


@pytest.mark.parametrize(
    ("values", "layer"),
    [
        ({"kernel.growth": 0.5}, {}),
        ({"kernel.growth": 2.9}, {}),
        ({"kernel.zero_fraction": 5e-4, "kernel.near_zero_fraction": 1e-3}, {}),
        ({"kernel.zero_fraction": 0.5, "kernel.near_zero_fraction": 0.5, "kernel.l1_norm": 9.05 * 64}, {}),
        ({"kernel.zero_fraction": 0.04, "kernel.near_zero_fraction": 0.04, "kernel.rms": 0.02}, {"dtype": "F8_E4M3"}),
        ({"kernel.laplace_log_ratio": 0.05}, {"shape": (4, 40)}),
        ({"kernel.effective_rank_ratio": 0.1}, {"shape": (4, 40)}),
        ({"bias.dominant_fraction": 0.6}, {"is_output": True}),
        ({"bias.dominant_fraction": 0.6}, {"part": "key", "role": Role.ATTENTION}),
        ({"kernel.ignored_in_count": 1.0}, {"shape": (1, 2000)}),
        ({"bias.to_kernel_median": 0.01, "kernel.growth": 2.9}, {}),
    ],
    ids=[
        "another-init",
        "another-init-larger",
        "accidental-zeros",
        "one-magnitude",
        "fp8-underflow",
        "few-weights",
        "few-singular-values",
        "output-bias",
        "key-bias",
        "one-unit-noise",
        "bias-beside-a-grown-kernel",
    ],
)
def test_what_noise_or_the_role_explains_is_silent(values, layer, effects_of):
    assert effects_of(values, **layer) == ()


def test_zero_units_are_not_scattered_zeros(effects_of):
    values = {"kernel.zero_fraction": 0.5, "kernel.zero_out_count": 32.0, "kernel.dead_out_count": 32.0}
    values |= {"kernel.dead_out_fraction": 0.5, "bias.dominant_fraction": 0.5}
    assert names(effects_of(values)) == {"units-collapsed"}


def test_dead_units_explain_a_lower_rank(effects_of):
    values = {"kernel.dead_out_count": 40.0, "kernel.effective_rank_ratio": 0.3}
    assert names(effects_of(values)) == {"units-collapsed"}


def test_an_all_zero_kernel_is_collapsed_and_nothing_else(effects_of):
    assert names(effects_of({"kernel.zero_fraction": 1.0, "kernel.growth": 0.0})) == {"units-collapsed"}


def test_heavy_tails_are_no_evidence_for_l1(effects_of):
    (effect,) = effects_of(SHOWS["heavy-tailed"])
    assert "does not show that L1 was used" in effect.text


def test_zero_biases_cannot_tell(effects_of):
    (effect,) = effects_of({"bias.zero_fraction": 1.0})
    assert (effect.effect, effect.target) == ("untouched", Site.BIAS)


def test_a_layer_without_measurements_is_silent(make_layer, make_audit):
    assert see(make_audit(make_layer())) == ()


def test_huge_norms_do_not_overflow(effects_of):
    assert effects_of({"kernel.l1_norm": 1e308, "kernel.fro_norm": 1e308, "kernel.rms": 1e306}) == ()


def test_every_effect_has_a_detector():
    assert set(SHOWS) | {"untouched", "scale-free"} | ON_BATCH == {d.effect for d in EFFECTS}
    assert all(d.summary.endswith(".") for d in EFFECTS)


def test_time_steps_and_keys_say_nothing_by_their_bias(effects_of):
    for part in ("key", "time step"):
        assert "bias-dominant" not in {e.effect for e in effects_of(SHOWS["bias-dominant"], part=part)}


def test_growth_of_a_depthwise_kernel_needs_a_declared_start(effects_of):
    assert "grown" not in {e.effect for e in effects_of(SHOWS["grown"], role=Role.DEPTHWISE)}
    assert "grown" in {e.effect for e in effects_of(SHOWS["grown"], role=Role.DEPTHWISE, initial_std=0.1)}


def test_ignored_inputs_alone_are_no_heavy_tail(effects_of):
    values = SHOWS["heavy-tailed"] | {"kernel.ignored_in_fraction": 0.3}
    assert "heavy-tailed" not in {e.effect for e in effects_of(values)}


def test_units_without_weights_are_told_from_tiny_ones(effects_of):
    (tiny,) = [e for e in effects_of(SHOWS["units-collapsed"]) if e.effect == "units-collapsed"]
    (none,) = [
        e
        for e in effects_of(SHOWS["units-collapsed"] | {"kernel.zero_out_count": 30.0})
        if e.effect == "units-collapsed"
    ]
    assert "below a thousandth" in tiny.text
    assert "no weights" in none.text
