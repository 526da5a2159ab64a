"""Records of text-to-image datasets: a picture, its description, and the file that many pictures lie in.

A record is `{"image": name, "prompt": text, "pack": file id, "offset": bytes, "size": bytes}`, besides `labels`
where somebody has labelled it. The pictures of one import lie one after another in one file, its pack.
"""

from __future__ import annotations

import codecs
import hashlib
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import orjson

from qianfan.contract.enums import DataImportError
from qianfan.dataset.schemas import Problem

SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".bmp")
LONGEST_JSON: Final = 1024**2  # bytes of the JSON beside a picture
LARGEST_PICTURE: Final = 100 * 1024**2  # bytes, as for any file of an import
MOST_PIXELS: Final = 16_384  # on a side
TYPES: Final = {"jpeg": "image/jpeg", "png": "image/png", "bmp": "image/bmp"}
_PIECE: Final = 1 << 20
_HEAD: Final = 256 * 1024  # bytes in which the size of a picture must be told

Told = Callable[[Problem], None]


class _Bad(Exception):
    def __init__(self, what: str, fix: str, code: DataImportError = DataImportError.BadFormat) -> None:
        self.what, self.fix, self.code = what, fix, code


def records(
    members: Sequence[tuple[str, Path]], pack: Path, *, on_bad: Told, start: int = 0
) -> Iterator[dict[str, Any]]:
    """Records of the pictures among `members`, (name, file) each; their bytes are appended to the file `pack`.

    A picture takes its text from the JSON file of the same stem, `{"prompt": …}`; without one it is not annotated.
    on_bad is told of what is no picture, of broken JSON, and of a JSON file without a picture; those are left out.
    A record lacks "pack", which is the caller's to add. start: bytes that stand in the pack already."""
    texts = {_stem(name): (name, path) for name, path in members if name.lower().endswith(".json")}
    at = start
    seen: set[str] = set()
    with pack.open("ab") as out:
        for name, path in members:
            suffix = Path(name).suffix.lower()
            if suffix == ".json" or _is_rubbish(name):
                continue
            stem, where = _stem(name), name
            text: dict[str, Any] = {"prompt": ""}
            try:
                if suffix not in SUFFIXES:
                    raise _Bad("this is neither a picture nor the JSON of one", f"use {', '.join(SUFFIXES)}")
                if stem in seen:
                    raise _Bad("another picture has the same stem", "give each picture a stem of its own")
                seen.add(stem)
                _check_picture(path)
                if stem in texts:
                    where = texts[stem][0]
                    text = _text(texts[stem][1])
            except _Bad as bad:
                on_bad(Problem(1, bad.what, bad.fix, source=where, code=bad.code.value))
                continue
            size = _append(path, out)
            yield {"image": Path(name).name, **text, "offset": at, "size": size}
            at += size
    for stem, (name, _) in texts.items():
        if stem not in seen and not _is_rubbish(name):
            on_bad(Problem(1, "no picture has the same stem", "add the picture, or remove it", source=name))


def is_annotated(row: Mapping[str, Any]) -> bool:
    """Whether the picture has a text."""
    return bool(row.get("prompt"))


def labels_of(row: Mapping[str, Any]) -> list[dict[str, str]]:
    """`[{label_id, name, color}]`: what it was labelled with, else its text as the one label."""
    given = row.get("labels") or ([{"name": row["prompt"]}] if row.get("prompt") else [])
    return [_label(label) for label in given]


