"""The payload for caMicroscope: a file of lines, each the body of one request.

A line is a JSON array of documents of one collection. Every document says in `slidelane` which
order made it, in which part, and its number; so what is stored already can be told from the rest.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal

from worker.delivery.destinations.camicroscope.heat_map import heat_map
from worker.delivery.destinations.camicroscope.marks import analysis_of, marks
from worker.results.json_text import strict_json
from worker.results.result import Result

Collection = Literal["Mark", "Heatmap"]
MAX_DOCUMENTS: Final = 500
MAX_PART_BYTES: Final = 2**20
"""The server puts a whole body together as one text, and stores its array document by document."""


@dataclass(frozen=True, slots=True)
class Part:
    """Documents that are sent with one request, all of one collection."""

    collection: Collection
    name: str
    documents: tuple[dict[str, Any], ...]


def write(
    results: Sequence[Result], order_id: str, slide: str, execution_id: str, file: BinaryIO
) -> None:
    """Write the parts of an order, the same bytes for the same results.

    Tiles become a heat map, everything else marks. Where nothing was found, nothing is written.
    """
    documents = _documents(results, execution_id)
    for part in _divided(_numbered(documents, slide), order_id):
        file.write(b"[" + b",".join(part) + b"]\n")


def read(path: Path) -> Iterator[Part]:
    """Yield the parts in the order in which they are sent."""
    with path.open("rb") as file:
        for line in file:
            documents = json.loads(line)
            first = documents[0]
            collection: Collection = "Mark"
            if first["provenance"]["analysis"]["computation"] == "heatmap":
                collection = "Heatmap"
            yield Part(collection, first["slidelane"]["part"], tuple(documents))


def part_name(order_id: str, number: int) -> str:
    """Return what the documents of a part are found by."""
    return f"{order_id}.{number}"


def _documents(results: Sequence[Result], execution_id: str) -> Iterator[dict[str, Any]]:
    card = results[0].card
    if card.output == "tiles":
        found = heat_map(results, execution_id)
        if found:
            yield found
        return
    analysis = analysis_of(execution_id, card.title)
    for result in results:
        yield from marks(result, analysis)


@dataclass
class _Numbered:
    """A document with its number, and whether no other follows."""

    document: dict[str, Any]
    number: int
    is_last: bool = False


def _numbered(documents: Iterable[dict[str, Any]], slide: str) -> Iterator[_Numbered]:
    """Yield each document, of this slide; the last one says that it is."""
    waiting: _Numbered | None = None
    for number, document in enumerate(documents):
        if waiting:
            yield waiting
        provenance = document["provenance"] | {"image": {"slide": slide}}
        waiting = _Numbered(document | {"provenance": provenance}, number)
    if waiting:
        waiting.is_last = True
        yield waiting


def _divided(documents: Iterable[_Numbered], order_id: str) -> Iterator[list[bytes]]:
    """Yield the documents of each part as JSON."""
    texts: list[bytes] = []
    size_bytes = 0
    number = 0
    for document in documents:
        text = _text(document, order_id, number)
        if texts and (len(texts) == MAX_DOCUMENTS or size_bytes + len(text) > MAX_PART_BYTES):
            yield texts
            number += 1
            texts = []
            size_bytes = 0
            text = _text(document, order_id, number)
        texts.append(text)
        size_bytes += len(text)
    if texts:
        yield texts


def _text(numbered: _Numbered, order_id: str, number_of_part: int) -> bytes:
    """Return the document as ASCII JSON.

    Fields by which it is found are texts: what the server is asked for is always text.
    """
    about: dict[str, Any] = {
        "order": order_id,
        "part": part_name(order_id, number_of_part),
        "number": numbered.number,
    }
    if numbered.number == 0:
        about["first"] = "yes"
    if numbered.is_last:
        about["last"] = "yes"
    return strict_json(numbered.document | {"slidelane": about})
