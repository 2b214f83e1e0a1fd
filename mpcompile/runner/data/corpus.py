"""A small text that the project writes itself: a stochastic grammar with agreement, quotation and arithmetic.

It has something to learn at every range: spelling, word order, a verb that agrees with a subject several
words back, quotation marks that close, and sums that are right.
"""

from __future__ import annotations

import numpy as np

from mpcompile.runner.noise import generator

NOUNS = (
    "cat cats dog dogs bird birds teacher teachers child children river rivers stone stones engine engines "
    "farmer farmers sailor sailors robot robots garden gardens lamp lamps letter letters"
).split()
VERBS = (
    "see sees find finds follow follows paint paints carry carries know knows hear hears want wants".split()
)
ADJECTIVES = "small old quiet red green heavy clever broken bright strange cold early".split()
PLACES = (
    "by the sea|in the dark wood|under the bridge|near the old mill|behind the house|at the market".split("|")
)
TIMES = "at dawn|every evening|once a year|before the rain|after the war|on quiet days".split("|")
LINKS = "and|but|while|because|although".split("|")
NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve".split()


class Writer:
    """Writes sentences with one generator."""

    def __init__(self, r: np.random.Generator) -> None:
        self.r = r

    def one(self, options: list[str]) -> str:
        """One of the options, the earlier the likelier (a Zipf-like law)."""
        weights = 1 / np.arange(1, len(options) + 1) ** 0.7
        return options[int(self.r.choice(len(options), p=weights / weights.sum()))]

    def chance(self, p: float) -> bool:
        return bool(self.r.random() < p)

    def noun_phrase(self, plural: bool) -> str:
        words = ["the" if self.chance(0.7) or plural else "a"]
        words += [self.one(ADJECTIVES)] if self.chance(0.4) else []
        phrase = " ".join([*words, self.one(NOUNS[1::2] if plural else NOUNS[0::2])])
        if phrase.startswith(("a a", "a e", "a i", "a o")):
            phrase = "an" + phrase[1:]
        return f"{phrase} {self.one(PLACES)}" if self.chance(0.15) else phrase

    def clause(self) -> str:
        plural = self.chance(0.4)
        verb = self.one(VERBS[0::2] if plural else VERBS[1::2])
        words = [self.noun_phrase(plural), verb, self.noun_phrase(self.chance(0.4))]
        words += [self.one(TIMES)] if self.chance(0.2) else []
        return " ".join(words)

    def sentence(self) -> str:
        if self.chance(0.12):
            a, b = int(self.r.integers(0, 7)), int(self.r.integers(0, 7))
            text = f"{NUMBERS[a]} and {NUMBERS[b]} make {NUMBERS[a + b]}"
        else:
            text = self.clause()
            if self.chance(0.25):
                text = f"{text}, {self.one(LINKS)} {self.clause()}"
            if self.chance(0.15):
                plural = self.chance(0.3)
                text = f'"{text}," {"say" if plural else "says"} {self.noun_phrase(plural)}'
        start = 1 if text.startswith('"') else 0
        return text[:start] + text[start].upper() + text[start + 1 :] + "."


def corpus(characters: int = 200_000) -> str:
    """Generate text of about this many characters, the same in every run; a new line after each few sentences."""
    writer = Writer(generator("data", "text"))
    parts: list[str] = []
    total = 0
    while total < characters:
        line = " ".join(writer.sentence() for _ in range(int(writer.r.integers(1, 5))))
        parts.append(line)
        total += len(line) + 1
    return "\n".join(parts) + "\n"
