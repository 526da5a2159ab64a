"""What a document says: plain text out of text, Markdown and HTML files."""

from __future__ import annotations

import re
from typing import Final, Literal

from qianfan.contract.errors import CONSOLE_PARAMETER, Fault
from qianfan.dataset.operators import markup

Format = Literal["text", "markdown", "html"]
FORMATS: Final = ("text", "markdown", "html")
MAX_BYTES: Final = 20 * 1024 * 1024

_SUFFIXES: Final[dict[str, Format]] = {
    "txt": "text", "text": "text", "md": "markdown", "markdown": "markdown", "html": "html", "htm": "html",
    "xhtml": "html",
}  # fmt: skip
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
        text = markup.text_of(text)
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
