"""Accounts and keys through the SDK and the command line: each opens what it should, and nothing once it is gone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

import qianfan
from qianfan import embedded
from qianfan.cli.main import app
from qianfan.contract import routes
from qianfan.errors import QianfanError
from qianfan.resources.console.account import Account

from .served import HI, Served, serving

BEARER_CHAT = "/v2/chat/completions"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Echo, and this process's SDK pointed at it with the first account's keys."""
    with serving(tmp_path_factory.mktemp("keys")) as served, embedded.configured(served.environment):
        yield served


def status_of(server: Served, bearer: str) -> int:
    body = {"model": "ernie-speed-8k", "messages": HI}
    return server.ask(BEARER_CHAT, body, headers={"Authorization": f"Bearer {bearer}"}).status


def test_an_apps_keys_open_the_platform_until_they_are_renewed_or_deleted(server: Served) -> None:
    """Renewing ends the old secret; deleting ends what was issued, at once."""
    del server
    made = Account.create_key("app", name="laptop")["result"]
    assert made["kind"] == "app"
    assert made["id"].startswith("app-")

    def chat(secret: str) -> Any:
        return qianfan.ChatCompletion(ak=made["key"], sk=secret).do(messages=HI)["result"]

    assert chat(made["secretKey"]) == "hi"
    renewed = Account.renew_key(made["id"])["result"]
    assert renewed["key"] == made["key"]
    assert renewed["secretKey"] != made["secretKey"]
    assert chat(renewed["secretKey"]) == "hi"
    assert Account.delete_key(made["id"])["result"] == {"id": made["id"]}
    with pytest.raises(QianfanError):
        chat(renewed["secretKey"])


def test_a_bearer_key_opens_what_openai_shaped_clients_call_and_makes_no_keys(server: Served) -> None:
    """It lasts until it is deleted; a leaked one cannot make another."""
    made = Account.create_key("bearer", name="ci")["result"]
    assert status_of(server, made["key"]) == 200
    headers = {"Authorization": f"Bearer {made['key']}"}
    refused = server.ask("/v2/account?Action=CreateKey", {"kind": "bearer"}, headers=headers)
    assert refused.status == 403
    assert "signed" in refused.json["message"]
    Account.delete_key(made["id"])
    assert status_of(server, made["key"]) == 401


def test_an_access_key_signs_and_the_last_one_stays(server: Served) -> None:
    """The account cannot lock itself out."""
    (first,) = [key for key in Account.keys()["result"]["keys"] if key["kind"] == "access"]
    with pytest.raises(QianfanError, match="last access key"):
        Account.delete_key(first["id"])
    made = Account.create_key("access")["result"]
    with embedded.configured(
        {
            **server.environment,
            "QIANFAN_ACCESS_KEY": made["key"],
            "QIANFAN_SECRET_KEY": made["secretKey"],
        }
    ):
        assert len(Account.keys()["result"]["keys"]) >= 3
    Account.delete_key(made["id"])
    assert made["id"] not in {key["id"] for key in Account.keys()["result"]["keys"]}


def test_another_account_is_made_by_the_first_only_and_sees_its_own_keys(server: Served) -> None:
    """The first looks after its keys; the new one can neither see nor make accounts."""
    made = Account.create("colleagues")["result"]
    with pytest.raises(QianfanError, match="exists"):
        Account.create("colleagues")
    assert [row["name"] for row in Account.list()["result"]["accounts"]] == ["owner", "colleagues"]
    of_theirs = Account.create_key("app", name="theirs", account_id=made["id"])["result"]
    environment = {
        **server.environment,
        "QIANFAN_AK": made["ak"],
        "QIANFAN_SK": made["sk"],
        "QIANFAN_ACCESS_KEY": made["accessKey"],
        "QIANFAN_SECRET_KEY": made["secretKey"],
    }
    with embedded.configured(environment):
        names = {key["name"] for key in Account.keys()["result"]["keys"]}
        assert names == {"default", "", "theirs"}
        for call in (
            lambda: Account.list(),
            lambda: Account.create("third"),
            lambda: Account.keys(account_id=1),
            lambda: Account.create_key("bearer", account_id=1),
        ):
            with pytest.raises(QianfanError, match="first account"):
                call()
        assert qianfan.ChatCompletion().do(messages=HI)["result"] == "hi"
    with pytest.raises(QianfanError, match="does not exist"):
        Account.delete_key(of_theirs["id"])  # of another account, unless it is named
    Account.delete_key(of_theirs["id"], account_id=made["id"])


def test_secrets_are_in_no_listing_no_log_and_kept_for_no_repetition(server: Served) -> None:
    """An Idempotency-Key would keep the answer, so it is refused."""
    made = Account.create_key("app", name="quiet")["result"]
    assert made["secretKey"] not in json.dumps(Account.keys()["result"])
    assert made["secretKey"] not in server.log.read_text()
    refused = server.call(routes.KEY_CREATE, {"kind": "bearer"}, **{"Idempotency-Key": "again"})
    assert refused.status == 400
    assert "Idempotency-Key" in refused.body.decode()
    assert server.call(routes.KEY_CREATE, {"kind": "root"}).status == 400


def test_the_commands_make_list_and_delete_keys(server: Served) -> None:
    """What `create` prints are the variables that the SDK reads."""
    runner = CliRunner()
    made = runner.invoke(app, ["key", "create", "bearer", "--name", "shell", "--json"])
    assert made.exit_code == 0
    key = json.loads(made.stdout)
    assert status_of(server, key["key"]) == 200
    printed = runner.invoke(app, ["key", "create", "app", "--name", "x"])
    lines = dict(line.split("=", 1) for line in printed.stdout.splitlines())
    assert set(lines) == {"QIANFAN_AK", "QIANFAN_SK"}
    listed = runner.invoke(app, ["key", "list"])
    assert key["id"] in listed.stdout
    assert key["key"] not in listed.stdout
    assert runner.invoke(app, ["key", "delete", key["id"]], input="n\n").exit_code != 0
    assert status_of(server, key["key"]) == 200
    assert runner.invoke(app, ["key", "delete", key["id"], "--yes"]).exit_code == 0
    assert status_of(server, key["key"]) == 401
    account = runner.invoke(app, ["account", "create", "shell-made", "--json"])
    assert json.loads(account.stdout)["name"] == "shell-made"
    assert "shell-made" in runner.invoke(app, ["account", "list"]).stdout
