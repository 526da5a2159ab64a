"""Bodies of images to make, of texts to embed and of documents to rank, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from qianfan.contract import errors
from qianfan_platform.engines.protocol import ImageWish

from . import members
from .members import Body, refuse

MOST_TEXTS: Final = 16  # in one V1 call
MOST_TEXTS_V2: Final = 2_048
MOST_DOCUMENTS: Final = 64
MAX_CHARS: Final = 28_000  # of a text: the most that the cloud documents for any model
MAX_QUERY: Final = 1_600
MAX_PROMPT: Final = 1_024  # characters that describe an image
SIZES: Final = ("768x768", "768x1024", "1024x768", "576x1024", "1024x576", "1024x1024")
SAMPLERS: Final = (
    "Euler", "Euler a", "DPM++ 2M", "DPM++ 2M Karras", "LMS", "LMS Karras", "DPM++ SDE", "DPM++ SDE Karras",
    "DPM2", "DPM2 Karras", "DPM2 a", "DPM2 a Karras", "DPM++ 2M SDE", "DPM++ 2M SDE Karras", "Heun", "DDIM",
)  # fmt: skip
STYLES: Final = (
    "Base", "3D Model", "Analog Film", "Anime", "Cinematic", "Comic Book", "Craft Clay", "Digital Art",
    "Enhance", "Fantasy Art", "Isometric", "Line Art", "Lowpoly", "Neonpunk", "Origami", "Photographic",
    "Pixel Art", "Texture",
)  # fmt: skip
SEEDS: Final = 2**32 - 1


def texts_of_v1(body: Body) -> list[str]:
    """`input` of a V1 embedding call."""
    return members.texts(body, "input", most=MOST_TEXTS, chars=MAX_CHARS)


def texts_of_v2(body: Body) -> list[str]:
    """`input` of a V2 embedding call: a text or a list of texts."""
    value = body.get("input")
    if isinstance(value, str):
        body = {"input": [value]}
    elif isinstance(value, list) and value and isinstance(value[0], int | list):
        refuse("input holds token ids, which only one tokenizer can read", "send texts")
    return members.texts(body, "input", most=MOST_TEXTS_V2, chars=MAX_CHARS)


def ranking(body: Body) -> tuple[str, list[str], int]:
    """Query, documents, and how many of them are asked for."""
    query = members.text(body, "query", most=MAX_QUERY)
    documents = members.texts(body, "documents", most=MOST_DOCUMENTS, chars=MAX_CHARS)
    top = members.whole(body, "top_n", 1, 2**31)
    return query, documents, min(top or len(documents), len(documents))


def ranked(documents: Sequence[str], scores: Sequence[float], top: int) -> list[dict[str, Any]]:
    """The `top` best documents, the best first; of equals, the earlier first."""
    order = sorted(range(len(documents)), key=lambda place: -scores[place])[:top]
    return [
        {"document": documents[place], "relevance_score": scores[place], "index": place} for place in order
    ]


def image(body: Body, *, guidance: str = "cfg_scale", sampler: str = "sampler_index") -> ImageWish:
    """An image to make. The names of two members differ between the interfaces."""
    negative = body.get("negative_prompt")
    if not isinstance(negative, str | None) or len(negative or "") > MAX_PROMPT:
        refuse(f"negative_prompt must be a text of at most {MAX_PROMPT} characters")
    return ImageWish(
        prompt=members.text(body, "prompt", most=MAX_PROMPT),
        negative_prompt=negative or "",
        size=_size(body.get("size")),
        count=members.whole(body, "n", 1, 4) or 1,
        steps=members.whole(body, "steps", 10, 50),
        seed=members.whole(body, "seed", 0, SEEDS),
        guidance=members.number(body, guidance, 0, 30),
        sampler=_one_of(body.get(sampler), SAMPLERS, sampler, errors.IMAGE_SAMPLER),
        style=_one_of(body.get("style"), STYLES, "style", errors.PARAMETER),
    )


def _size(value: Any) -> tuple[int, int]:
    text = _one_of(value, SIZES, "size", errors.IMAGE_SIZE) or "1024x1024"
    width, _, height = text.partition("x")
    return int(width), int(height)


def _one_of(value: Any, known: tuple[str, ...], name: str, row: errors.ErrorRow) -> str | None:
    if value is None:
        return None
    if value not in known:
        refuse(f"{name} must be one of: {', '.join(known)}", row=row)
    return str(value)
