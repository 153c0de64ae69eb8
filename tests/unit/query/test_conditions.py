"""Conditions on values other than numbers."""

from __future__ import annotations

from tsmodel import Array, Encoded, Int16, TSModel, connect, field


class Word:
    """A string that counts comparisons."""

    compared = 0

    def __init__(self, text: str) -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        Word.compared += 1
        return isinstance(other, Word) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)


class Words(Encoded[Word]):
    @staticmethod
    def load(stored: bytes) -> Word:
        return Word(stored.decode())

    @staticmethod
    def dump(value: Word) -> bytes:
        return value.text.encode()


class Note(TSModel):
    word: Words
    numbers: Array[int] = field(item=Int16)


def test_one_of_many_values_is_looked_up() -> None:
    with connect("memory:") as session:
        session.add_all(Note(cid=1, mid=1, moid=1, cap=n, word=Word(str(n)), numbers=[n % 3]) for n in range(1000))
        session.flush()
        Word.compared = 0
        assert session.query(Note).where(Note.word.is_in([Word(str(n)) for n in range(500, 1500)])).count() == 500
        assert Word.compared < 10_000
        assert session.query(Note).where(Note.numbers.is_in([[1], [7]])).count() == 333
