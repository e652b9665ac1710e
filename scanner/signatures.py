"""The index of a run: what later runs, and datasketch, can compare with without the text.

    index/index.json        algorithm, parameters, version, the key of the hashes
    index/minhash.npy       (n, permutations) MinHash signatures, datasketch's affine32 scheme
    index/hashes.npy        (n, len(HASH_COLUMNS)) keyed hashes of the row and of its parts; 0 stands for none
    index/row_id.npy        (n,)
    index/content_rank.npy  (n,) place of each row in the order of contents

The hashes are keyed per run, and the key lies in the index beside them: two runs' hashes cannot be linked, nor a guess
be tested, by someone who has seen only one of the two. Signatures cannot be keyed, for they must be comparable. So
whoever holds a whole index/ can test whether a row that they already know is in the data set, and no more than that:
it is what the folder is for. Leave it out when a run is handed on to people who must not.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scanner import keyed
from scanner.errors import RunError
from scanner.fingerprints import PART_OF_ROLE, fingerprint, parts, permutations
from scanner.kernels.minhash import ANSWER_PART
from scanner.objects import ROLE_CODE, Bool, Fingerprints, Int64, Rows, SegmentBatch, UInt64
from scanner.store import RunFolder
from scanner.storedtext import SegmentReader

if TYPE_CHECKING:
    from datasketch import MinHash, MinHashLSH

FORMAT = 2
"""Version of the index's files; 1 had no hashes."""
ALGORITHM = "MinHash affine32 (datasketch 2), word shingles within segments"
HASH_COLUMNS = ("row_a", "row_b", "pair", "prompt", "opening", "answer")
"""row_a, row_b: the whole normalised row, system prompt and tools included · pair: prompt and answer · prompt: all
prompt turns · opening: what stands before the first answer · answer: all answers, from ANSWER_TOKENS on."""
ROW_A, ROW_B, PAIR, PROMPT, OPENING, ANSWER = range(len(HASH_COLUMNS))
ANSWER_TOKENS = 16
"""Supervised tokens from which an answer's hash is kept: shorter ones ("Yes.") are equal by chance. It is the length
that p_extract is about (SCIENCE 2)."""
FEWEST_PERMUTATIONS = 64
"""Below it the estimate's standard error at Jaccard .8 exceeds .05."""


@dataclass(frozen=True)
class Index:
    """The index of a finished run, as later runs see it."""

    name: str  # the run folder's name
    identity: str  # of the indexed content
    key: bytes
    shingle: int  # tokens
    seed: int
    probe: str  # see `probe`
    unicode: str  # version that the tokens' classes come from
    bands: tuple[int, int]  # bands, rows per band
    against: tuple[tuple[str, str], ...]  # (name, identity) of the runs that it was itself compared with
    row_id: Int64  # (m,)
    rank: Int64  # (m,) place in the order of contents
    hashes: UInt64  # (m, len(HASH_COLUMNS))
    signature: np.ndarray  # (m, permutations) uint32

    @property
    def permutations(self) -> int:
        return int(self.signature.shape[1])


# ------------------------------------------------------------------------------------------------------ row hashes


def openings(reader: SegmentReader, rows: Rows, prints: Fingerprints) -> UInt64:
    """(n,) hash of what stands before the first answer; the prompt's own hash in rows of one prompt and one answer."""
    opening = prints.prompt.copy()
    first = 0
    for batch in reader:
        if not len(batch):
            continue
        starts = batch.row_starts()
        n = len(starts) - 1
        longer = rows.turns[first : first + n] > 2
        if longer.any():
            answered = parts(batch) == ANSWER_PART
            so_far = np.cumsum(answered)
            at_start = (so_far - answered)[starts[:-1]]
            before = (so_far == np.repeat(at_start, np.diff(starts))) & np.repeat(longer, np.diff(starts))
            chosen = np.flatnonzero(before)
            opening[first : first + n][longer] = empty_hashes()[0]
            if len(chosen):
                cut = _segments_at(batch, chosen)
                asked = np.flatnonzero(np.diff(np.searchsorted(chosen, starts)))
                opening[first + asked] = fingerprint([cut], len(asked), 1, 8, 1, 1).prompt
        first += n
    return opening


def _segments_at(batch: SegmentBatch, index: Int64) -> SegmentBatch:
    """Some segments of a batch (ascending), their text copied together."""
    pieces = [batch.data[batch.offsets[i] : batch.offsets[i + 1]] for i in index.tolist()]
    offsets = np.cumsum([0, *map(len, pieces)]).astype(np.int64)
    data = np.concatenate(pieces) if offsets[-1] else np.zeros(0, np.uint8)
    return SegmentBatch(
        row_id=batch.row_id[index],
        segment=batch.segment[index],
        turn=batch.turn[index],
        role=batch.role[index],
        supervised=batch.supervised[index],
        offsets=offsets,
        data=data,
    )


