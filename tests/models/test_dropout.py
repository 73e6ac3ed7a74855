from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

from siri.models.dropout import remove_dropout

SMALL = {"vocab_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 8}


@pytest.mark.parametrize(
    "config",
    [
        GPT2Config(vocab_size=32, n_embd=8, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0),
        LlamaConfig(**SMALL, intermediate_size=8, attention_dropout=0.5),
    ],
)
def test_in_training_a_model_computes_what_it_computed_in_play(config: object) -> None:
    model = AutoModelForCausalLM.from_config(config).train()
    ids = torch.arange(12)[None]
    with torch.no_grad():
        assert not torch.equal(model(ids).logits, model(ids).logits)
        remove_dropout(model)
        learnt = model(ids).logits
        assert torch.equal(learnt, model.eval()(ids).logits)
