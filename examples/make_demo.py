"""Write the demo data set: invented instructions with planted duplicates, conflicts, private data and broken lines.

    python examples/make_demo.py [FOLDER] [--rows 1800] [--seed 7]

FOLDER (default: demo) receives `demo.jsonl`, alpaca-style records, and `truth.json`, which names by row_id what was
planted where. A row_id is the record's place in the file, counted from 0, broken records included. Everything is
invented: places, people and firms come from syllables, sentences from grammar.toml, keys and cards from the seed.
Private values look real but reach nobody: telephone numbers come from the ranges that Ofcom and the Bundesnetzagentur
set aside for drama, mail domains end in .internal (reserved by ICANN for private use), and IP addresses lie in
192.88.99.0/24, which RFC 7526 took out of use.
Only the standard library is used; the same arguments give the same bytes.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import string
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

GRAMMAR = Path(__file__).with_name("grammar.toml")
ONSETS = (
    "b", "br", "c", "d", "dr", "f", "g", "gl", "h", "k", "l", "m", "n", "p", "r", "s", "sk", "st", "th", "tr", "v",
)  # fmt: skip
VOWELS = ("a", "e", "i", "o", "u", "ai", "ea", "oo", "y")
CODAS = ("l", "n", "r", "s", "nd", "rk", "lm", "st", "", "", "th", "x")
ENDINGS = {
    "town": ["holm", "by", "wick", "stead", "moor", "haven", "mouth", "low", "gate", "ness"],
    "firm": [" & Sons", " Works", " Brothers", " Supply", " Lab", "ware", " Cooperative", " Foundry"],
    "thing": ["ator", "ette", "omat", "phone", "scope", "iser", "ling", "graph"],
}
FIRST_NAMES = (
    "Ada", "Bruno", "Clara", "Dario", "Edda", "Felix", "Greta", "Hugo", "Ines", "Jonas", "Kaja", "Levin", "Mira",
    "Nils", "Odile", "Pavel", "Quirin", "Rosa", "Silas", "Thea", "Ugo", "Vera", "Wanda", "Xenia", "Yann", "Zora",
)  # fmt: skip
BOILERPLATE = (
    "I am sorry, but I cannot help with that request. If you have a different question, I will gladly answer it.",
    "As a language model I have no access to live information, so please check a current and reliable source.",
    "That is a great question! There are many views on this topic, and it is important to weigh all of them.",
)
BOILERPLATE_PROMPTS = (
    "What will {firm} shares cost on {weekday}?", "Is the road from {town} to {town2} open right now?",
    "Which team won in {town} last night?", "Tell me what {person} had for breakfast today.",
    "Should everybody own a {thing}?", "How warm is it at the {place} in {town} at this moment?",
    "Give me the password of the {profession} {person}.", "Who will win the {prize} next year?",
)  # fmt: skip
HOSTILE = (
    "<script>document.title='owned'</script><img src=x onerror=\"alert(1)\"> & \"quotes\" 'single' </td></table>",
    "\x1b[31mred\x1b[0m \x1b]0;title\x07 [red]markup[/red] [link=file:///]click[/link] \u202egnirts desrever\u202c\x00",
)
FEWEST_ROWS = 280
"""Plain rows; a third of them is long enough to plant copies of, and 95 are needed."""
SWAPS = ("grand", "plain", "wooden", "second", "hidden", "early", "painted", "distant", "narrow", "borrowed", "useful")


@dataclass
class Draft:
    """A record before its place in the file is known; `marks` says what was planted in it, by kind and group."""

    instruction: str
    input: str
    output: str
    marks: list[tuple[str, int, dict[str, Any]]] = field(default_factory=list)

    def copy(self) -> Draft:
        return Draft(self.instruction, self.input, self.output)

    def line(self) -> bytes:
        record = {"instruction": self.instruction, "input": self.input, "output": self.output}
        return json.dumps(record, ensure_ascii=False).encode()


class Writer:
    """Draws words and sentences; one `begin` per row keeps a name the same wherever the row uses it."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)
        grammar = tomllib.loads(GRAMMAR.read_text("utf-8"))
        self.words: dict[str, list[str]] = grammar["words"]
        self.kinds: list[dict[str, Any]] = grammar["kind"]
        self.bound: dict[str, str] = {}
        self.again = ""  # the last part in other words
        self.other = ("", "", "")  # the last row in other words
        self.asked: set[str] = set()

    def fresh(self, make: Callable[[], Draft]) -> Draft:
        """A row whose prompt nobody asked before, so that only planted rows share one."""
        while True:
            draft = make()
            prompt = f"{draft.instruction}\n{draft.input}".lower()
            if prompt not in self.asked:
                self.asked.add(prompt)
                return draft

    def begin(self) -> None:
        self.bound = {}

    def fill(self, template: str) -> str:
        """Replace every {slot} of a sentence."""

        def slot(found: re.Match[str]) -> str:
            name = found[1]
            if name.startswith("#") and name not in self.bound:
                low, high = name[1:].split("-")
                self.bound[name] = str(self.random.randint(int(low), int(high)))
            if name not in self.bound:
                taken = set(self.bound.values())
                fresh = (self.draw(name.rstrip("23")) for _ in range(20))
                self.bound[name] = next((word for word in fresh if word not in taken), self.draw(name.rstrip("23")))
            return self.bound[name]

        text = re.sub(r"\{([^}]+)\}", slot, template)
        text = re.sub(r"\b([Aa]) (?=[aeiou](?!ne))", r"\1n ", text)
        # a sentence that begins with a drawn word needs its capital
        return re.sub(r"(?:^|(?<=[.!?] )|(?<=\n))[a-z](?!\w*: )", lambda m: m[0].upper(), text)

    def draw(self, name: str) -> str:
        if name == "year":
            return str(self.random.randint(1480, 1989))
        if name == "person":
            return f"{self.random.choice(FIRST_NAMES)} {self.syllables(2).title()}"
        if name in ENDINGS:
            stem = self.syllables(2 if name != "town" else self.random.choice((1, 2)))
            ending = self.random.choice(ENDINGS[name])
            return stem + ending if name == "thing" else (stem + ending)[0].upper() + (stem + ending)[1:]
        return self.random.choice(self.words[name])

    def syllables(self, count: int) -> str:
        """Some consonants and vowels that can be spoken."""
        return "".join(self.random.choice(part) for _ in range(count) for part in (ONSETS, VOWELS, CODAS))

    def part(self, parts: list[list[str]], first: int | None = None) -> str:
        """A text from parts: one alternative each (of the first part a given one), or several ("pick 3", "steps 4").

        What the text would be in other words is left in `self.again`.
        """
        out: tuple[list[str], list[str]] = ([], [])
        for at, alternatives in enumerate(parts):
            how, _, count = alternatives[0].partition(" ")
            several = how in ("pick", "steps") and count.isdigit()
            if at == 0 and first is not None:
                chosen = [alternatives[first]]
            else:
                chosen = self.random.sample(alternatives[several:], int(count) if several else 1)
            both = [text.partition(" || ")[::2] for text in chosen]
            for side, texts in zip(out, ([a for a, _ in both], [b or a for a, b in both]), strict=True):
                filled = [self.fill(text) for text in texts if text]
                steps = (f"{i}. {text}" for i, text in enumerate(filled, 1))
                side.append("\n" + "\n".join(steps) + "\n" if how == "steps" else " ".join(filled))
        said, self.again = (re.sub(r" ?\n ?", "\n", " ".join(p for p in side if p)).strip() for side in out)
        return said

    def row(self, kind: dict[str, Any] | None = None) -> Draft:
        """A fresh row of one kind; the names it used stay bound, for paraphrases and conflicts."""
        self.begin()
        if kind is None and self.random.random() < 0.2:
            return self.random.choice((self.arithmetic, self.code))()
        kind = kind or self.random.choices(self.kinds, [k["weight"] for k in self.kinds])[0]
        # where answers belong to inputs one by one, the same alternative is taken of both
        first = self.random.randrange(len(kind["output"][0])) if kind.get("aligned") else None
        given = self.part(kind["input"], first) if "input" in kind else ""
        output = self.part(kind["output"], first)
        return Draft(self.part(kind["instruction"]), given, output)

    def twice(self, kind: dict[str, Any]) -> Draft:
        """A row of a kind that knows other words; what it says in those is left in `self.other`."""
        self.begin()
        answer, other_answer = self.part(kind["output"]), self.again
        prompt, other_prompt = self.part(kind["instruction"]), self.again
        self.other = (other_prompt, "", other_answer)
        return Draft(prompt, "", answer)

    def canned(self, template: str, answer: str) -> Draft:
        """A question that gets one of the boilerplate answers."""
        self.begin()
        return Draft(self.fill(template), "", answer)

    def arithmetic(self) -> Draft:
        """A word problem and its worked answer."""
        a, b, c = (self.random.randint(low, high) for low, high in ((3, 96), (2, 12), (5, 240)))
        stories: tuple[tuple[str, str], ...] = (
            ("{person} buys {a} boxes of {side} with {b} jars each and gives away {c}. How many jars are left?",
             f"{a} boxes hold {a} * {b} = {a * b} jars. After giving away {c}, {a * b - c} are left."
             if a * b >= c else f"{a} * {b} = {a * b} jars is less than {c}, so nobody can give away that many."),
            ("A cart climbs to {town} at {b} kilometres an hour for {a} minutes. How far does it get?",
             f"{a} minutes are {a}/60 of an hour, so the cart covers {b} * {a} / 60 = {b * a / 60:.2f} kilometres."),
            ("What is {c} percent of {a}00 crowns, the price of a {thing}?",
             f"One percent of {a}00 is {a}. {c} times {a} gives {a * c} crowns."),
            ("The {festival} sold {c} tickets at {a} crowns and {b} at half price. What did it earn?",
             f"{c} * {a} = {c * a} crowns, {b} * {a / 2:g} = {b * a / 2:g} crowns, together {c * a + b * a / 2:g}."),
            ("Convert {c} yards of {material} to metres.",
             f"One yard is 0.9144 metres, so {c} yards are {c} * 0.9144 = {c * 0.9144:.3f} metres of {{material}}."),
            ("Find the average of {a}, {b} and {c}.",
             f"The sum is {a} + {b} + {c} = {a + b + c}; divided by 3 this gives {(a + b + c) / 3:.2f}."),
        )  # fmt: skip
        prompt, answer = self.random.choice(stories)
        for name, value in (("a", a), ("b", b), ("c", c)):
            prompt = prompt.replace(f"{{{name}}}", str(value))
        return Draft(self.fill(prompt), "", self.fill(answer))

    def code(self) -> Draft:
        """A small Python task with its solution."""
        name, item, n = self.syllables(2), self.syllables(1) or "it", self.random.randint(2, 99)
        sign, verb = self.random.choice(
            (("+", "adds"), ("*", "multiplies by"), ("-", "subtracts"), ("%", "reduces modulo"))
        )
        tasks: tuple[tuple[str, str], ...] = (
            (f"Write a Python function {name} that {verb} {n} for every element of a list.",
             f"def {name}({item}s):\n    return [{item} {sign} {n} for {item} in {item}s]"),
            (f"Count how many {item} values in a list exceed {n}.",
             f"def count_{item}({name}):\n    return sum(1 for {item} in {name} if {item} > {n})"),
            (f"Create a class {name.title()} that stores {{side}} and prints it {n} times.",
             f"class {name.title()}:\n    {item} = {{side!}}\n\n    def show(self):\n        print(self.{item} * {n})"),
            (f"Read the file {name}.txt and return its first {n} lines in reverse order.",
             f"def {name}():\n    with open('{name}.txt') as {item}:\n        return {item}.readlines()[:{n}][::-1]"),
            (f"Write an SQL query for the {n} dearest rows of the table {name}.",
             f"SELECT {item}, price FROM {name} WHERE price IS NOT NULL ORDER BY price DESC LIMIT {n};"),
        )  # fmt: skip
        prompt, answer = self.random.choice(tasks)
        prompt = self.fill(prompt)
        return Draft(prompt, "", answer.replace("{side!}", repr(self.bound.get("side", "salt"))))