def row_hashes(prints: Fingerprints, opening: UInt64, key: bytes) -> UInt64:
    """(n, len(HASH_COLUMNS)) keyed hashes; 0 where the row has no such part.

    Each column hashes another first word, so that equal words in two columns give unrelated hashes.
    """
    no_prompt, no_answer = empty_hashes()
    has_prompt, has_answer = prints.prompt != no_prompt, prints.answer != no_answer
    whole = [prints.normal[:, 0], prints.normal[:, 1], prints.prompt, prints.answer, prints.context]
    columns: list[tuple[list[UInt64], int, Any]] = [
        (whole, 0, prints.tokens > 0),
        (whole, 1, prints.tokens > 0),
        ([prints.prompt, prints.answer], 0, has_prompt & has_answer),
        ([prints.prompt], 0, has_prompt),
        ([opening], 0, opening != no_prompt),
        ([prints.answer], 0, has_answer & (prints.supervised_tokens >= ANSWER_TOKENS)),
    ]
    out = np.zeros((len(prints.prompt), len(HASH_COLUMNS)), np.uint64)
    for number, (words, function, present) in enumerate(columns):
        tag = np.full(len(out), 0 if number == ROW_B else number, np.uint64)
        found = keyed.hashes(np.stack([tag, *words], axis=1), key, function)
        out[present, number] = np.maximum(found[present], np.uint64(1))
    return out


@cache
def empty_hashes() -> tuple[np.uint64, np.uint64]:
    """Hash of a prompt, and of an answer, without a single token."""
    empty = fingerprint([_as_batch([("user", "")])], 1, 1, 8, 1, 1)
    return empty.prompt[0], empty.answer[0]


def is_sketched(signature: np.ndarray) -> Bool:
    """(n,) whether rows have a signature, of which some columns are given (n, k): without shingles all are the same."""
    return np.asarray((signature != np.uint32(0xFFFFFFFF)).any(axis=1))


@cache
def probe(shingle: int, count: int, seed: int) -> str:
    """What this version of the program makes of a fixed row, as a short digest.

    Two versions whose tokens, normalisation, hashes or permutations differ give different probes, so no version number
    has to be kept by hand for runs to know whether they can be compared.
    """
    texts = [
        ("system", "Be brief."), ("user", "Straße, ÉCOLE and 東京タワー: what is 3.14 x 2? 😀 مرحبا ﬁne"),
        ("assistant", "It is 6.28; don't round it.\n\tZażółć gęślą jaźń, Ａｌｐｈａ."),
    ]  # fmt: skip
    seen = fingerprint([_as_batch(texts)], 1, shingle, count, seed, 1)
    state = hashlib.blake2b(digest_size=8)
    for array in (seen.signature, seen.normal, seen.prompt, seen.answer, seen.context):
        state.update(np.ascontiguousarray(array).tobytes())
    return state.hexdigest()


def _as_batch(texts: Sequence[tuple[str, str]]) -> SegmentBatch:
    """Segments of (role, text) of one row as a batch."""
    encoded = [text.encode("utf-8", "replace") for _, text in texts]
    n = len(texts)
    role = np.array([ROLE_CODE[name] for name, _ in texts], np.uint8)
    return SegmentBatch(
        row_id=np.zeros(n, np.int64),
        segment=np.arange(n, dtype=np.int32),
        turn=np.arange(n, dtype=np.int32),
        role=role,
        supervised=PART_OF_ROLE[role] == ANSWER_PART,
        offsets=np.cumsum([0, *map(len, encoded)]).astype(np.int64),
        data=np.frombuffer(b"".join(encoded) or b"\0", np.uint8),
    )


# -------------------------------------------------------------------------------------------------- writing, reading


def write(
    run: RunFolder,
    rows: Rows,
    prints: Fingerprints,
    opening: UInt64,
    parameters: dict[str, Any],
    against: Sequence[Index] = (),
) -> None:
    """Write RUN/index. parameters: seed, shingle_tokens, bands, rows_per_band, and what else is to stand there.

    The key is derived from the content of the whole data set: the same for any order of its rows, and known only to
    who has every record, or the index.
    """
    key = keyed.derived_key(keyed.content_of(rows), b"sftscan index")
    hashes = row_hashes(prints, opening, key)
    run.write_array("minhash", prints.signature)
    run.write_array("row_id", rows.row_id)
    run.write_array("content_rank", rows.content_rank)
    run.write_array("hashes", hashes)
    shingle, seed, count = parameters["shingle_tokens"], parameters["seed"], prints.signature.shape[1]
    identity = hashlib.blake2b(key + hashes.tobytes() + rows.row_id.tobytes(), digest_size=16)
    run.write_json(
        "index/index.json",
        {
            "format": FORMAT,
            "algorithm": ALGORITHM,
            **parameters,
            "permutations": count,
            "rows": len(rows),
            "hashes": list(HASH_COLUMNS),
            "key": key.hex(),
            "probe": probe(shingle, count, seed),
            "unicode": unicodedata.unidata_version,
            "identity": identity.hexdigest(),
            "against": [{"name": index.name, "identity": index.identity} for index in against],
        },
    )


