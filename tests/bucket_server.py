"""An S3 server on loopback: moto's, in a process of its own. It checks every signature and what a user may do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest

REGION = "bj"
MINE, LOCKED, ABSENT = "team-data", "locked-data", "absent-data"  # the last does not exist


@dataclass(frozen=True)
class BucketServer:
    """Where it listens, and the keys of a user who may use `team-data` and `absent-data`, but not `locked-data`."""

    url: str
    access_key: str
    secret_key: str = field(repr=False)

    @property
    def client(self) -> Any:
        """boto3, as the user."""
        return boto3.client("s3", **_at(self.url, self.access_key, self.secret_key))

    def write(self, key: str, content: bytes | str) -> None:
        """Keep an object in `team-data`."""
        self.client.put_object(Bucket=MINE, Key=key, Body=content)

    def read(self, key: str) -> bytes:
        """An object of `team-data`."""
        return bytes(self.client.get_object(Bucket=MINE, Key=key)["Body"].read())

    def keys(self, prefix: str = "") -> list[str]:
        """What lies in `team-data`."""
        found = self.client.list_objects_v2(Bucket=MINE, Prefix=prefix)
        return [one["Key"] for one in found.get("Contents", [])]

    def stores(self, folder: Path, **more: Any) -> Path:
        """A file for `--objects` that connects all three buckets; its keys are in `environment`."""
        rows = {
            "endpoint": self.url,
            "region": REGION,
            "access_key_env": "TEST_BUCKETS_AK",
            "secret_key_env": "TEST_BUCKETS_SK",
            "buckets": [MINE, LOCKED, ABSENT],
            **more,
        }
        file = folder / "objects.toml"
        lines = [f"{name} = {json.dumps(value)}\n" for name, value in rows.items()]
        file.write_text("[stores.team]\n" + "".join(lines), encoding="utf-8")
        return file

    @property
    def environment(self) -> dict[str, str]:
        """The variables that `stores` names."""
        return {"TEST_BUCKETS_AK": self.access_key, "TEST_BUCKETS_SK": self.secret_key}


def _at(url: str, access_key: str = "setup", secret_key: str = "setup") -> dict[str, Any]:
    keys = {"aws_access_key_id": access_key, "aws_secret_access_key": secret_key}
    return {"endpoint_url": url, "region_name": REGION, **keys}


@contextmanager
def serving() -> Iterator[BucketServer]:
    """A server for as long as the block lasts."""
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MOTO_"))},
    )
    try:
        assert process.stdout is not None
        url = next(line.split("Running on ")[1].strip() for line in process.stdout if "Running on" in line)
        yield _prepared(url)
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def _prepared(url: str) -> BucketServer:
    """Make the user and the buckets, then have it check who asks."""
    iam, s3 = boto3.client("iam", **_at(url)), boto3.client("s3", **_at(url))
    iam.create_user(UserName="team")
    key = iam.create_access_key(UserName="team")["AccessKey"]
    resources = [f"arn:aws:s3:::{bucket}{tail}" for bucket in (MINE, ABSENT) for tail in ("", "/*")]
    allowed = [{"Effect": "Allow", "Action": "s3:*", "Resource": resources}]
    policy = json.dumps({"Version": "2012-10-17", "Statement": allowed})
    iam.put_user_policy(UserName="team", PolicyName="own", PolicyDocument=policy)
    for bucket in (MINE, LOCKED):
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
    strict = urllib.request.Request(
        f"{url}/moto-api/reset-auth", data=b"0", headers={"Content-Type": "application/octet-stream"}
    )
    urllib.request.urlopen(strict).close()
    return BucketServer(url, key["AccessKeyId"], key["SecretAccessKey"])


@pytest.fixture(scope="session")
def bucket_server() -> Iterator[BucketServer]:
    """One server for all tests of a process; each takes keys of its own."""
    with serving() as server:
        yield server
