"""The one place that loads a causal language model, or builds a tiny one from scratch.

Only local folders are read: no model is ever fetched. The tiny model is for rehearsals where no base is at hand; it
has a tokenizer of its own, trained on the text that it is pre-trained on.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scanner.errors import ModelError

TINY_VOCABULARY, TINY_WIDTH, TINY_LAYERS, TINY_HEAD, TINY_CONTEXT = 4096, 256, 4, 32, 256
"""The pilot's shape, 4.2 million parameters (SCIENCE 3)."""
TINY_TEMPLATE = "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
TINY_MARKS = ("<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")


@dataclass(frozen=True)
class LanguageModel:
    """A causal model with its tokenizer, on the device where it will run."""

    model: Any  # transformers PreTrainedModel
    tokenizer: Any  # transformers fast tokenizer
    name: str
    parameters: int
    context: int  # tokens
    device: str


def load(path: Path, max_length: int | None = None) -> LanguageModel:
    """A local folder in the Hugging Face format; ModelError says what is missing.

    The context is the model's own, cut to `max_length` where the trainer cuts rows there.
    """
    transformers = _transformers()
    if not (path / "config.json").is_file():
        raise ModelError(
            f"--base {path}: no config.json there; give a local folder of a causal language model as "
            "`save_pretrained` writes it, or `tiny` to build a small one from the data itself"
        )
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(path, local_files_only=True)
        model = transformers.AutoModelForCausalLM.from_pretrained(path, local_files_only=True, dtype="float32")
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"--base {path}: not loadable as a causal language model ({_first_line(error)})") from error
    if not tokenizer.is_fast:
        raise ModelError(f"--base {path}: it has no fast tokenizer (tokenizer.json), which places of tokens need")
    known = getattr(model.config, "max_position_embeddings", None) or 2048
    return _placed(model, tokenizer, path.name, min(known, max_length or known))


def tiny(
    texts: Iterable[str], seed: int, context: int = TINY_CONTEXT, width: int | None = None, layers: int | None = None
) -> LanguageModel:
    """An untrained small Llama with a byte-level BPE trained on `texts`; width in multiples of TINY_HEAD."""
    width, layers = width or TINY_WIDTH, layers or TINY_LAYERS
    import tokenizers
    import torch

    transformers = _transformers()
    bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
    bpe.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=TINY_VOCABULARY,
        special_tokens=list(TINY_MARKS),
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=bpe, pad_token=TINY_MARKS[0], eos_token=TINY_MARKS[1], chat_template=TINY_TEMPLATE
    )
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // TINY_HEAD,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
    )
    torch.manual_seed(seed)
    return _placed(transformers.LlamaForCausalLM(config), tokenizer, "tiny", context)


def _placed(model: Any, tokenizer: Any, name: str, context: int) -> LanguageModel:
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    count = sum(p.numel() for p in model.parameters())
    return LanguageModel(model.to(device), tokenizer, name, count, context, device)


def _transformers() -> Any:
    """The library, told to stay off the network; it logs warnings only."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        import transformers
    except ImportError as error:
        raise ModelError("language models need the package transformers: pip install 'sftscan[model]'") from error
    logging: Any = transformers.utils.logging
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    return transformers


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:200]
