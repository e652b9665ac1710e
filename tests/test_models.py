"""Models are loaded from local folders only, and what does not suit is told."""

from __future__ import annotations

import json

import pytest

from scanner import models
from scanner.errors import ModelError


def test_a_saved_model_comes_back(tmp_path):
    import torch

    made = models.tiny(["some words to learn from, and some more"] * 5, seed=1, context=32)
    made.model.save_pretrained(tmp_path / "m")
    made.tokenizer.save_pretrained(tmp_path / "m")
    again = models.load(tmp_path / "m")
    assert (again.parameters, again.context) == (made.parameters, 32)
    assert models.load(tmp_path / "m", max_length=16).context == 16
    ids = torch.tensor([[5, 6, 7]], device=made.device)
    assert torch.equal(made.model.eval()(ids).logits, again.model.eval()(ids).logits)
    assert again.tokenizer.chat_template == models.TINY_TEMPLATE


def test_the_same_seed_gives_the_same_model():
    import torch

    a, b = (models.tiny(["a few words"], seed=3, context=16).model for _ in range(2))
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def test_folders_that_hold_no_model_are_refused(tmp_path):
    with pytest.raises(ModelError, match=r"no config\.json there; give a local folder"):
        models.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "nonsense"}))
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match="not loadable as a causal language model"):
        models.load(tmp_path)


@pytest.fixture
def saved(tmp_path):
    made = models.tiny(["some words to learn from, and some more"] * 5, seed=1, context=32, width=32, layers=1)
    made.model.save_pretrained(tmp_path / "m")
    made.tokenizer.save_pretrained(tmp_path / "m")
    return tmp_path / "m"


def test_an_adapter_or_a_gguf_file_is_no_base(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match="an adapter, not a model; give the folder of the model"):
        models.load(tmp_path)
    with pytest.raises(ModelError, match="GGUF file is for running, not for training"):
        models.load(tmp_path / "model.gguf")


def test_a_folder_without_tokenizer_is_refused(saved):
    (saved / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"no tokenizer there \(tokenizer\.json\); save the model's own"):
        models.load(saved)
    (saved / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match="its tokenizer is not loadable"):
        models.load(saved)


def test_a_tokenizer_of_another_model_is_refused(saved):
    import tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {f"w{i}": i for i in range(2000)}
    other = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="w0"))
    PreTrainedTokenizerFast(tokenizer_object=other).save_pretrained(saved)
    with pytest.raises(ModelError, match="do not belong together: the tokenizer has 2,000 tokens"):
        models.load(saved)


def test_weights_that_are_missing_are_not_drawn_at_random(saved):
    from safetensors.torch import load_file, save_file

    weights = load_file(saved / "model.safetensors")
    name = next(n for n in weights if "q_proj" in n)
    del weights[name]
    save_file(weights, saved / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="lack 1 of the model's weights"):
        models.load(saved)
    weights["model.norm.weight"].fill_(float("nan"))
    weights[name] = weights[name.replace("q_proj", "k_proj")]
    save_file({n: w.contiguous().clone() for n, w in weights.items()}, saved / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="not finite; its weights are damaged"):
        models.load(saved)


def test_a_model_that_looks_ahead_is_no_causal_one(saved):
    import transformers

    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    known = transformers.AutoTokenizer.from_pretrained(saved)
    config = transformers.BertConfig(vocab_size=len(known), max_position_embeddings=32, **shape)
    transformers.BertLMHeadModel(config).save_pretrained(saved)
    with pytest.raises(ModelError, match="later tokens change what it says of earlier ones"):
        models.load(saved)


@pytest.mark.parametrize("tied", [True, False])
def test_the_configuration_tells_the_number_of_parameters(saved, tmp_path, tied):
    import transformers

    config = transformers.LlamaConfig(
        vocab_size=500, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=96, tie_word_embeddings=tied,
    )  # fmt: skip
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    transformers.AutoTokenizer.from_pretrained(saved).save_pretrained(tmp_path)
    assert models.parameters_of(tmp_path) == models.load(tmp_path).parameters


@pytest.mark.parametrize(("width", "layers"), [(None, None), (64, 3), (96, 1)])
def test_the_size_of_a_tiny_base_is_known_before_it_is_made(width, layers):
    made = models.tiny(["a few words to make a vocabulary of"] * 3, seed=0, width=width, layers=layers)
    missing = (models.TINY_VOCABULARY - made.vocabulary) * (width or models.TINY_WIDTH)
    assert models.tiny_parameters(width, layers) == made.parameters + missing
