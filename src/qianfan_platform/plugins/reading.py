"""What a document says: plain text out of text, Markdown and HTML files."""

from __future__ import annotations

import html
import re
from typing import Final, Literal

from qianfan.contract.errors import CONSOLE_PARAMETER, Fault

Format = Literal["text", "markdown", "html"]
FORMATS: Final = ("text", "markdown", "html")
MAX_BYTES: Final = 20 * 1024 * 1024

_SUFFIXES: Final[dict[str, Format]] = {
    "txt": "text", "text": "text", "md": "markdown", "markdown": "markdown", "html": "html", "htm": "html",
    "xhtml": "html",
}  # fmt: skip
_SILENT: Final = frozenset({"script", "style", "noscript", "template", "svg", "head", "iframe", "object"})
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
_OTHERS: Final = {
    b"%PDF": "a PDF",
    b"PK\x03\x04": "an archive, or a document of an office program",
    b"\xd0\xcf\x11\xe0": "a document of an office program",
    b"\x89PNG": "an image",
    b"\xff\xd8\xff": "an image",
    b"GIF8": "an image",
}


def text_of(raw: bytes, name: str, given: str = "") -> str:
    """The text of a document. given: its format; "" lets name and content tell. Raises Fault.

    Read as UTF-8, else as GB 18030, or as UTF-16 when it begins with that mark."""
    for head, what in _OTHERS.items():
        if raw.startswith(head):
            raise Fault(
                CONSOLE_PARAMETER,
                f"{name!r} is {what}, which cannot be read as text",
                "save it as text, Markdown or HTML, and add that",
            )
    text = _decoded(raw, name)
    kind = given or _SUFFIXES.get(name.rsplit(".", 1)[-1].lower(), "") if "." in name or given else given
    if not kind:
        kind = "html" if re.match(r"\s*(?:<!doctype html|<html)", text, re.IGNORECASE) else "text"
    if kind == "html":
        text = _html(text)
    text = "\n".join(line.rstrip() for line in re.split(r"\r\n?|\n", text)).strip()
    if not text:
        raise Fault(CONSOLE_PARAMETER, f"{name!r} holds no text", "add a document that says something")
    return text


def _decoded(raw: bytes, name: str) -> str:
    encodings = ("utf-16",) if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig", "gb18030")
    for encoding in encodings:
        try:
            text = raw.decode(encoding)
        except UnicodeError:
            continue
        if "\0" not in text:  # else it is no text, and no database takes it
            return text
    raise Fault(CONSOLE_PARAMETER, f"{name!r} is not a text in UTF-8 or GB 18030", "save it as UTF-8")


def _html(text: str) -> str:
    """What a reader would see, in one pass: a page made to be slow takes no longer than another.

    (The parser of the standard library takes quadratic time for unclosed comments.)"""
    parts: list[str] = []
    place = 0
    while found := _TAG.search(text, place):
        parts.append(_seen(text[place : found.start()]))
        place = found.end()
        tag = (found[1] or "").lower()
        if tag in _BLOCKS:
            parts.append("\n\n")
        elif tag in _LINES:
            parts.append("\n")
        elif tag in ("td", "th"):
            parts.append(" ")
        elif tag in _SILENT and not found[0].startswith("</"):
            end = _END_OF[tag].search(text, place)
            place = end.start() if end else len(text)
    parts.append(_seen(text[place:]))
    plain = re.sub(r" {2,}", " ", "".join(parts))
    plain = re.sub(r" ?\n ?", "\n", plain)
    return re.sub(r"\n{3,}", "\n\n", plain)


def _seen(text: str) -> str:
    return re.sub(r"\s+", " ", html.unescape(_TOO_LONG.sub("\ufffd", text)))