def labelled(row: Mapping[str, Any], labels: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The record with these labels in place of those it had; their names together are its text."""
    kept = [_kept(label) for label in labels]
    return {**row, "prompt": ", ".join(label["name"] for label in kept), "labels": kept}


def packs(batches: Sequence[Mapping[str, Any]]) -> list[str]:
    """The files with the pictures of a dataset, by its imports."""
    return list(dict.fromkeys(batch["pack"] for batch in batches if "pack" in batch))


def write(archive: zipfile.ZipFile, content: Path, packs: Mapping[str, Path], *, texts: bool = True) -> None:
    """Put each picture, and its text as JSON of the same stem, into a zip as an import takes it."""
    with content.open("rb") as lines:
        _write(archive, map(orjson.loads, lines), packs, texts)


def _write(
    archive: zipfile.ZipFile, rows: Iterator[dict[str, Any]], packs: Mapping[str, Path], texts: bool
) -> None:
    used: set[str] = set()
    for number, row in enumerate(rows):
        name = row["image"]
        if Path(name).stem.casefold() in used:
            name = f"{number}_{name}"
        used.add(Path(name).stem.casefold())
        archive.writestr(zipfile.ZipInfo(name), picture(row, packs[row["pack"]]))
        if texts and row.get("prompt"):
            text = {key: row[key] for key in ("prompt", "labels") if row.get(key)}
            archive.writestr(f"{Path(name).stem}.json", orjson.dumps(text))


def picture(row: Mapping[str, Any], pack: Path) -> bytes:
    """The bytes of a record's picture."""
    with pack.open("rb") as file:
        file.seek(row["offset"])
        return file.read(row["size"])


def media_type(head: bytes) -> str:
    """`image/png` and the like, by the first bytes of a picture."""
    return TYPES.get(_kind(head), "application/octet-stream")


def measure(head: bytes) -> tuple[str, int, int]:
    """(jpeg, png or bmp; width; height) of a picture by its first bytes. Raises ValueError for anything else."""
    kind = _kind(head)
    if kind == "png" and len(head) >= 24 and head[12:16] == b"IHDR":
        return kind, int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
    if kind == "bmp" and len(head) >= 26:
        width = int.from_bytes(head[18:22], "little", signed=True)
        height = int.from_bytes(head[22:26], "little", signed=True)
        return kind, width, abs(height)  # a negative height is a picture from top to bottom
    if kind == "jpeg":
        return (kind, *_jpeg_size(head))
    raise ValueError("it has no header of a JPEG, PNG or BMP")


def _jpeg_size(head: bytes) -> tuple[int, int]:
    """Walk the segments to the one that tells the size; each tells its own length."""
    at = 2
    while at + 9 <= len(head):
        if head[at] != 0xFF:
            raise ValueError("its JPEG segments are broken")
        marker = head[at + 1]
        if marker == 0xFF:  # filling
            at += 1
            continue
        if marker in (0x01, *range(0xD0, 0xD8)):
            at += 2
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(head[at + 7 : at + 9], "big"), int.from_bytes(head[at + 5 : at + 7], "big")
        length = int.from_bytes(head[at + 2 : at + 4], "big")
        if length < 2 or marker in (0xD9, 0xDA):
            break
        at += 2 + length
    raise ValueError("its JPEG header tells no size")


def _kind(head: bytes) -> str:
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    return "bmp" if head.startswith(b"BM") else ""


def _check_picture(path: Path) -> None:
    if path.stat().st_size > LARGEST_PICTURE:
        raise _Bad(
            f"the picture has more than {LARGEST_PICTURE} bytes", "make it smaller", DataImportError.TooLarge
        )
    with path.open("rb") as file:
        head = file.read(_HEAD)
    try:
        _, width, height = measure(head)
    except ValueError as error:
        raise _Bad(f"the file is no picture: {error}", "save it again as PNG or JPEG") from None
    if not (0 < width <= MOST_PIXELS and 0 < height <= MOST_PIXELS):
        raise _Bad(f"the picture is {width} x {height}", f"a side has 1 to {MOST_PIXELS} pixels")


def _text(path: Path) -> dict[str, Any]:
    if path.stat().st_size > LONGEST_JSON:
        raise _Bad(
            f"its JSON has more than {LONGEST_JSON} bytes", "keep the text shorter", DataImportError.TooLarge
        )
    try:
        found = orjson.loads(path.read_bytes().removeprefix(codecs.BOM_UTF8))
    except orjson.JSONDecodeError as error:
        raise _Bad(f"its JSON cannot be read: {error}", 'write {"prompt": "…"}') from None
    if isinstance(found, list) and len(found) == 1:
        found = found[0]
    prompt = found.get("prompt") if isinstance(found, dict) else None
    if not isinstance(prompt, str) or not prompt.strip():
        raise _Bad("its JSON has no prompt", 'write {"prompt": "…"}', DataImportError.Mismatch)
    labels = found.get("labels")
    if not labels:
        return {"prompt": prompt}
    if not isinstance(labels, list) or not all(_is_label(label) for label in labels):
        raise _Bad("its JSON has labels without a name", 'write {"prompt": "…", "labels": [{"name": "…"}]}')
    return {"prompt": prompt, "labels": [_kept(label) for label in labels]}


def _is_label(label: Any) -> bool:
    return isinstance(label, dict) and isinstance(label.get("name"), str) and bool(label["name"].strip())


def _kept(label: Mapping[str, Any]) -> dict[str, str]:
    whole = _label(label)
    return {"label_id": whole["label_id"], "name": whole["name"]}


def _label(label: Mapping[str, Any]) -> dict[str, str]:
    name = str(label["name"])
    digest = hashlib.sha256(name.encode()).hexdigest()
    return {
        "label_id": str(label.get("label_id") or digest[:16]),
        "name": name,
        "color": f"#{digest[:6].upper()}",
    }


def _append(path: Path, out: Any) -> int:
    size = 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            size += out.write(piece)
    return size


def _stem(name: str) -> str:
    return str(Path(name).with_suffix("")).casefold()


def _is_rubbish(name: str) -> bool:
    """What file managers put into archives."""
    parts = Path(name).parts
    return "__MACOSX" in parts or parts[-1].startswith(".") or parts[-1] == "Thumbs.db"
