"""Fetch from a model hub, in a process of its own that holds the hub's library.

    python -m qianfan_platform.catalogue.hub KIND REPO VERSION MEMBER OUT

    python -m qianfan_platform.catalogue.hub commit REPO VERSION

KIND is hf or modelscope. `commit` finds the commit that a branch or tag, or the main branch, is at. With MEMBER: that file; its hash is checked by the caller. Without: every file of a
Hugging Face commit that a model needs, each checked against the hash the commit names. The last line
printed is {"finished": PATH} or {"failed": REASON}. No code and no pickles are fetched.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any, Final

from qianfan_platform.engines.orphans import die_with_parent

WANTED: Final = ("*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json")
VOCABULARY: Final = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
)
PATTERNS: Final = [*WANTED, *VOCABULARY, "tokenizer.model", "added_tokens.json", "chat_template.jinja"]
PICTURES: Final = ("preprocessor_config.json", "processor_config.json", "chat_template.json", "vocab.txt")
PIPELINE: Final = "model_index.json"  # of diffusers; its parts are folders
PARTS: Final = (*PATTERNS, *PICTURES, "scheduler_config.json", "spiece.model")
COPY: Final = re.compile(r"\.(fp16|bf16|non_ema|ema_only)[.-]")  # the same weights once more
WHOLE: Final = "consolidated*"  # of a transformer: once more, under names of their own


class Unverified(Exception):
    """A file is not what the commit says."""


def fetch(kind: str, repo: str, version: str, member: str, out: Path) -> Path:
    """The file or the folder. Raises whatever the hub's library raises, and Unverified."""
    if kind == "modelscope":
        from modelscope.hub.file_download import model_file_download

        more = {"revision": version} if version else {}
        return Path(model_file_download(repo, member, local_dir=str(out), **more))
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download

    if member:
        return Path(hf_hub_download(repo, member, revision=version or None, local_dir=out))
    names = [row.rfilename for row in HfApi().model_info(repo, revision=version).siblings or ()]
    snapshot_download(repo, revision=version, local_dir=out, allow_patterns=wanted(names))
    verify(repo, version, out)
    shutil.rmtree(out / ".cache", ignore_errors=True)  # the library's notes about the download
    return out


def wanted(names: Sequence[str]) -> list[str]:
    """The files of a repository that its model needs.

    Of a pipeline only its parts: neither whole checkpoints that lie beside them, nor a second copy of the weights."""
    if PIPELINE not in names:
        flat = [name for name in names if "/" not in name and not fnmatch(name, WHOLE)]
        return [name for name in flat if _named(name, (*PATTERNS, *PICTURES))]
    parts = [name for name in names if "/" in name and _named(name, PARTS) and not COPY.search(name)]
    return [PIPELINE, *parts]


def _named(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(PurePosixPath(name).name, pattern) for pattern in patterns)


def verify(repo: str, version: str, folder: Path) -> None:
    """Compare each file with the hash that the commit names: sha256 for large files, git's for small ones."""
    from huggingface_hub import HfApi

    named: dict[str, Any] = {
        row.rfilename: row
        for row in HfApi().model_info(repo, revision=version, files_metadata=True).siblings or ()
    }
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and ".cache" not in p.parts):
        row = named.get(path.relative_to(folder).as_posix())
        if row is None:
            raise Unverified(f"{path.name} is not part of the commit")
        right = row.lfs.sha256 if row.lfs else row.blob_id
        if (sha256(path) if row.lfs else git_hash(path)) != right:
            raise Unverified(f"{path.name} is not what the commit says")


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def git_hash(path: Path) -> str:
    """The name git gives to a file of this content."""
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def commit(repo: str, version: str) -> str:
    """The commit that a version of a repository is at. Raises whatever the hub's library raises, and Unverified."""
    from huggingface_hub import HfApi

    found = HfApi().model_info(repo, revision=version or None).sha
    if not found:
        raise Unverified("the hub names no commit")
    return found


def main(kind: str, repo: str, version: str, member: str = "", out: str = "") -> int:
    try:
        if kind == "commit":
            done = {"finished": commit(repo, version)}
        else:
            done = {"finished": str(fetch(kind, repo, version, member, Path(out)))}
    except Exception as problem:
        done = {"failed": f"{type(problem).__name__}: {str(problem).splitlines()[0] if str(problem) else ''}"}
    print(json.dumps(done), flush=True)
    return 0 if "finished" in done else 1


if __name__ == "__main__":
    die_with_parent()
    sys.exit(main(*sys.argv[1:]))
