"""What every number in a report means."""

from typing import NamedTuple

from scanner.rulebook import bands


class Term(NamedTuple):
    """A term, what it means, and its unit and source."""

    name: str
    meaning: str
    unit: str


GLOSSARY = (
    Term(
        "N_pre",
        "How many tokens of an answer the fine-tuned model repeats before its first miss, decoding greedily "
        "from the prompt. What is predicted here is its whole distribution for every row.",
        "tokens; arXiv 2502.01187",
    ),
    Term(
        "p_extract",
        "Probability that N_pre reaches 16 tokens in a supervised answer, the highest over the row's answers."
        " Not measured where every answer is shorter than that.",
        "probability; token hazard model on leave-one-out context counts, doses and the training plan",
    ),
    Term(
        "p_whole",
        "Probability that the row's longest supervised answer is repeated to its end.",
        "probability",
    ),
    Term(
        "expected memorized tokens",
        "The mean of N_pre. Summed over rows it says how much is memorized; how it is spread over them is the skew.",
        "tokens",
    ),
    Term(
        "tokens, 95 % quantile",
        "In 19 of 20 fine-tunes the row would be recited for no more tokens than this.",
        "tokens",
    ),
    Term(
        "heat, memorized span",
        "Heat: the chance that a token of the answer comes out, the text before it being the true one. Memorized span: "
        "a stretch of 8 tokens or more that comes out word for word with a chance of one half or more, from the start "
        "of the answer or once the model has come so far. Only the riskiest rows are looked at.",
        "probability; the hazard model of p_extract, over the stretch as a whole",
    ),
    Term(
        "exposures (dose)",
        "Visits of the row and its copies during training, each weighted by its share of an optimizer step, its "
        "learning rate, the answer tokens in a step and, for near copies, by how much of the text is equal; copies "
        "that come in the same step count for less than in steps of their own.",
        "one visit at learning rate 3e-4 in an average step of 350 answer tokens; near copies after arXiv 2405.15523",
    ),
    Term(
        "outside what was validated",
        "The plan or the data are unlike every rehearsal behind the weights (a larger model, LoRA, another language, "
        "more epochs): the number of rows is extrapolated, and where the order of rows was never checked either, that "
        "is said.",
        "rules/weights/prediction.toml, [validated]; how far is too far is judgement",
    ),
    Term(
        "risk and band",
        "Severity (1 for ordinary text, more for private data and secrets) times p_extract; the bands cut it in four: "
        f"none, {', '.join(f'{band} from {least:g}' for band, least in bands().cuts)}.",
        "no unit, not a probability; rules/bands.toml",
    ),
    Term(
        "taxon",
        "recite: more than five copies. reconstruct: templated or repetitive text that can be continued "
        "without having been stored. recollect: the rest.",
        "arXiv 2406.17746",
    ),
    Term(
        "exact copy",
        "Prompt and answer are the same up to upper and lower case and white space.",
        "rows",
    ),
    Term(
        "near copy",
        "The two rows share at least the stated part of their word shingles (Jaccard), or one is contained in"
        " the other. Sketches propose, the texts decide: every pair was verified.",
        "Jaccard similarity, 0 to 1",
    ),
    Term(
        "same meaning",
        "The two rows lie close to one another in an embedding space. This can be wrong, so such rows are put"
        " up for review and not dropped. Pairs whose numbers or negations differ are marked, and never dropped.",
        "cosine similarity",
    ),
    Term(
        "estimated recall of meaning",
        "With --confirm-with, a transformer reads only the likeliest rows, first a sample of them and then in rounds"
        " that learn from what it read. From all it read follows how many of its pairs were left unread. With"
        " --confirm-recall it reads on until so few are expected there, at the most, that the recall asked for is"
        " reached; the range also has the chance of small numbers. Pairs far apart in the fast encoder are never read.",
        "share of the transformer's pairs, with the range of two models; benchmarks/semantic",
    ),
    Term(
        "conflict",
        "The same prompt stands with different answers, so that the model must store which one to give.",
        "rows",
    ),
    Term(
        "repeated passage",
        "A run of tokens that stands in two places or more, in lower case, within one string of a row: in a few rows, "
        "in many (boilerplate), or twice in one row. Passages are compared token by token; rows that the plan drops as "
        "duplicates do not count.",
        "tokens; at least --span-tokens",
    ),
    Term(
        "prompt of a conversation",
        "All that the user and the tools say in it, before the first answer and between answers. Rows that only open "
        "with the same first question are counted apart.",
        "text up to case and spacing",
    ),
    Term(
        "boilerplate",
        "An answer of 8 tokens or more that rows with different prompts give; near copies of a prompt are one prompt.",
        "rows",
    ),
    Term(
        "inside",
        "At least 95 % of the shingles of the one answer stand in the other, and not the other way round.",
        "share of distinct shingles",
    ),
    Term(
        "script",
        "The alphabet that most letters of the answers are in; Han, kana and Hangul count three letters per "
        "character, and kana stand for Japanese. A script is no language.",
        "Unicode blocks",
    ),
    Term(
        "the same text",
        "Equal up to case, white space, full and half width, compatibility ideographs, Arabic positional forms and "
        "variation selectors. Composed and decomposed accents, points and vowels, ß and ss stay different.",
        "code point by code point, no NFC or NFKC",
    ),
    Term(
        "cluster",
        "A kept row and the rows verified as duplicates of it; members were compared with the kept row "
        "itself, not with one another.",
        "rows",
    ),
    Term(
        "template",
        "Text that many rows of a source repeat word for word around slots that each row fills in its own way, such as"
        " a system prompt, a tool schema or the wrapper of a prompt. What stands in the slots, or beside the template,"
        " is the payload; rows that follow a template count as copies only if their payloads are alike too.",
        "tokens of fixed text; Jaccard similarity of the payloads",
    ),
    Term(
        "token",
        "A run of letters or digits, one CJK character, or one punctuation mark, unless a tokenizer was named.",
        "the unit is repeated under settings",
    ),
)
