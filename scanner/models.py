"""The one place that loads a causal language model, or builds a tiny one from scratch.

Only local folders are read: no model is ever fetched. The tiny model is for rehearsals where no base is at hand; it
has a tokenizer of its own, trained on the text that it is pre-trained on.
"""

from __future__ import annotations

import json
import os
import warnings
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
ADAPTER = "adapter_config.json"
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


def load(path: Path, max_length: int | None = None, option: str = "--base") -> LanguageModel:
    """A local folder in the Hugging Face format; ModelError says what is missing.

    The context is the model's own, cut to `max_length` where the trainer cuts rows there. option: by which the
    folder was named.
    """
    transformers = _transformers()
    check_folder(path, option)
    try:
        model, report = transformers.AutoModelForCausalLM.from_pretrained(
            path, local_files_only=True, dtype="float32", output_loading_info=True
        )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        raise ModelError(f"{option} {path}: not loadable as a causal language model ({_first_line(error)})") from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(
            f"{option} {path}: its files lack {len(missing)} of the model's weights ({missing[0]}, ...), which would "
            "be drawn at random; save the whole model there again"
        )
    tokenizer = _tokenizer(path, option)
    known = getattr(model.config.get_text_config(), "max_position_embeddings", None) or 2048
    loaded = _placed(model, tokenizer, path.resolve().name, min(known, max_length or known))
    _check_tokens(loaded, path, option)
    _check_causal(loaded, path, option)
    return loaded


def _tokenizer(path: Path, option: str) -> Any:
    try:
        tokenizer = _transformers().AutoTokenizer.from_pretrained(path, local_files_only=True)
    except (OSError, ValueError, KeyError, ImportError, AttributeError, TypeError) as error:
        raise ModelError(f"{option} {path}: its tokenizer is not loadable ({_first_line(error)})") from error
    if not tokenizer.is_fast:
        raise ModelError(f"{option} {path}: it has no fast tokenizer (tokenizer.json), which places of tokens need")
    return tokenizer


def _check_tokens(loaded: LanguageModel, path: Path, option: str) -> None:
    """ModelError where the tokenizer knows tokens that the model does not."""
    largest = max(loaded.tokenizer.get_vocab().values(), default=0)
    rows = loaded.model.get_input_embeddings().weight.shape[0]
    if largest >= rows:
        raise ModelError(
            f"{option} {path}: tokenizer and model do not belong together: the tokenizer has {largest + 1:,} tokens, "
            f"the model's embedding {rows:,} rows"
        )


def is_adapter(path: Path) -> bool:
    """Whether a folder holds what peft saves of an adapter, and no whole model."""
    return (path / ADAPTER).is_file() and not (path / "config.json").is_file()


def adapted_base(path: Path, base: Path | None) -> tuple[Path, int]:
    """The folder of the model that an adapter was made for, and the adapter's rank.

    base: as the user named it, else the adapter's own word counts. ModelError where it is unreadable, no LoRA, or its
    model is not at hand.
    """
    try:
        told = json.loads((path / ADAPTER).read_text("utf-8"))
        kind, rank, name = str(told["peft_type"]), int(told.get("r") or 0), told.get("base_model_name_or_path")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise ModelError(
            f"--model {path}: its {ADAPTER} is not readable as an adapter's; save the adapter there again with "
            "`save_pretrained`"
        ) from None
    if kind.upper() != "LORA":
        raise ModelError(
            f"--model {path}: an adapter of kind {kind}; only LoRA adapters are known: merge it into its model with "
            "`merge_and_unload` and give the folder of that"
        )
    if base is not None:
        return base, rank
    named = [folder for folder in (Path(str(name)), path / str(name)) if name and (folder / "config.json").is_file()]
    if not named:
        raise ModelError(
            f"--model {path}: an adapter for {name or 'a model that it does not name'}, which is no local folder; name "
            "the folder of that model with --base (nothing is downloaded)"
        )
    return named[0], rank


