"""Cleaning: each function takes a text and returns it without what does not belong there."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import cache
from typing import Final

from . import markup

# Emoji by the blocks of Unicode 16 that hold nothing else, and the marks that join and colour them. Digits, # and *
# stay: they are emoji only with the keycap that follows them, which is dropped.
_EMOJI: Final = re.compile(
    "[\U0001f000-\U0001faff"  # tiles, cards, symbols, faces, transport, flags, supplements
    "\U00002600-\U000026ff\U00002700-\U000027bf"  # miscellaneous symbols, dingbats
    "\u231a\u231b\u23e9-\u23f3\u23f8-\u23fa\u24c2\u25aa\u25ab\u25b6\u25c0\u25fb-\u25fe\u2b05-\u2b07"
    "\u2b1b\u2b1c\u2b50\u2b55\u3030\u303d\u3297\u3299\u203c\u2049"
    "\ufe0f\u20e3\U000e0020-\U000e007f]"
)
_JOINER: Final = re.compile(
    "(?<=\0)\u200d|\u200d(?=\0)"
)  # between two emoji; in Persian and Hindi it has a use
# Tabs and ends of lines are layout. Zero width joiners stay: several scripts are not readable without them.
_INVISIBLE: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
)
_SPACES: Final = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
# What is left when bytes were read in a wrong encoding, and code points that mean nothing to anybody else.
_BROKEN: Final = re.compile(
    "\ufffd+|锟斤拷|(?:烫烫|屯屯|葺葺)+|(?:ï¿½)+|[\ue000-\uf8ff\ufdd0-\ufdef\ufffe\uffff\ud800-\udfff"
    "\U000f0000-\U000ffffd\U00100000-\U0010fffd]"
)


def remove_emoji(text: str) -> str:
    """Drop emoji with their skin colours, joiners, flags and keycaps; digits and letters stay."""
    marked = _EMOJI.sub("\0", text.replace("\0", ""))
    return text if marked == text else _JOINER.sub("", marked).replace("\0", "")


def remove_invisible_character(text: str) -> str:
    """Drop control characters, directional marks, soft hyphens and zero width spaces; tabs and lines stay."""
    return _INVISIBLE.sub("", text)


def replace_uniform_whitespace(text: str) -> str:
    """Every space that Unicode knows becomes a plain one."""
    return _SPACES.sub(" ", text)


def remove_non_meaning_characters(text: str) -> str:
    """Drop mojibake, replacement characters, private use and code points that are no characters."""
    text = _BROKEN.sub("", text)
    return text if text.isascii() else "".join(mark for mark in text if _means_something(mark))


def _means_something(mark: str) -> bool:
    return mark < "\u0100" or unicodedata.category(mark) != "Cn"


def replace_traditional_chinese_to_simplified(text: str) -> str:
    """Traditional characters and their words become simplified ones, by OpenCC.

    Raises ModuleNotFoundError that names what to install."""
    return text if text.isascii() else _simplify()(text)


@cache
def _simplify() -> Callable[[str], str]:
    try:
        import opencc
    except ImportError:
        raise ModuleNotFoundError(
            "simplifying Chinese needs OpenCC: pip install 'open-qianfan[dataset]'", name="opencc"
        ) from None
    convert: Callable[[str], str] = opencc.OpenCC("t2s").convert
    return convert


def remove_web_identifiers(text: str) -> str:
    """Drop HTML tags, comments, scripts and styles; entities become characters where a tag was dropped."""
    return markup.without_tags(text)
