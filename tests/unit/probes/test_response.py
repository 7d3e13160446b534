"""Short trainings of every penalty: their rows, their stacking and what they find, against slow second definitions."""

import dataclasses

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from regaudit.config import Probing  # noqa: E402
from regaudit.errors import ConfigError  # noqa: E402
from regaudit.probes import response  # noqa: E402
from regaudit.probes.arms import NO_PENALTY, Arm, elastic, grid, neighbours  # noqa: E402
from regaudit.probes.effort import Effort, work_of  # noqa: E402
from regaudit.probes.initial_values import initial_values  # noqa: E402
from regaudit.probes.last_layer import NO_LAST_LAYER, last_layer  # noqa: E402
from regaudit.probes.response import ONE_BY_ONE, RETRAINED, SCREENED, respond  # noqa: E402
from regaudit.probes.retraining import Pool, Retraining  # noqa: E402
from regaudit.probes.splits import crossed, is_shifted, same  # noqa: E402
from regaudit.records import Layer, Norm, Response, Role, Site  # noqa: E402

QUICK = Effort(few=True, replicas=2, steps=40, best=3, longer=60, batch=32)


def linear(rows, inputs, used, noise, seed=0):
    """Return rows of a linear task of which `used` inputs matter."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, inputs, generator=generator)
    return x, x[:, :used].sum(1, keepdim=True) / used**0.5 + noise * torch.randn(rows, 1, generator=generator)


@pytest.fixture
def trained(session_of, monkeypatch):
    """A session of a network that memorised its training rows."""
    monkeypatch.setattr(response, "EFFORTS", ((1e5, QUICK),))

    def make(network, x, y, val, *, steps=300, **fields):
        torch.manual_seed(1)
        for module in network:
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
        optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
        for _ in range(steps):
            optimizer.zero_grad()
            nn.functional.mse_loss(network(x), y).backward()
            optimizer.step()
        network.requires_grad_(requires_grad=True)
        session = session_of(network, x, y, loss="mse", val=val, **fields)
        layers = tuple(Layer(name=place.layer, role=Role.DENSE) for place in session.runner.places)
        return dataclasses.replace(session, layers=layers)

    return make


def best(responses):
    return min((r for r in responses if r.method == RETRAINED), key=lambda each: each.loss)


def test_splits_take_every_row_once_and_keep_the_number_of_training_rows():
    splits = crossed(40, 20, 3, seed=0)
    assert [each.on_val for each in splits] == [True, False, False]
    assert {len(each.train) for each in splits} == {40}
    for each in splits:
        assert not set(each.train.tolist()) & set(each.held.tolist())
        assert len(set(each.train.tolist())) == 40
    judged = [row for each in splits for row in each.held.tolist()]
    assert sorted(judged) == list(range(60))


def test_without_validation_rows_the_splits_are_folds():
    splits = crossed(30, 0, 3, seed=0)
    assert not any(each.on_val for each in splits)
    assert sorted(row for each in splits for row in each.held.tolist()) == list(range(30))


def test_the_same_split_is_the_users_own():
    for each in same(5, 3, 2):
        assert each.train.tolist() == [0, 1, 2, 3, 4]
        assert each.held.tolist() == [5, 6, 7]


def test_a_shift_is_a_difference_beyond_three_standard_errors():
    rows = torch.randn(200, generator=torch.Generator().manual_seed(0)).square()
    assert not is_shifted(rows[:100], rows[100:])
    assert is_shifted(rows[:100] + 1.0, rows[100:])
    assert not is_shifted(rows[:0], rows)


def test_neighbours_are_half_and_twice_and_the_other_norm_where_it_was_not_tried():
    arm = Arm(site=Site.ACTIVITY, norm=Norm.L2, strength=0.03)
    found = {(a.norm, round(a.strength, 6)) for a in neighbours(arm, [arm])}
    assert found == {(Norm.L2, 0.015), (Norm.L2, 0.06), (Norm.L1, 0.006)}
    assert neighbours(NO_PENALTY, grid()) == ()
    assert grid()[0] == grid(few=True)[0] == NO_PENALTY


def test_l1_and_l2_at_once_are_tried_where_both_are_among_the_best():
    l1, l2, other = (
        Arm(site=s, norm=n, strength=x)
        for s, n, x in ((Site.KERNEL, Norm.L1, 0.02), (Site.KERNEL, Norm.L2, 0.1), (Site.ACTIVITY, Norm.L2, 0.1))
    )
    assert elastic([l2, other, l1]) == (Arm(site=Site.KERNEL, strength=0.01, strength_l2=0.05),)
    assert elastic([l2, other]) == elastic([]) == ()


def test_l1_and_l2_at_once_lead_only_where_that_is_no_chance():
    arms = (NO_PENALTY, Arm(site=Site.KERNEL, norm=Norm.L1, strength=0.02), elastic_arm())
    rows = torch.randn(100, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(100, generator=torch.Generator().manual_seed(1))
    noise = (noise - noise.mean()) / noise.std()  # a standard error of 0.1
    for lead, reference in ((0.3, 2), (0.15, 1), (-0.1, 1)):
        losses = torch.stack([rows + 1.0, rows, rows - lead + noise])
        assert response._reference(arms, losses) == reference, lead


def elastic_arm():
    return Arm(site=Site.KERNEL, strength=0.01, strength_l2=0.05)


def test_l1_and_l2_at_once_take_the_place_of_the_last_of_the_best(trained):
    x, y = linear(40, 4, 2, 0.1)
    session = trained(nn.Sequential(nn.Linear(4, 1)), x, y, linear(30, 4, 2, 0.1, seed=1), steps=20)
    trial = response.Trial(session, QUICK)
    taken = []
    trial._outcome = lambda arms, splits, steps, first: taken.append(arms)
    trial._responses = lambda outcome, method: (screened(Site.KERNEL, 0.1),)
    l1 = dataclasses.replace(screened(Site.KERNEL, 0.15), norm=Norm.L1, strength=0.02)
    trial.refine([screened(Site.NONE, 0.3), screened(Site.KERNEL, 0.1), l1, screened(Site.ACTIVITY, 0.2)])
    assert elastic_arm().site in {a.site for a in taken[0] if a.strength_l2 == 0.5}
    assert Site.ACTIVITY not in {a.site for a in taken[0]}


def test_a_stack_trains_as_its_members_do_alone(trained):
    """Every penalty in the stack ends where a plain loop with autograd's own penalty does."""
    x, y = linear(30, 4, 2, 0.1)
    session = trained(nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1)), x, y, None, steps=5)
    arms = [NO_PENALTY, *(Arm(site=s, norm=n, strength=0.05) for s in list(Site)[1:] for n in Norm)]
    arms.append(Arm(site=Site.KERNEL, strength=0.05, strength_l2=0.2))
    pool, splits = Pool(inputs={"x": x}, labels=y), same(30, 0, 1)
    network = Retraining(session, batch=30)
    together = network.train(arms, splits, [3], pool, 6)
    for arm, weights in zip(arms, together[:, 0], strict=True):
        assert torch.allclose(weights, alone(session, arm, x, y, 6), atol=2e-4), arm


