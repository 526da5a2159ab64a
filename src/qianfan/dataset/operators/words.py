"""Words of a text: a Chinese, Japanese or Korean character for each, elsewhere letters and digits together."""

from __future__ import annotations

import re
from typing import Final

HAN: Final = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
CJK: Final = HAN + "\u3040-\u30ff\uac00-\ud7af"
_WORD: Final = re.compile(rf"[{CJK}]|[^\W_{CJK}]+(?:['’\-][^\W_{CJK}]+)*")
_HAN: Final = re.compile(rf"[{HAN}]")


def words_of(text: str) -> list[str]:
    """The words of a text in order, as they are written."""
    return _WORD.findall(text)


def is_chinese(text: str) -> bool:
    """Whether more than a third of the letters are Chinese characters."""
    letters = sum(mark.isalpha() for mark in text)
    return letters > 0 and len(_HAN.findall(text)) * 3 > letters