def read(path: Path) -> Index:
    """The index of a run folder; RunError where there is none, or one that cannot be used, with what to do."""
    run = RunFolder(path)
    described = path / "index" / "index.json"
    if not path.is_dir():
        raise RunError(f"{path} is not a run folder: there is no such folder; create one with `scan DATASET`")
    if not described.exists():
        what = "it holds no index/index.json"
        raise RunError(f"{path} cannot be compared with: {what}; audit that data set again with `scan DATASET`")
    facts = run.read_json("index/index.json")
    if facts.get("format") != FORMAT:
        raise RunError(
            f"{path} cannot be compared with: its index has format {facts.get('format', 1)}, this version of sftscan "
            f"reads format {FORMAT}; audit that data set again with `scan DATASET --force`"
        )
    names = ("row_id", "content_rank", "hashes", "minhash")
    missing = [f"{name}.npy" for name in names if not (run.index / f"{name}.npy").exists()]
    if missing:
        raise RunError(f"{path} cannot be compared with: index/ lacks {', '.join(missing)}; audit that data set again")
    row_id, rank, hashes, signature = (np.asarray(run.read_array(name)) for name in names)
    return Index(
        name=path.resolve().name,
        identity=facts["identity"],
        key=bytes.fromhex(facts["key"]),
        shingle=facts["shingle_tokens"],
        seed=facts["seed"],
        probe=facts["probe"],
        unicode=facts["unicode"],
        bands=(facts["bands"], facts["rows_per_band"]),
        against=tuple((entry["name"], entry["identity"]) for entry in facts["against"]),
        row_id=row_id,
        rank=rank,
        hashes=hashes,
        signature=signature,
    )


def require_comparable(index: Index, shingle: int) -> None:
    """RunError where signatures or hashes of that run mean something else than this program's, with the cure."""
    if index.permutations < FEWEST_PERMUTATIONS:
        raise RunError(
            f"{index.name} stores {index.permutations} MinHash permutations per row, expected at least "
            f"{FEWEST_PERMUTATIONS} for an estimate; audit that data set again with more"
        )
    if index.shingle != shingle:
        raise RunError(
            f"{index.name} was audited with shingles of {index.shingle} tokens, this audit uses {shingle}; use "
            f"--shingle {index.shingle} here, or audit that data set again with --shingle {shingle}"
        )
    if index.probe != probe(index.shingle, index.permutations, index.seed):
        raise RunError(
            f"{index.name} was written by a version of sftscan whose tokens or hashes differ from this one's (the same "
            f"test text gives other signatures); audit that data set again with this version"
        )


# ------------------------------------------------------------------------------------------------------- datasketch


def to_datasketch(index: Index, key: Callable[[int], Hashable] = int) -> Iterator[tuple[Hashable, MinHash]]:
    """(key of the row's id, its datasketch MinHash) for every row with shingles, in row order.

    The objects are equal to MinHashes that were fed the same shingle hashes, so they can
    be put into any of datasketch's structures and compared there.
    """
    from datasketch import MinHash

    both = permutations(index.permutations, index.seed)
    sketched = np.flatnonzero(is_sketched(index.signature))
    for i in sketched.tolist():
        yield (
            key(int(index.row_id[i])),
            MinHash(
                num_perm=index.permutations, seed=index.seed, scheme="affine32",
                hashvalues=index.signature[i].copy(), permutations=both,
            ),
        )  # fmt: skip


def into_lsh(index: Index, lsh: MinHashLSH, key: Callable[[int], Hashable] = int) -> int:
    """Insert every row into a datasketch LSH, whatever its storage (dict, Redis, Cassandra); returns how many."""
    inserted = 0
    with lsh.insertion_session() as session:
        for name, sketch in to_datasketch(index, key):
            session.insert(name, sketch, check_duplication=False)
            inserted += 1
    return inserted


def lsh_of(index: Index, jaccard: float | None = None) -> MinHashLSH:
    """A MinHashLSH in memory that holds the run.

    jaccard: threshold that datasketch optimises its bands for; None: the bands that the audit used.
    """
    from datasketch import MinHashLSH

    if jaccard is None:
        lsh = MinHashLSH(num_perm=index.permutations, params=index.bands)
    else:
        lsh = MinHashLSH(threshold=jaccard, num_perm=index.permutations)
    into_lsh(index, lsh)
    return lsh


def minhash_of(index: Index, texts: Sequence[tuple[str, str]]) -> MinHash:
    """The datasketch MinHash of one row that is not in the run, to query an LSH with.

    texts: (role, text) of its segments in order; roles as in scanner.objects.ROLES, "user" and "assistant" above all.
    """
    from datasketch import MinHash

    seen = fingerprint([_as_batch(texts)], 1, index.shingle, index.permutations, index.seed, 1)
    return MinHash(
        num_perm=index.permutations, seed=index.seed, scheme="affine32",
        hashvalues=seen.signature[0], permutations=permutations(index.permutations, index.seed),
    )  # fmt: skip
