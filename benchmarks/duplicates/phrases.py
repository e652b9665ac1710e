"""Made-up everyday English: requests, reviews, facts and reports, from lists of words and sentence patterns. Seeded.

A pattern holds slots in braces, each drawn from a list below. {thing}, {maker} and {topic} also draw from the
vocabulary of benchmarks/rows.py, so that a hundred thousand texts differ.
"""

from __future__ import annotations

import random
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rows import vocabulary


def _listed(text: str, between: str = " ") -> tuple[str, ...]:
    return tuple(text.split(between))


NAMES = _listed(
    "Amara Bello Chen Diego Elif Farah Goran Hana Ivan Jonas Kofi Leila Mateo Nadia Omar Priya Quinn Rosa Sven Tariq "
    "Uma Viktor Wanda Xenia Yusuf Zoe Anders Beatriz Carlos Dmitri Esther Felix Greta Hassan Ingrid Jamal Keiko Luca"
)
SURNAMES = _listed(
    "Abara Brandt Castillo Demir Eriksen Fischer Grant Hughes Ibrahim Jensen Kowalski Lindqvist Moreau Novak Okafor "
    "Petrov Quiroga Rossi Schmidt Tanaka Ueda Vargas Weber Yilmaz Zhang Almeida Bianchi Costa Dubois Evans"
)
CITIES = _listed(
    "Oslo Lyon Porto Ghent Turin Malmo Leeds Izmir Cadiz Graz Brno Split Cork Basel Aarhus Tartu Riga Bergen Seville "
    "Nantes Utrecht Gdansk Zagreb Bilbao Tampere Varna Lucerne Parma Rennes Dundee Cluj Patras"
)
NOUNS = _listed(
    "kettle lamp jacket router printer backpack blender sofa monitor bicycle tent charger keyboard mattress camera "
    "drill helmet carpet heater speaker notebook scooter grill mirror curtain suitcase telescope piano thermostat "
    "vacuum headset stroller ladder compass fridge toaster wallet saddle canoe drone"
)
ADJECTIVES = _listed(
    "small heavy quiet bright cheap sturdy noisy elegant flimsy comfortable narrow portable old modern fragile "
    "reliable dull handy ugly lovely soft bulky fast slow warm cold simple complex plain strange"
)
FEELINGS = _listed("delighted annoyed relieved puzzled impressed disappointed happy angry calm surprised")
PARTS = _listed("handle strap battery screen lid cable zip button wheel hinge label manual remote filter cover switch")
DAYS = _listed("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
MONTHS = _listed("January February March April May June July August September October November December")
REASONS = _listed(
    "a late delivery|heavy rain|a public holiday|a broken pump|new staff|a power cut|a road closure|strong demand|"
    "a missing permit|a software update|a strike at the port|the school break|a supplier change|low stock",
    "|",
)

OPENINGS = (
    "I bought the {thing} in {city} last {month}", "My {adjective} {noun} from {maker} arrived on {day}",
    "How do I return a {noun} that I ordered on {day}", "Can you tell me whether the {thing} fits a {adjective} {noun}",
    "We ordered {count} of these for our office in {city}", "The {part} of my {noun} broke after {count} days",
    "What is the best way to clean a {thing}", "Why does the {noun} by {maker} make a {adjective} sound",
    "Please change the address of order {number} to {city}", "Where can I find a spare {part} for the {thing}",
    "{name} asked me to explain {topic} to the team in {city}", "Is {topic} related to {topic}",
    "I would like to book a table for {count} people in {city}", "Compare {topic} with {topic}",
    "The {topic} lecture by {name} {surname} was {adjective}", "Our {noun} stopped working near {city}",
    "Who was the first person to write about {topic}", "Order {number} never arrived in {city}",
    "There is a {adjective} {noun} in the window of the {maker} shop", "Cancel my booking for {day} the {count}th",
    "Give me {count} ideas about {topic}", "In {month} the price of the {thing} went up by {count} percent",
)  # fmt: skip
MIDDLES = (
    "and the {part} came off within {count} days", "but {name} says that it should be {adjective}",
    "because the {noun} was too {adjective} for {topic}", "and I was {feeling} when I saw the {part}",
    "although {maker} had promised a {adjective} {part}", "so we sent it back to {city} on {day}",
    "which reminded me of {topic}", "while my colleague {name} {surname} waited in {city}",
    "and the manual only talks about {topic}", "since nobody in {city} knows about {topic}",
    "even though it cost {number} crowns", "with a {adjective} {noun} and {count} spare parts",
    "after we had tried {topic} and {topic}", "before the shop in {city} closed in {month}",
    "and to be honest I am {feeling} about it", "as {name} {surname} wrote in a letter about {topic}",
)  # fmt: skip
ANSWERS = (
    "Yes, the {thing} can be sent to {city} by {day}.", "I have moved order {number} to {day}, {name}.",
    "You can ask {maker} for a new {part} until {month}.", "It is mostly about {topic} and a little about {topic}.",
    "Hold the {part} for {count} seconds and the {noun} starts again.", "The {adjective} one is made by {maker}.",
    "{name} {surname} wrote about {topic} long before {maker} did.", "There are {count} shops in {city} that sell it.",
    "Wipe the {part} with a {adjective} cloth and let it dry until {day}.", "That depends on {topic}.",
    "No, a {noun} needs {topic} rather than {topic}.", "We refund {number} crowns within {count} days.",
)  # fmt: skip
_SLOT = re.compile(r"\{(\w+)\}")


class Writer:
    """Draws texts; the same seed gives the same texts."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self._words = [str(word) for word in vocabulary()[300:] if len(word) > 3]
        self._lists: dict[str, tuple[str, ...]] = {
            "name": NAMES, "surname": SURNAMES, "city": CITIES, "noun": NOUNS, "adjective": ADJECTIVES,
            "feeling": FEELINGS, "part": PARTS, "day": DAYS, "month": MONTHS, "reason": REASONS,
        }  # fmt: skip

    def slot(self, name: str) -> str:
        """One value for a slot."""
        draw = self.random.choice
        if name in self._lists:
            return draw(self._lists[name])
        if name == "count":
            return str(self.random.randint(2, 30))
        if name == "number":
            return str(self.random.randint(1_000, 99_999))
        if name == "maker":
            return draw(self._words).capitalize() + draw((" & Sons", " Labs", "", "", " Works"))
        if name == "thing":
            return f"{draw(self._words)} {draw(NOUNS)}"
        return f"{draw(self._words)} {draw(self._words)}"  # a topic

    def fill(self, pattern: str) -> str:
        """A pattern with every slot drawn."""
        return _SLOT.sub(lambda match: self.slot(match[1]), pattern)

    def text(self, least: int, most: int) -> str:
        """One to three sentences of `least` to `most` words together, short ones more often than long ones."""
        wanted = round(least * (most / least) ** self.random.random())
        words: list[str] = []
        begun = 0
        while len(words) < wanted:
            clause = self.fill(self.random.choice(MIDDLES if begun else OPENINGS)).split(" ")
            begun = (begun + 1) % 3
            words += clause
            if not begun:
                words[-1] += "."
        return " ".join(words[:wanted]).rstrip(".,") + self.random.choice(".....?!")

    def answer(self, sentences: int) -> str:
        """An assistant's answer of that many sentences."""
        return " ".join(self.fill(self.random.choice(ANSWERS)) for _ in range(sentences))