def load_adapted(path: Path, base: Path, max_length: int | None = None) -> LanguageModel:
    """An adapter on the model that it was made for; its parameters are those of that model.

    The adapter's own tokenizer is taken where it brings one. ModelError where the two do not fit.
    """
    loaded = load(base, max_length)
    try:
        import peft
    except ImportError as error:
        raise ModelError("adapters need the package peft: pip install 'sftscan[model]'") from error
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            model = peft.PeftModel.from_pretrained(loaded.model, path, is_trainable=False)
        except (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError) as error:
            raise ModelError(
                f"--model {path}: not loadable as an adapter of {base} ({_first_line(error)}); name the model that it "
                "was made for with --base"
            ) from error
    if lacking := [str(w.message) for w in told if "missing adapter keys" in str(w.message)]:
        raise ModelError(
            f"--model {path}: its files lack weights of the adapter ({lacking[0][:120]}); save it there again with "
            "`save_pretrained`"
        )
    tokenizer = loaded.tokenizer
    if any((path / name).is_file() for name in TOKENIZER_FILES):
        tokenizer = _tokenizer(path, "--model")
    name = path.resolve().name
    adapted = LanguageModel(model, tokenizer, name, loaded.parameters, loaded.context, loaded.device)
    _check_tokens(adapted, path, "--model")
    _check_causal(adapted, path, "--model")
    return adapted


def parameters_of(path: Path, option: str = "--base") -> int:
    """Parameters of the model in a folder, from its configuration alone; ModelError where `load` would refuse it."""
    transformers = _transformers()
    check_folder(path, option)
    import torch

    try:
        config = transformers.AutoConfig.from_pretrained(path, local_files_only=True)
        with torch.device("meta"):
            model = transformers.AutoModelForCausalLM.from_config(config)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, TypeError) as error:
        raise ModelError(f"{option} {path}: not loadable as a causal language model ({_first_line(error)})") from error
    return sum(parameter.numel() for parameter in model.parameters())


def check_folder(path: Path, option: str = "--base") -> None:
    """A folder that cannot hold a model is refused with what it does hold."""
    if (path / "config.json").is_file():
        if not any((path / name).is_file() for name in TOKENIZER_FILES):
            raise ModelError(
                f"{option} {path}: no tokenizer there (tokenizer.json); save the model's own beside it with "
                "`tokenizer.save_pretrained`"
            )
        return
    if (path / ADAPTER).is_file():
        raise ModelError(
            f"{option} {path}: an adapter, not a model; give the folder of the model that it was made for, or merge "
            "both with `merge_and_unload` and save that"
        )
    if path.suffix == ".gguf" or (path.is_dir() and any(path.glob("*.gguf"))):
        raise ModelError(
            f"{option} {path}: a GGUF file is for running, not for training; give the model it was made of"
        )
    instead = "; `scan rehearse RUN --base tiny` builds a small one from the data itself" if option == "--base" else ""
    raise ModelError(
        f"{option} {path}: no config.json there; give a local folder of a causal language model as `save_pretrained` "
        f"writes it (nothing is downloaded){instead}"
    )


def _check_causal(loaded: LanguageModel, path: Path, option: str) -> None:
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
        raise ModelError(f"{option} {path}: it does not run on six tokens ({_first_line(error)})") from error
    if not bool(torch.isfinite(said).all()):
        raise ModelError(f"{option} {path}: what it says of six tokens is not finite; its weights are damaged")
    change = (said - again).abs().amax(1)  # (6,) at each place, by another last token
    if bool((change[:-1] > NO_CHANGE * change[-1]).any()):
        raise ModelError(
            f"{option} {path}: later tokens change what it says of earlier ones, so it is no causal language model"
        )
    loaded.model.train()


def tiny(
    texts: Iterable[str], seed: int, context: int = TINY_CONTEXT, width: int | None = None, layers: int | None = None
) -> LanguageModel:
    """An untrained small Llama with a byte-level BPE trained on `texts`; width in multiples of TINY_HEAD.

    `tiny_parameters` says beforehand how large.
    """
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


def tiny_parameters(width: int | None, layers: int | None) -> int:
    """Parameters of a tiny base with a full vocabulary: embeddings, and attention, network and norms of each layer."""
    width, layers = width or TINY_WIDTH, layers or TINY_LAYERS
    return TINY_VOCABULARY * width + layers * (4 * width**2 + 9 * width**2 + 2 * width) + width


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
