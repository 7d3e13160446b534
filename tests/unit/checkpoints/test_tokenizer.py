import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from regaudit.checkpoints import open_checkpoint
from regaudit.checkpoints.tokenizer import vocabulary_beside
from regaudit.layers import group
from regaudit.layers.history import with_unused

WORDS = {"[PAD]": 0, "[unused0]": 1, "the": 2, "[unused1]": 3, "cat": 4}


def write(folder, content):
    (folder / "tokenizer.json").write_text(content if isinstance(content, str) else json.dumps(content))


@pytest.mark.parametrize("content", [
    {"model": {"vocab": WORDS}},
    {"model": {"vocab": {}}, "added_tokens": [{"id": i, "content": t} for t, i in WORDS.items()]},
    {"model": {"vocab": [[token, -1.0] for token in WORDS]}},
    {"model": {"vocab": {**WORDS, "bad": "x", "worse": -3, "true": True}}},
], ids=["map", "added tokens", "pairs", "hostile ids"])  # fmt: skip
def test_reserved_tokens_are_named(tmp_path, content):
    write(tmp_path, content)
    found = vocabulary_beside(tmp_path)
    assert (found.size, found.reserved) == (5, (1, 3))


def test_a_list_of_words_is_read(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS))
    assert vocabulary_beside(tmp_path).reserved == (1, 3)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"model": 3}', '{"model": {"vocab": 3}, "added_tokens": {}}'])
def test_a_broken_tokenizer_says_nothing(tmp_path, content):
    write(tmp_path, content)
    assert vocabulary_beside(tmp_path) is None


def test_rows_that_no_token_uses_reach_the_table(tmp_path):
    """Reserved tokens, and the rows that pad the table to a round size; a table of something else has none."""
    write(tmp_path, {"model": {"vocab": WORDS}})
    (tmp_path / "config.json").write_text("{}")
    tables = {"embeddings.word_embeddings.weight": (8, 16), "embeddings.token_type_embeddings.weight": (2, 16)}
    save_file({name: np.ones(shape, np.float32) for name, shape in tables.items()}, tmp_path / "model.safetensors")
    with open_checkpoint(tmp_path) as checkpoint:
        layers = with_unused(group(checkpoint).layers, checkpoint.vocabulary)
    assert {each.name: each.unused_inputs for each in layers} == {
        "embeddings.word_embeddings": (1, 3, 5, 6, 7),
        "embeddings.token_type_embeddings": (),
    }
