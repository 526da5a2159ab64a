"""What a reader would see of a page: HTML without its tags, in one pass.

A page made to be slow takes no longer than another. (The parser of the standard library takes quadratic time
for unclosed comments.)
"""

from __future__ import annotations

import html
import re
from typing import Final

_SILENT: Final = frozenset(["script", "style", "noscript", "template", "svg", "head", "iframe", "object"])
_BLOCKS: Final = frozenset(
    [
        "p",
        "div",
        "section",
        "article",
        "header",
        "footer",
        "main",
        "aside",
        "nav",
        "ul",
        "ol",
        "table",
        "tr",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "blockquote",
        "pre",
        "figure",
        "form",
        "dl",
        "hr",
    ]
)
_LINES: Final = frozenset({"br", "li", "dt", "dd"})
# A comment, or a tag; each ends at the next < or > at the latest, so that no start of one is looked at twice.
_TAG: Final = re.compile(r"<!--[\s\S]*?(?:-->|\Z)|</?([A-Za-z][A-Za-z0-9:-]*)[^<>]*>|<[!?][^<>]*>")
_END_OF: Final = {tag: re.compile(rf"</{tag}[\s/>]", re.IGNORECASE) for tag in _SILENT} | {
    "head": re.compile(r"</head[\s/>]|<body[\s/>]", re.IGNORECASE)
}
_TOO_LONG: Final = re.compile(r"&#(?:[xX][0-9A-Fa-f]{9,}|[0-9]{9,});?")  # no character has such a number


def text_of(page: str) -> str:
    """The text of a page: blocks as paragraphs, entities as characters, scripts and styles left out."""
    parts: list[str] = []
    place = 0
    while found := _TAG.search(page, place):
        parts.append(_seen(page[place : found.start()]))
        place = found.end()
        tag = (found[1] or "").lower()
        if tag in _BLOCKS:
            parts.append("\n\n")
        elif tag in _LINES:
            parts.append("\n")
        elif tag in ("td", "th"):
            parts.append(" ")
        elif tag in _SILENT and not found[0].startswith("</"):
            end = _END_OF[tag].search(page, place)
            place = end.start() if end else len(page)
    parts.append(_seen(page[place:]))
    plain = re.sub(r" {2,}", " ", "".join(parts))
    plain = re.sub(r" ?\n ?", "\n", plain)
    return re.sub(r"\n{3,}", "\n\n", plain)


def without_tags(text: str) -> str:
    """A text whose tags, comments, scripts and styles are gone; everything else, spaces too, stays as it is."""
    parts: list[str] = []
    place = 0
    while found := _TAG.search(text, place):
        parts.append(text[place : found.start()])
        place = found.end()
        tag = (found[1] or "").lower()
        if tag in ("script", "style") and not found[0].startswith("</"):
            end = _END_OF[tag].search(text, place)
            place = end.start() if end else len(text)
    parts.append(text[place:])
    return html.unescape(_TOO_LONG.sub("\ufffd", "".join(parts))) if len(parts) > 1 else text


def _seen(text: str) -> str:
    return re.sub(r"\s+", " ", html.unescape(_TOO_LONG.sub("\ufffd", text)))
