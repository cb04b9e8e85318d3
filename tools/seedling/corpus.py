"""The text the seedling reads: TinyStories and public-domain storybooks, cut into documents."""

import re
from pathlib import Path

END = "<|endoftext|>"

# Authors whose books are written for children; the rest of the shelf is beyond a three-million-parameter model.
STORYBOOKS = (
    "Aesop", "Anna Sewell", "Edith Nesbit", "Frances Hodgson Burnett", "Hans Christian Andersen", "Hugh Lofting", "J. M. Barrie",
    "Johanna Spyri", "Kenneth Grahame", "L. Frank Baum", "Lewis Carroll", "Louisa May Alcott", "Lucy Maud Montgomery", "The Brothers Grimm",
)

PLAIN = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'", "–": "-", "—": "-", "…": "...", "\u00a0": " ", "\ufeff": None})


def plain(text: str) -> str:
    """Straight quotes and dashes, no Markdown, single spaces: what a keyboard types."""
    text = text.translate(PLAIN)
    text = re.sub(r"^\s*(#.*|[-*_]{3,}\s*)$", "", text, flags=re.MULTILINE)
    text = re.sub(r"[*_]", "", text)
    text = re.sub(r"[ \t]+", " ", text)
    return re.sub(r"\s*\n\s*", "\n", text).strip()


def stories(corpora: Path) -> list[str]:
    """TinyStories, one document a story."""
    text = "".join(p.read_text(encoding="utf-8", errors="ignore") for p in sorted(corpora.glob("tinystories*.txt")))
    return [story for story in map(plain, text.split(END)) if len(story) > 80]


def books(corpora: Path) -> list[str]:
    """Storybooks, one document a chapter or tale."""
    chapters = []
    for author in STORYBOOKS:
        for path in sorted((corpora / "books" / author).glob("*.md")):
            chapters += re.split(r"^#+ .*$", path.read_text(encoding="utf-8", errors="ignore"), flags=re.MULTILINE)
    return [chapter for chapter in map(plain, chapters) if len(chapter) > 400]


def held_out(documents: list[str]) -> tuple[list[str], list[str]]:
    """(training, validation): every fiftieth document validates."""
    return [d for i, d in enumerate(documents) if i % 50], documents[::50]
