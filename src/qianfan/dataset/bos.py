"""Datasets in buckets: an object read and written like a file, and what the platform takes from a bucket."""

from __future__ import annotations

import hashlib
import tempfile
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from qianfan.config import get_config
from qianfan.contract.enums import DataStorageType
from qianfan.contract.ids import random_word
from qianfan.dataset.bucket import Bucket
from qianfan.dataset.files import FileDataSource, Told
from qianfan.dataset.formats import Rows
from qianfan.dataset.upload import upload
from qianfan.errors import InvalidArgumentError

if TYPE_CHECKING:
    from qianfan.dataset.sources import QianfanDataSource

CLOUD = ".baidubce.com"  # there the console's keys are those of the buckets, too


class BosDataSource(FileDataSource):
    """An object of a bucket (BOS, S3, MinIO) as a file of rows.

    region: by default the setting BOS_HOST_REGION. bos_file_path: the object, such as `folder/data.jsonl`.
    file_format: by default what the suffix says. ak, sk: by default the configured keys; they are not shown.
    The store is `https://s3.<region>.bcebos.com` unless the setting BOS_ENDPOINT names another.

    The object is fetched when it is first needed, into CACHE_DIR, and again when the store has a newer one and
    another source is made. `write` puts the object in its place whole; one that is there already and was not read
    from here stays, unless should_overwrite_existed_file (InvalidArgumentError).
    Raises InvalidArgumentError for a path that is none, RequestError for what the store refuses."""

    def __init__(
        self,
        region: str | None = None,
        bucket: str = "",
        bos_file_path: str = "",
        file_format: str | None = None,
        ak: str | None = None,
        sk: str | None = None,
        should_overwrite_existed_file: bool = False,
        is_a_text_file_an_entry: bool = False,
    ) -> None:
        self.key = _key(bos_file_path)
        self.bucket = Bucket.of(bucket, region, ak, sk)
        self.should_overwrite_existed_file = should_overwrite_existed_file
        self._fetched = False
        path = self._cache() / self.key.rsplit("/", 1)[-1]
        super().__init__(path, file_format, is_a_text_file_an_entry=is_a_text_file_an_entry)

    def __repr__(self) -> str:
        return f"BosDataSource({self.uri}, region={self.bucket.region!r})"

    @property
    def uri(self) -> str:
        """The path that the platform takes, `bos:/bucket/key`."""
        return f"bos:/{self.bucket.name}/{self.key}"

    @property
    def region(self) -> str:
        """Where the bucket is."""
        return self.bucket.region

    @property
    def bos_file_path(self) -> str:
        """The object's key."""
        return self.key

    @property
    def size(self) -> int:
        """Bytes."""
        return Path(self.fetch()).stat().st_size

    def to_state(self) -> dict[str, Any]:
        """The arguments to make it again; of the keys none."""
        at = {"region": self.region, "bucket": self.bucket.name, "bos_file_path": self.key}
        return {**at, "file_format": self.file_format}

    def stamp(self) -> tuple[int, ...]:
        """What changes when the object fetched does."""
        self.fetch()
        return super().stamp()

    def read(self, told: Told | None = None) -> Rows:
        """`(line, row)` of the object, streamed from what was fetched of it."""
        self.fetch()
        return super().read(told)

    def write(self, rows: Iterable[Any]) -> int:
        """Put these rows in the object's place, and return how many."""
        if not self._fetched and not self.should_overwrite_existed_file and self.bucket.has(self.key):
            raise InvalidArgumentError(
                f"{self.uri} exists",
                advice="save under another name, or give should_overwrite_existed_file=True",
            )
        count = super().write(rows)
        self._etag_file().write_text(self.bucket.put(self.key, Path(self.path)), encoding="utf-8")
        self._fetched = True
        return count

    def fetch(self) -> Path:
        """The object as a file of this machine; asks the store once."""
        path, known = Path(self.path), self._etag_file()
        if not self._fetched:
            path.parent.mkdir(parents=True, exist_ok=True)
            before = known.read_text(encoding="utf-8") if known.is_file() and path.is_file() else None
            newest = self.bucket.get(self.key, path, before or None)
            if newest is not None:
                known.write_text(newest, encoding="utf-8")
            self._fetched = True
        return path

    def _etag_file(self) -> Path:
        return Path(self.path).parent / ".etag"

    def _cache(self) -> Path:
        config = get_config()
        if config.DISABLE_CACHE:
            folder = tempfile.TemporaryDirectory(prefix="qianfan-")
            weakref.finalize(self, folder.cleanup)
            return Path(folder.name)
        named = f"{self.bucket.endpoint}/{self.bucket.name}/{self.key}"
        return Path(config.CACHE_DIR).expanduser() / "bos" / hashlib.sha256(named.encode()).hexdigest()[:24]


