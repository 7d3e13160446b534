"""Whatever the names and shapes: every tensor is in a layer or skipped, and every layer can be read (see `checked`)."""

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from regaudit.layers.names import LEAVES

PATHS = st.lists(
    st.sampled_from(
        ["0", "1", "2", "layers", "attn", "self_attn", "qkv", "query", "key", "value", "query_key_value", "c_attn", "experts",
         "gate_up_proj", "down_proj", "conv1", "bn1", "norm", "embed", "pos_embed", "up", "lstm", "fc", "module", "params", "W1", "b1",
         "parametrizations", "lora_A", "lora_B", ""]
    ),
    max_size=4,
)  # fmt: skip
LAST = st.sampled_from(
    [*LEAVES, "weight_g", "weight_v", "weight_orig", "weight_mask", "weight_u", "weight_scale", "weight_ih_l0", "weight_hh_l0",
     "bias_hh_l0", "in_proj_weight", "in_proj_bias", "q_proj_weight", "parametrizations.weight.original0",
     "parametrizations.weight.0._u", "lora_A.weight", "lora_B.weight", "lora_embedding_A", "qweight", "scales", "weight.absmax",
     "A_log", "alpha", "x", ""]
)  # fmt: skip
NAMES = st.builds(lambda path, leaf, sep: sep.join([*path, leaf]), PATHS, LAST, st.sampled_from([".", "/"]))
DTYPES = st.sampled_from(["F32", "F32", "F32", "F16", "F64", "F8_E4M3", "I8", "I64", "U8", "BOOL"])
SHAPES = st.lists(st.sampled_from([0, 1, 2, 3, 4, 6, 12]), max_size=5).map(tuple)
STORED = {
    "F32": np.float32,
    "F16": np.float32,
    "F64": np.float64,
    "F8_E4M3": np.float32,
    "I8": np.int8,
    "I64": np.int64,
    "U8": np.uint8,
    "BOOL": bool,
}
MODELS = st.dictionaries(NAMES, st.tuples(DTYPES, SHAPES), max_size=8)
CONFIGS = st.fixed_dictionaries(
    {},
    optional={
        "model_type": st.sampled_from(["gpt2", "falcon", "bloom", "gpt_oss", "codegen"]),
        "num_attention_heads": st.integers(0, 4),
        "num_key_value_heads": st.integers(0, 4),
        "hidden_size": st.integers(0, 12),
        "multi_query": st.booleans(),
        "new_decoder_architecture": st.booleans(),
    },
)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(described=MODELS, config=CONFIGS, adapter=st.sampled_from([{}, {"lora_alpha": 4, "use_rslora": True}]))
def test_every_tensor_is_in_a_layer_or_skipped(checked, checkpoint, described, config, adapter):
    rng = np.random.default_rng(0)
    arrays = {name: rng.integers(1, 9, shape).astype(STORED[dtype]) for name, (dtype, shape) in described.items()}
    dtypes = {name: dtype for name, (dtype, _) in described.items()}
    checked(checkpoint(arrays, dtypes=dtypes, config=config, adapter=adapter))