def alone(session, arm, x, y, steps):
    """Train one network with a penalty in its loss, by the plain loop."""
    import math

    start = initial_values(session, 3)
    names = list(start)
    values = [start[name].clone().requires_grad_() for name in names]
    rates = [min(0.04, 0.4 * float(v.detach().square().mean().sqrt())) if v.ndim > 1 else 0.04 for v in values]
    first, second = [torch.zeros_like(v) for v in values], [torch.zeros_like(v) for v in values]
    l1 = arm.strength if arm.norm is not Norm.L2 else 0.0
    l2 = arm.strength if arm.norm is Norm.L2 else arm.strength_l2 or 0.0
    for step in range(steps):
        w0, b0, w1, b1 = values
        hidden = torch.tanh(x @ w0.T + b0)
        output = hidden @ w1.T + b1
        penalised = {Site.KERNEL: [w0, w1], Site.BIAS: [b0, b1], Site.ACTIVITY: [hidden, output]}.get(arm.site, [])
        added = sum(l1 * each.abs().sum() + l2 * each.square().sum() for each in penalised)
        loss = (output - y).square().mean() + added / (len(x) if arm.site is Site.ACTIVITY else 1)
        for i, slope in enumerate(torch.autograd.grad(loss, values)):
            first[i] = 0.9 * first[i] + 0.1 * slope
            second[i] = 0.99 * second[i] + 0.01 * slope**2
            size = rates[i] * 0.5 * (1 + math.cos(math.pi * step / steps)) / (1 - 0.9 ** (step + 1))
            values[i] = (values[i] - size * first[i] / ((second[i] / (1 - 0.99 ** (step + 1))).sqrt() + 1e-8)).detach()
            values[i].requires_grad_()
    return torch.cat([v.detach().flatten() for v in values])


