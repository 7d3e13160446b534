"""A Hugging Face Trainer with the penalty trains as the plain loop does."""

import copy

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from regaudit.penalties import Penalties, Penalty  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # transformers warns of its own calls to torch
PENALTIES = (
    Penalty(site="kernel", l2=0.01, except_layers="*lm_head"),
    Penalty(site="bias", l1=0.02),
    Penalty(site="activity", l2=0.001, layers="*mlp.c_fc"),
)


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        n_layer=1, n_embd=8, n_head=2, vocab_size=11, n_positions=6, bos_token_id=0, eos_token_id=0,
        attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0,
    )  # fmt: skip
    model = transformers.GPT2LMHeadModel(config)
    for name, each in model.named_parameters():
        if "bias" in name:
            torch.nn.init.normal_(each, std=0.3)
    return model


@pytest.fixture
def rows():
    ids = torch.randint(11, (8, 6), generator=torch.Generator().manual_seed(1))
    # The first token is no target: transformers counts it all the same.
    return [{"input_ids": row, "labels": row.clone().index_fill_(0, torch.tensor([0]), -100)} for row in ids]


def settings(tmp_path, **more):
    return transformers.TrainingArguments(
        output_dir=str(tmp_path), per_device_train_batch_size=2, num_train_epochs=2, learning_rate=0.1, optim="sgd",
        lr_scheduler_type="constant", max_grad_norm=0.0, report_to=[], save_strategy="no", use_cpu=True, disable_tqdm=True,
        **more,
    )  # fmt: skip


class InOrder:
    """A Trainer that takes the rows as they come."""

    def _get_train_sampler(self, *args, **kwargs):
        return torch.utils.data.SequentialSampler(self.train_dataset)


class PlainLoss:
    """A Trainer that doesn't count items: the mean loss of each batch."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.model_accepts_loss_kwargs = False


@pytest.mark.parametrize("counts", [True, False], ids=["items", "batches"])
@pytest.mark.parametrize("steps", [1, 2])
def test_it_trains_as_the_plain_loop_does(tmp_path, model, rows, steps, counts):
    other = copy.deepcopy(model)
    base = type("Base", (InOrder, transformers.Trainer) if counts else (InOrder, PlainLoss, transformers.Trainer), {})
    with Penalties(*PENALTIES) as penalty:
        kind = penalty.trainer_class(base)
        kind(model=model, args=settings(tmp_path, gradient_accumulation_steps=steps), train_dataset=rows).train()
        optimizer = torch.optim.SGD(other.train().parameters(), lr=0.1)
        for _ in range(2):
            for k in range(4):
                batch = {n: torch.stack([row[n] for row in rows[2 * k : 2 * k + 2]]) for n in ("input_ids", "labels")}
                ((other(**batch).loss + penalty(other)) / steps).backward()
                if (k + 1) % steps == 0:
                    optimizer.step()
                    optimizer.zero_grad()
    for ours, theirs in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_evaluation_is_without_the_penalty(tmp_path, model, rows):
    found = []
    for penalty in (Penalties(), Penalties(Penalty(site="kernel", l2=100.0))):
        trainer = penalty.trainer_class()(model=model, args=settings(tmp_path), eval_dataset=rows)
        found.append(trainer.evaluate()["eval_loss"])
    assert found[0] == found[1]