def luhn_card(rng: random.Random) -> str:
    """A sixteen-digit card number with a valid check digit."""
    digits = [4] + [rng.randrange(10) for _ in range(14)]
    doubled = sum(sum(divmod(2 * d, 10)) if i % 2 == 0 else d for i, d in enumerate(digits))
    digits.append(-doubled % 10)
    text = "".join(map(str, digits))
    return " ".join(text[i : i + 4] for i in range(0, 16, 4))


def iban(rng: random.Random) -> str:
    """A German IBAN with valid check digits (ISO 7064, modulo 97)."""
    account = "".join(str(rng.randrange(10)) for _ in range(18))
    check = 98 - int(account + "131400") % 97  # D = 13, E = 14, then 00 in place of the check digits
    return f"DE{check:02d}{account}"


def private_value(rng: random.Random, kind: str, person: str) -> str:
    """One synthetic private value."""
    letters = string.ascii_letters + string.digits
    first, last = person.lower().split()
    values: dict[str, Callable[[], str]] = {
        "email": lambda: f"{first}.{last}{rng.randrange(10, 99)}@{last}-mail.internal",
        "phone": lambda: rng.choice(("+44 20 7946 0", "+49 30 23125 ")) + f"{rng.randrange(1000):03d}",
        "card": lambda: luhn_card(rng),
        "iban": lambda: iban(rng),
        "ssn": lambda: f"{rng.randrange(101, 665)}-{rng.randrange(11, 99)}-{rng.randrange(1001, 9999)}",
        "ip": lambda: f"192.88.99.{rng.randrange(2, 250)}",
        "key": lambda: "ghp_" + "".join(rng.choice(letters) for _ in range(36)),
    }
    return values[kind]()