def test_a_sparse_task_with_few_rows_gains_by_a_kernel_penalty(trained, monkeypatch):
    effort = dataclasses.replace(QUICK, replicas=3, steps=60, longer=80, batch=64)
    monkeypatch.setattr(response, "EFFORTS", ((1e5, effort),))
    x, y = linear(40, 30, 2, 0.4)
    val = linear(30, 30, 2, 0.4, seed=1)
    found = respond(trained(nn.Sequential(nn.Linear(30, 1)), x, y, val))
    chosen = best(found.responses)
    assert chosen.site is Site.KERNEL
    assert chosen.gain > 2 * chosen.gain_se
    assert chosen.behind == 0.0
    none = next(r for r in found.responses if r.method == RETRAINED and r.norm is None)
    assert none.behind > 2 * none.behind_se
    assert none.shrinkage == none.sensitivity == 1.0
    assert chosen.shrinkage < 1.0
    assert {r.method for r in found.responses} == {RETRAINED, SCREENED}


def test_much_clean_data_gain_nothing(trained):
    x, y = linear(300, 4, 4, 0.3)
    val = linear(200, 4, 4, 0.3, seed=1)
    chosen = best(respond(trained(nn.Sequential(nn.Linear(4, 1)), x, y, val)).responses)
    assert chosen.gain < 0.01 * chosen.loss + chosen.gain_se


def test_labels_drawn_at_random_gain_by_shrinking_to_a_constant(trained):
    generator = torch.Generator().manual_seed(2)
    x, y = torch.randn(60, 10, generator=generator), torch.randn(60, 1, generator=generator)
    chosen = best(respond(trained(nn.Sequential(nn.Linear(10, 1)), x[:40], y[:40], (x[40:], y[40:]))).responses)
    assert chosen.norm is not None
    assert chosen.shrinkage < 0.7


def test_shifted_validation_rows_judge_alone_and_a_note_says_so(trained):
    x, y = linear(60, 4, 4, 0.1)
    val_x, val_y = linear(40, 4, 4, 0.1, seed=1)
    found = respond(trained(nn.Sequential(nn.Linear(4, 1)), x, y + 3.0, (val_x, val_y)))
    assert any("another distribution" in note for note in found.notes)


def test_too_few_rows_are_a_reason(trained):
    x, y = linear(8, 4, 4, 0.1)
    found = respond(trained(nn.Sequential(nn.Linear(4, 1)), x, y, None, steps=1))
    assert not found.responses
    assert "needs at least 16" in found.skips[0].reason


def test_too_large_a_network_without_validation_rows_is_a_reason(trained, monkeypatch):
    x, y = linear(20, 4, 4, 0.1)
    session = trained(nn.Sequential(nn.Linear(4, 1)), x, y, None, steps=1)
    monkeypatch.setattr(response, "EFFORTS", ((3.0, QUICK),))
    reason = respond(session).skips[0].reason
    assert "needs validation data" in reason
    assert "regaudit trial" in reason