@dataclass(frozen=True)
class Place:
    """A folder of a bucket that files are brought to on their way into a dataset. folder: "" or ends with `/`."""

    bucket: str
    folder: str
    region: str | None = None

    def bring(self, source: Path, name: str, ak: str | None = None, sk: str | None = None) -> str:
        """Upload a file under a name of its own; returns the path that the platform imports, `bos:/…`.

        ak, sk: of the console's calls; they are the bucket's where no others are set."""
        suffix = Path(name).suffix or ".jsonl"
        key = f"{self.folder}data_{random_word(16)}{suffix}"
        if get_config().BOS_ACCESS_KEY:
            ak = sk = None
        Bucket.of(self.bucket, self.region, ak, sk).put(key, source)
        return f"bos:/{self.bucket}/{key}"


def load(args: Mapping[str, Any], **options: Any) -> QianfanDataSource:
    """What `bos_load_args` mean: a dataset on the platform, made of an object. See `create_from_bos_file`."""
    from qianfan.dataset.sources import QianfanDataSource

    return QianfanDataSource.create_from_bos_file(**{**args, **options})


def target(args: Mapping[str, Any]) -> BosDataSource:
    """What `bos_source_args` mean: the members of a BosDataSource. Raises InvalidArgumentError for others."""
    try:
        return BosDataSource(**args)
    except TypeError as unknown:
        raise InvalidArgumentError(
            f"bos_source_args: {unknown}", advice="give region, bucket, bos_file_path, file_format, ak and sk"
        ) from None


def path_of(storage_id: str, storage_path: str, file_name: str) -> str:
    """`bos:/bucket/folder/file` of its three parts."""
    Bucket.of(storage_id, ak="-", sk="-")  # is it a name
    return f"bos:/{storage_id}/{_key('/'.join((storage_path.strip('/'), file_name)))}"


def bring(
    path: Path, name: str, source: QianfanDataSource | None, arguments: Mapping[str, Any], **keys: Any
) -> str:
    """Upload a file to where its dataset wants it: a bucket, or the platform. Returns the path to import.

    source: the dataset, None for one that `arguments` will create. keys: options of the console call."""
    place = place_of(source, arguments)
    if place is None:
        return str(upload(path, name, **keys)["path"])
    return place.bring(path, name, keys.get("ak"), keys.get("sk"))


def place_of(source: QianfanDataSource | None, arguments: Mapping[str, Any]) -> Place | None:
    """Where files for a dataset are brought: its own bucket, or that of the `sup_storage_…` arguments.

    None where the platform takes them itself: for its own storage, and where no store is known to this process."""
    if arguments.get("sup_storage_id"):
        folder = str(arguments.get("sup_storage_path") or "")
        return Place(arguments["sup_storage_id"], _as_folder(folder), arguments.get("sup_storage_region"))
    config = get_config()
    host = urlsplit(config.CONSOLE_API_BASE_URL).hostname or ""
    if not config.BOS_ENDPOINT and not host.endswith(CLOUD):
        return None
    if source is not None and source.storage_type == DataStorageType.PrivateBos:
        return Place(
            source.storage_id or "", _as_folder(source.storage_raw_path or ""), source.storage_region
        )
    if source is None and arguments.get("storage_type") == DataStorageType.PrivateBos:
        return Place(arguments.get("storage_id") or "", _as_folder(arguments.get("storage_path") or ""))
    return None


def _as_folder(path: str) -> str:
    bare = path.strip("/")
    return f"{_key(bare)}/" if bare else ""


def _key(path: str) -> str:
    key = path.removeprefix("/") if isinstance(path, str) else ""
    parts = key.split("/")
    if any(part in ("", ".", "..") for part in parts) or any(
        ord(mark) < 0x20 or mark == "\\" for mark in key
    ):
        raise InvalidArgumentError(
            f"{path!r} is no path of an object", advice="give it without the bucket, as in folder/data.jsonl"
        )
    return key
