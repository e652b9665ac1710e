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
NO_CHANGE = 1e-4
"""Of the change where a token was exchanged: what rounding may do before it (seen: none; a model that looks ahead
changes by a thousandth even with random weights)."""
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json")
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

    @property
    def vocabulary(self) -> int:
        """Entries of the output layer; often more than the tokenizer knows."""
        return int(self.model.get_output_embeddings().weight.shape[0])


def load(path: Path, max_length: int | None = None) -> LanguageModel:
    """A local folder in the Hugging Face format; ModelError says what is missing.

    The context is the model's own, cut to `max_length` where the trainer cuts rows there.
    """
    transformers = _transformers()
    check_folder(path)
    try:
        model, report = transformers.AutoModelForCausalLM.from_pretrained(
            path, local_files_only=True, dtype="float32", output_loading_info=True
        )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        raise ModelError(f"--base {path}: not loadable as a causal language model ({_first_line(error)})") from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(
            f"--base {path}: its files lack {len(missing)} of the model's weights ({missing[0]}, ...), which would be "
            "drawn at random; save the whole model there again"
        )
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(path, local_files_only=True)
    except (OSError, ValueError, KeyError, ImportError, AttributeError, TypeError) as error:
        raise ModelError(f"--base {path}: its tokenizer is not loadable ({_first_line(error)})") from error
    if not tokenizer.is_fast:
        raise ModelError(f"--base {path}: it has no fast tokenizer (tokenizer.json), which places of tokens need")
    known = getattr(model.config.get_text_config(), "max_position_embeddings", None) or 2048
    loaded = _placed(model, tokenizer, path.resolve().name, min(known, max_length or known))
    largest = max(tokenizer.get_vocab().values(), default=0)
    rows = model.get_input_embeddings().weight.shape[0]
    if largest >= rows:
        raise ModelError(
            f"--base {path}: tokenizer and model do not belong together: the tokenizer has {largest + 1:,} tokens, the "
            f"model's embedding {rows:,} rows"
        )
    _check_causal(loaded, path)
    return loaded


def parameters_of(path: Path) -> int:
    """Parameters of the model in a folder, from its configuration alone; ModelError where `load` would refuse it."""
    transformers = _transformers()
    check_folder(path)
    import torch

    try:
        config = transformers.AutoConfig.from_pretrained(path, local_files_only=True)
        with torch.device("meta"):
            model = transformers.AutoModelForCausalLM.from_config(config)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, TypeError) as error:
        raise ModelError(f"--base {path}: not loadable as a causal language model ({_first_line(error)})") from error
    return sum(parameter.numel() for parameter in model.parameters())


def check_folder(path: Path) -> None:
    """A folder that cannot hold a model is refused with what it does hold."""
    if (path / "config.json").is_file():
        if not any((path / name).is_file() for name in TOKENIZER_FILES):
            raise ModelError(
                f"--base {path}: no tokenizer there (tokenizer.json); save the model's own beside it with "
                "`tokenizer.save_pretrained`"
            )
        return
    if (path / "adapter_config.json").is_file():
        raise ModelError(
            f"--base {path}: an adapter, not a model; give the folder of the model that it was made for, or merge both "
            "with `merge_and_unload` and save that"
        )
    if path.suffix == ".gguf" or (path.is_dir() and any(path.glob("*.gguf"))):
        raise ModelError(f"--base {path}: a GGUF file is for running, not for training; give the model it was made of")
    raise ModelError(
        f"--base {path}: no config.json there; give a local folder of a causal language model as "
        "`save_pretrained` writes it (nothing is downloaded); `scan rehearse RUN --base tiny` builds a small one from "
        "the data itself"
    )


def _check_causal(loaded: LanguageModel, path: Path) -> None:
    """Later tokens must not change what is said of earlier ones, or nothing measured by teacher forcing holds."""
    import torch

    ids = torch.arange(2, 8).remainder(loaded.vocabulary)[None].to(loaded.device)
    other = ids.clone()
    other[0, -1] = (other[0, -1] + 1) % loaded.vocabulary
    loaded.model.eval()
    try:
        with torch.no_grad():
            said, again = (loaded.model(input_ids=x).logits[0].float() for x in (ids, other))
    except (RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise ModelError(f"--base {path}: it does not run on six tokens ({_first_line(error)})") from error
    if not bool(torch.isfinite(said).all()):
        raise ModelError(f"--base {path}: what it says of six tokens is not finite; its weights are damaged")
    change = (said - again).abs().amax(1)  # (6,) at each place, by another last token
    if bool((change[:-1] > NO_CHANGE * change[-1]).any()):
        raise ModelError(
            f"--base {path}: later tokens change what it says of earlier ones, so it is no causal language model"
        )
    loaded.model.train()


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