@pytest.fixture
def large(trained, monkeypatch):
    """A network that counts as too large, on a task of which two of its 12 features matter."""
    x, y = linear(200, 12, 2, 0.4)
    network = nn.Sequential(nn.Linear(12, 12), nn.Identity(), nn.Linear(12, 1))
    session = trained(network, x[:100], y[:100], (x[100:], y[100:]), steps=30)
    monkeypatch.setattr(response, "EFFORTS", ((10.0, QUICK),))
    return session


def test_of_too_large_a_network_the_last_layer_alone_is_trained(large):
    found = respond(large)
    assert {each.layer for each in found.responses} == {large.layers[-1].name}
    assert best(found.responses).loss < float(large.val.labels.var())
    assert found.notes == ()


def test_the_features_of_the_last_layer_give_the_networks_output(large):
    head = last_layer(large, 100.0)
    assert torch.allclose(head.runner(head.val.inputs), large.runner(large.val.inputs), atol=1e-5)
    assert torch.equal(head.val.labels, large.val.labels)


def test_an_output_that_is_not_a_dense_layers_has_no_last_layer(trained):
    x, y = linear(100, 4, 4, 0.1)
    session = trained(nn.Sequential(nn.Linear(4, 1), nn.Softplus()), x, y, (x, y), steps=1)
    assert last_layer(session, 100.0) == NO_LAST_LAYER


def test_features_that_take_too_long_are_a_reason(large):
    assert "64 examples" in last_layer(large, 1e12)


def test_the_same_seed_gives_the_same_numbers(trained):
    x, y = linear(40, 6, 2, 0.4)
    session = trained(nn.Sequential(nn.Linear(6, 1)), x, y, linear(30, 6, 2, 0.4, seed=1))
    assert respond(session) == respond(session)


def test_resuming_begins_at_the_trained_weights(trained):
    x, y = linear(40, 6, 2, 0.1)
    session = trained(nn.Sequential(nn.Linear(6, 1)), x, y, None)
    session = dataclasses.replace(session, estimand="resume")
    pool = Pool(inputs={"x": x}, labels=y)
    weights = Retraining(session, batch=40).train([NO_PENALTY], same(40, 0, 1), [0], pool, 0)
    trained_weights = torch.cat([p.detach().flatten() for p in session.runner.network.parameters()])
    assert torch.equal(weights[0, 0], trained_weights)


def test_batch_norm_and_dropout_are_trained(trained):
    x, y = linear(48, 5, 2, 0.3)
    network = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.2), nn.Linear(6, 1))
    session = trained(network, x, y, linear(24, 5, 2, 0.3, seed=1), steps=20)
    before = {name: value.clone() for name, value in session.runner.network.state_dict().items()}
    chosen = best(respond(session).responses)
    assert chosen.loss < float(y.var())
    after = session.runner.network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_network_that_asks_for_numbers_is_trained_one_by_one(session_of, monkeypatch):
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 1)

        def forward(self, x):
            return self.fc(x) if float(x.detach().sum()) > 0 else -self.fc(x)

    monkeypatch.setattr(response, "ALONE", dataclasses.replace(response.ALONE, steps=2, longer=2))
    x, y = linear(30, 4, 2, 0.1)
    found = respond(session_of(Branching(), x, y, loss="mse"))
    assert found.notes == (ONE_BY_ONE,)
    assert {r.zero_fraction for r in found.responses} == {None}  # no layer of the audit is among its modules


def test_a_recurrent_network_is_trained_one_by_one(session_of, monkeypatch):
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(3, 4, batch_first=True)
            self.fc = nn.Linear(4, 1)

        def forward(self, x):
            return self.fc(self.lstm(x)[0][:, -1])

    monkeypatch.setattr(response, "ALONE", dataclasses.replace(response.ALONE, steps=2, longer=2, batch=16))
    x = torch.randn(40, 3, 3, generator=torch.Generator().manual_seed(0))
    session = session_of(Last(), x, x[:, -1, :1], loss="mse")
    assert work_of(session) >= 3 * 4 * 4 * (3 + 4)
    found = respond(session)
    assert found.notes == (ONE_BY_ONE,)
    assert {r.method for r in found.responses} == {RETRAINED, SCREENED}