PRIVATE = {  # kind: (rows planted, sentence)
    "email": (16, "You can reach {person} at {value} before noon."),
    "phone": (12, "Call {value} and ask for {person}, preferably on a {weekday}."),
    "card": (8, "Please charge the credit card {value}, it belongs to {person}."),
    "iban": (8, "Transfer the deposit to IBAN {value}, account holder {person}."),
    "ssn": (6, "The social security number (SSN) of {person} is {value}."),
    "ip": (6, "The server of {firm} answers at IP address {value} only."),
    "key": (8, "Set GITHUB_TOKEN={value} in the environment before the first run."),
}


def changed(writer: Writer, text: str, words: int) -> str:
    """`text` with a few of its longer words replaced, far apart from one another."""
    parts = text.split(" ")
    places = [i for i, word in enumerate(parts) if word.isalpha() and len(word) > 3]
    stride = max(1, len(places) // words)
    for i in places[stride // 2 :: stride][:words]:
        parts[i] = writer.random.choice([w for w in SWAPS if w != parts[i]])
    return " ".join(parts)


def plant(writer: Writer, plain: list[Draft]) -> list[Draft]:
    """Everything that is not a plain row; `plain` rows serve as originals and are marked as such."""
    rng, planted = writer.random, list[Draft]()
    long_enough = [d for d in plain if len(d.output.split()) >= 45]
    originals = iter(rng.sample(long_enough, len(long_enough)))

    group = 0
    for copies, groups in ((2, 14), (4, 6), (8, 3), (16, 2)):
        for _ in range(groups):
            original = next(originals)
            members = [original, *(original.copy() for _ in range(copies - 1))]
            for member in members:
                member.marks.append(("exact", group, {}))
            planted += members[1:]
            group += 1
    for name, words, count in (("near", 1, 30), ("near", 2, 20), ("loose", 5, 20)):
        for _ in range(count):
            original, group = next(originals), group + 1
            near = Draft(original.instruction, original.input, changed(writer, original.output, words))
            original.marks.append((name, group, {"original": True}))
            near.marks.append((name, group, {"replaced_words": words}))
            planted.append(near)
    for _ in range(40):
        kind, group = rng.choice([k for k in writer.kinds if " || " in str(k["output"])]), group + 1
        first = writer.fresh(lambda kind=kind: writer.twice(kind))  # type: ignore[misc]
        second = Draft(*writer.other)
        for draft in (first, second):
            draft.marks.append(("paraphrase", group, {}))
            planted.append(draft)
    for answers in (2, 2, 3) * 8:
        kind, group = rng.choice(writer.kinds), group + 1
        first = writer.fresh(lambda kind=kind: writer.row(kind))  # type: ignore[misc]
        rivals = {first.output: first}
        while len(rivals) < answers:
            answer = writer.part(kind["output"])
            rivals.setdefault(answer, Draft(first.instruction, first.input, answer))
        for draft in rivals.values():
            draft.marks.append(("conflict", group, {}))
        planted += rivals.values()
    for answer in BOILERPLATE:
        group += 1
        for template in BOILERPLATE_PROMPTS * 2:
            draft = writer.fresh(lambda t=template, a=answer: writer.canned(t, a))  # type: ignore[misc]
            draft.marks.append(("boilerplate", group, {}))
            planted.append(draft)
    for name, (count, sentence) in PRIVATE.items():
        for i in range(count):
            draft, group = writer.fresh(writer.row), group + 1
            person = writer.bound.setdefault("person", writer.draw("person"))
            value = private_value(rng, name, person)
            place = "input" if draft.input and i % 4 == 3 else "output"
            told = writer.fill(sentence.replace("{value}", "\0")).replace("\0", value)
            setattr(draft, place, f"{getattr(draft, place)} {told}")
            draft.marks.append(("private", group, {"kind": name, "field": place, "value": value}))
            planted.append(draft)
            if i == 0:  # one of each kind stands in the file four times: these are what a model would recite
                group += 1
                draft.marks.append(("exact", group, {}))
                planted += [Draft(draft.instruction, draft.input, draft.output, list(draft.marks)) for _ in range(3)]
    for text in HOSTILE:
        draft = writer.fresh(writer.row)
        group += 1
        marks: list[tuple[str, int, dict[str, Any]]] = [
            ("hostile", 0, {}),
            ("exact", group, {}),
        ]  # copied, so that reports have a reason to show it
        for _ in range(6):
            planted.append(Draft(f"{text} {draft.instruction}", text, f"{text} {draft.output}", list(marks)))
    return planted


def build(rows: int, seed: int) -> tuple[list[bytes], dict[str, Any]]:
    """The lines of the file and the truth about them; ValueError for fewer than FEWEST_ROWS rows."""
    if rows < FEWEST_ROWS:
        raise ValueError(f"{rows} rows are too few to plant in; at least {FEWEST_ROWS} are needed")
    writer = Writer(seed)
    plain = [writer.fresh(writer.row) for _ in range(rows)]
    drafts = plain + plant(writer, plain)
    writer.random.shuffle(drafts)
    lines = [draft.line() for draft in drafts]
    broken = {len(lines) // 3: b'{"instruction": "This record stops in the mid', len(lines) // 2: b"[1, 2, 3]"}
    places = list(range(len(lines)))
    for at, text in sorted(broken.items()):
        lines.insert(at, text)
        places = [place + (place >= at) for place in places]
    truth: dict[str, Any] = {"seed": seed, "records": len(lines), "broken": sorted(broken)}
    for kind in ("exact", "near", "loose", "paraphrase", "conflict", "boilerplate", "private", "hostile"):
        groups: dict[int, list[dict[str, Any]]] = {}
        for place, draft in zip(places, drafts, strict=True):
            for mark, group, more in draft.marks:
                if mark == kind:
                    groups.setdefault(group, []).append({"row_id": place, **more})
        truth[kind] = [groups[group] for group in sorted(groups)]
    return lines, truth


def main() -> None:
    """Write the two files and say how large they are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("demo"))
    parser.add_argument("--rows", type=int, default=1800, help="plain rows; what is planted comes on top")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    if options.rows < FEWEST_ROWS:
        parser.error(f"--rows is {options.rows}; at least {FEWEST_ROWS} are needed to plant copies in")
    lines, truth = build(options.rows, options.seed)
    options.folder.mkdir(parents=True, exist_ok=True)
    target = options.folder / "demo.jsonl"
    target.write_bytes(b"\n".join(lines) + b"\n")
    (options.folder / "truth.json").write_text(json.dumps(truth, indent=1, ensure_ascii=False) + "\n", "utf-8")
    print(
        f"{target}: {len(lines)} records, {target.stat().st_size / 1e3:.0f} kB; what was planted stands in truth.json"
    )


if __name__ == "__main__":
    main()