def test_one_by_one_and_in_a_stack_the_same_networks_come_out(trained):
    x, y = linear(30, 4, 2, 0.1)
    session = trained(nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1)), x, y, None, steps=5)
    arms, splits = (NO_PENALTY, Arm(site=Site.ACTIVITY, norm=Norm.L1, strength=0.1)), same(30, 0, 1)
    pool = Pool(inputs={"x": x}, labels=y)
    weights = [
        Retraining(session, batch=30, stacked=stacked).train(arms, splits, [0], pool, 10) for stacked in (True, False)
    ]
    assert torch.allclose(*weights, atol=1e-5)


def test_inputs_that_l1_drops_are_named(trained, monkeypatch):
    monkeypatch.setattr(response, "EFFORTS", ((1e5, dataclasses.replace(QUICK, longer=200)),))
    x, y = linear(60, 8, 1, 0.1)
    found = respond(trained(nn.Sequential(nn.Linear(8, 1)), x, y, linear(40, 8, 1, 0.1, seed=1)))
    strong = max((r for r in found.responses if r.norm is Norm.L1 and r.site is Site.KERNEL), key=lambda r: r.strength)
    assert strong.dropped_inputs
    assert 0 not in strong.dropped_inputs
    assert all(not r.dropped_inputs for r in found.responses if r.norm is Norm.L2 or r.site is Site.NONE)


def test_a_bias_penalty_that_only_holds_early_is_not_the_best_after_longer_training(trained):
    """The second training of biases is twice as long as that of kernels."""
    x, y = linear(40, 4, 2, 0.1)
    session = trained(nn.Sequential(nn.Linear(4, 1)), x, y, linear(30, 4, 2, 0.1, seed=1), steps=20)
    trial = response.Trial(session, QUICK)
    taken = []
    trial._outcome = lambda arms, splits, steps, first: taken.append(steps)
    trial._responses = lambda outcome, method: (screened(Site.BIAS, 0.1),)
    trial.refine([screened(Site.NONE, 0.3), screened(Site.KERNEL, 0.1), screened(Site.BIAS, 0.2)])
    assert taken == [QUICK.longer, 2 * QUICK.longer]
    taken.clear()
    trial.refine([screened(Site.NONE, 0.3), screened(Site.KERNEL, 0.2), screened(Site.BIAS, 0.1)])
    assert taken == [2 * QUICK.longer]


def screened(site, loss):
    norm = None if site is Site.NONE else Norm.L2
    return Response(
        site=site, norm=norm, strength=1.0 if norm else 0.0, estimand="retrain", loss=loss, gain=0.0, gain_se=0.1
    )


def test_progress_is_told_and_threads_are_given_back(trained):
    x, y = linear(30, 4, 2, 0.1)
    told, before = [], torch.get_num_threads()
    session = trained(nn.Sequential(nn.Linear(4, 1)), x, y, None, steps=1)
    respond(dataclasses.replace(session, progress=lambda *each: told.append(each)))
    assert {total for _, total, _ in told} == {QUICK.steps, QUICK.longer}
    assert all(done < total for done, total, _ in told)
    assert torch.get_num_threads() == before


def test_resumed_trainings_say_so_and_differ_from_new_ones(trained):
    x, y = linear(40, 6, 2, 0.4)
    session = trained(nn.Sequential(nn.Linear(6, 1)), x, y, linear(30, 6, 2, 0.4, seed=1))
    anew, resumed = (respond(dataclasses.replace(session, estimand=each)).responses for each in ("retrain", "resume"))
    assert {r.estimand for r in resumed} == {"resume"}
    none = [next(r for r in each if r.norm is None and r.method == SCREENED) for each in (anew, resumed)]
    assert none[0].loss != none[1].loss


def test_an_unknown_estimand_is_refused():
    with pytest.raises(ConfigError, match=r"--estimand cannot be 'both'; choose retrain or resume"):
        Probing(estimand="both")
