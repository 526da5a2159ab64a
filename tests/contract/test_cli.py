"""The command line against the platform, each command in a process of its own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from .conftest import Scripts

LONG = " ".join(f"word{number}" for number in range(60))


@dataclass(frozen=True)
class Command:
    """Runs `qianfan …` as a user would."""

    scripts: Scripts
    home: Path

    def environment(self, **extra: str) -> dict[str, str]:
        return self.scripts.environment(XDG_STATE_HOME=str(self.home), COLUMNS="200", **extra)

    def __call__(
        self, *arguments: str, stdin: str = "", code: int = 0, **extra: str
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "qianfan.cli.main", *arguments],
            env=self.environment(**extra),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            cwd=self.home,
        )
        assert done.returncode == code, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done

    def json(self, *arguments: str, stdin: str = "") -> Any:
        return json.loads(self(*arguments, "--json", stdin=stdin).stdout)


@pytest.fixture
def qianfan(scripts: Scripts, tmp_path: Path) -> Command:
    return Command(scripts, tmp_path)


def test_a_question_is_answered_on_standard_output_alone(qianfan: Command) -> None:
    """Whole and in pieces, V1 and V2: the text and nothing else, so that a pipe can take it."""
    for more in ((), ("--no-stream",), ("--v2",), ("--v2", "--no-stream")):
        done = qianfan("chat", "-m", "echo", *more, "hello", "there")
        assert done.stdout == "hello there\n"
        assert done.stderr == ""


def test_a_question_may_be_piped_in(qianfan: Command) -> None:
    """Alone, or where the argument `-` stands."""
    assert qianfan("chat", "-e", "echo", stdin="from a pipe\n").stdout == "from a pipe\n"
    assert qianfan("chat", "-e", "echo", "review:", "-", stdin="x = 1\n").stdout == "review: x = 1\n"


def test_json_of_an_answer_is_one_object(qianfan: Command) -> None:
    """The text, why it ended, what it used, who answered; V1 and V2 alike."""
    for more in ((), ("--v2",)):
        answer = qianfan.json("chat", "-m", "echo", "--max-tokens", "3", *more, LONG)
        assert answer["text"] == "word0 word1 word2"
        assert answer["finish_reason"] == "length"
        assert answer["usage"]["completion_tokens"] == 3
        assert answer["model"] == answer["served_by"] == "echo"
        assert answer["request_id"]
        assert answer["seconds"] >= answer["first_piece_seconds"] > 0


def test_json_of_a_stream_is_lines_and_the_object_last(qianfan: Command) -> None:
    """The pieces of `delta` together are the text of the last line."""
    for command, more in (("chat", ()), ("chat", ("--v2",)), ("completion", ())):
        done = qianfan(command, "-m", "echo", "--json", "--stream", *more, "one two three")
        *pieces, last = [json.loads(line) for line in done.stdout.splitlines()]
        assert "".join(piece["delta"] for piece in pieces) == last["text"] == "one two three"
        assert len(pieces) > 1
        assert last["usage"]["total_tokens"] > 0


def test_the_system_text_and_options_reach_the_model(qianfan: Command) -> None:
    """The echo counts the words of the system text as tokens of the prompt; a bad option is refused."""
    plain = qianfan.json("chat", "-e", "echo", "hi")["usage"]["prompt_tokens"]
    kind = qianfan.json("chat", "-e", "echo", "--system", "be very kind", "hi")["usage"]["prompt_tokens"]
    assert kind == plain + 3
    refused = qianfan("chat", "-e", "echo", "--temperature", "7", "hi", code=1)
    assert "temperature" in refused.stderr


def test_a_stand_in_is_told_once_and_on_standard_error(qianfan: Command) -> None:
    """The first answer says who answers, and how to get a model that speaks Chinese."""
    done = qianfan("chat", "--max-tokens", "2", "你好")
    assert done.stderr.count("stand-in") == 1
    assert "Chinese" in done.stderr


def test_completion_goes_on_with_a_text(qianfan: Command) -> None:
    """As an argument or piped in, text or JSON."""
    assert qianfan("completion", "-e", "echo", "once upon").stdout == "once upon\n"
    assert qianfan("completion", "-e", "echo", stdin="a time").stdout == "a time\n"
    assert qianfan.json("completion", "-e", "echo", "a time")["text"] == "a time"


def test_embedding_compares_texts(qianfan: Command) -> None:
    """Dimensions and first values of each; several are compared. More than one call takes are split up."""
    answer = qianfan.json("embedding", "-e", "echo", "red kettle", "red kettle", "green parrot")
    assert [row["text"] for row in answer["data"]] == ["red kettle", "red kettle", "green parrot"]
    assert all(len(row["embedding"]) == answer["dimensions"] for row in answer["data"])
    assert answer["similarity"][0][1] == pytest.approx(1.0)
    assert answer["similarity"][0][2] < 0.9
    lines = "".join(f"line {number}\n" for number in range(20))
    assert len(qianfan.json("embedding", "-e", "echo", stdin=lines)["data"]) == 20
    table = qianfan("embedding", "-e", "echo", "one", "two").stdout
    assert str(answer["dimensions"]) in table
    assert "how alike" in table


def test_models_says_what_answers_and_what_stands_in(qianfan: Command) -> None:
    """Names, and the truth about them; `--documented` asks nobody."""
    rows = {row["id"]: row for row in qianfan.json("models")["data"]}
    assert rows["ERNIE-Bot-turbo"]["served_by"] == "tiny"
    assert rows["ERNIE-Bot-turbo"]["stand_in"] is True
    assert rows["echo"]["stand_in"] is False
    table = qianfan("models").stdout
    assert "tiny (stand-in)" in table
    known = qianfan("models", "--documented", "--json", QIANFAN_CONSOLE_API_BASE_URL="http://127.0.0.1:9")
    assert {"chat", "embeddings"} <= {row["kind"] for row in json.loads(known.stdout)["data"]}


def test_rerank_puts_the_best_first(qianfan: Command) -> None:
    """As arguments or piped in; the index is the place among the documents."""
    documents = ("bread is baked in an oven", "the kettle is red", "a red kettle stands there")
    answer = qianfan.json("rerank", "red kettle", *documents, "--top-n", "2")
    scores = [row["score"] for row in answer["results"]]
    assert len(scores) == 2
    assert scores == sorted(scores, reverse=True)
    assert {row["index"] for row in answer["results"]} == {1, 2}
    assert all(documents[row["index"]] == row["document"] for row in answer["results"])
    table = qianfan("rerank", "red kettle", stdin="\n".join(documents)).stdout
    assert table.index("red kettle stands") < table.index("bread")


def test_usage_counts_what_was_asked(qianfan: Command) -> None:
    """By model and day; one more question is one more request."""

    def asked() -> int:
        rows = qianfan.json("usage", "--by", "model", "--model", "echo")["usage"]
        return sum(row["requests"] for row in rows)

    before = asked()
    qianfan("chat", "-e", "echo", "count me")
    assert asked() == before + 1
    table = qianfan("usage").stdout
    assert "echo" in table
    assert "total" in table
    assert "--by knows" in qianfan("usage", "--by", "weather", code=2).stderr


def test_limits_are_shown_and_set(qianfan: Command) -> None:
    """What is set is shown, and taken back."""
    try:
        shown = qianfan.json("limits", "set", "--requests-per-minute", "1000000")
        assert shown["requestsPerMinute"] == 1_000_000
        assert "1000000" in qianfan("limits", "show").stdout
    finally:
        qianfan("limits", "set", "--reset")
    assert qianfan.json("limits", "show")["requestsPerMinute"] == 0
    assert "say which limit" in qianfan("limits", "set", code=2).stderr


def test_faults_are_switched_on_and_off(qianfan: Command) -> None:
    """For the account whose keys are used."""
    assert qianfan.json("faults", "on") == {"enabled": True}
    assert qianfan("faults", "off").stderr == "faults are off\n"


def test_a_knowledge_base_is_filled_searched_and_asked(qianfan: Command, tmp_path: Path) -> None:
    """Files and a pipe; the plugin over it answers, and its sources are told."""
    made = qianfan.json("kb", "create", "cli handbook", "--plugin", "cli_handbook")
    base = made["knowledgeBaseId"]
    (tmp_path / "kettle.md").write_text("# Kettles\n\nThe kettle is guaranteed for seven years.\n")
    added = qianfan.json("kb", "add", base, "kettle.md")["documents"]
    assert [(row["name"], row["status"]) for row in added] == [("kettle.md", "Done")]
    piped = qianfan("kb", "add", base, "-", "--name", "opening hours", stdin="The shop opens at nine.")
    assert "opening hours" in piped.stdout
    found = qianfan.json("kb", "search", base, "How long is the kettle guaranteed?", "--top-n", "1")
    assert "seven years" in found["responses"][0]["content"]
    assert "seven years" in qianfan("kb", "search", base, "How long is the kettle guaranteed?").stdout
    listed = {row["name"]: row for row in qianfan.json("kb", "list")["knowledgeBases"]}
    assert listed["cli handbook"]["documentCount"] == 2
    assert {row["name"] for row in qianfan.json("kb", "list", base)["documents"]} == {
        "kettle.md",
        "opening hours",
    }
    answer = qianfan.json("plugin", "-e", "cli_handbook", "How long is the kettle guaranteed?")
    assert "kettle.md" in json.dumps(answer["meta_info"])
    assert "kettle.md" in qianfan("plugin", "-e", "cli_handbook", "Is the kettle guaranteed?").stdout
    assert "no file" in qianfan("kb", "add", base, "no-such-file.md", code=2).stderr


def test_the_built_in_plugin_answers(qianfan: Command) -> None:
    """Without --endpoint it is `assistant`; as an object, and as lines."""
    assert qianfan.json("plugin", "12*(3+4)")["model"] == "assistant"
    lines = qianfan("plugin", "--json", "--stream", "12*(3+4)").stdout.splitlines()
    assert json.loads(lines[-1])["usage"]


def test_pictures_are_saved_and_described(qianfan: Command, tmp_path: Path) -> None:
    """In a folder no picture is overwritten; a file may be named. Without a model the error says how to add one."""
    first = qianfan("image", "make", "-e", "echo", "a red kettle").stdout.split()
    second = qianfan.json("image", "make", "-e", "echo", "a red kettle")["files"]
    assert first != second
    assert all((tmp_path / name).stat().st_size > 0 for name in (*first, *second))
    qianfan("image", "make", "-e", "echo", "a red kettle", "--out", "kettle.png")
    assert qianfan.json("image", "describe", "-e", "echo", "kettle.png", "what is it")["text"]
    done = qianfan("image", "make", "a red kettle", code=1)
    assert "catalogue" in done.stderr


def test_serve_takes_limits_for_every_account(qianfan: Command, tmp_path: Path) -> None:
    """A server of its own; what its options say holds for an account that has no limits."""
    command = [
        sys.executable,
        "-m",
        "qianfan.cli.main",
        "serve",
        "--data",
        str(tmp_path / "data"),
        "--port",
        "0",
    ]
    limits = ["--requests-per-minute", "70", "--requests-per-second", "2.5", "--most-connections", "50"]
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            [*command, "--print-env", *limits],
            env=qianfan.environment(),
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        assert server.stdout is not None
        keys = {}
        for line in server.stdout:
            if line.startswith("ready "):
                break
            name, _, value = line.removeprefix("export ").strip().partition("=")
            keys[name] = value
        shown = json.loads(qianfan("limits", "show", "--json", **keys).stdout)
        assert (shown["requestsPerMinute"], shown["requestsPerSecond"]) == (70, 2.5)
        assert shown["totalTokens"] == 0
    finally:
        server.terminate()
        server.communicate(timeout=20)
    assert server.returncode == 0


def test_a_token_opens_the_openai_shaped_interface(qianfan: Command) -> None:
    """What is printed is taken as `Authorization: Bearer …`."""
    made = qianfan.json("token", "--lasts", "600")
    request = urllib.request.Request(
        f"{made['base_url']}/models", headers={"Authorization": f"Bearer {made['token']}"}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=20) as answer:
        assert "echo" in {row["id"] for row in json.load(answer)["data"]}
    assert qianfan("token").stdout.strip()


def test_an_error_is_one_line_with_advice_and_a_code(qianfan: Command) -> None:
    """1: the service said no. 2: nothing was sent. Never a traceback."""
    unknown = qianfan("chat", "-e", "no_such_service", "hi", code=1)
    assert unknown.stdout == ""
    assert len(unknown.stderr.splitlines()) == 1
    assert "no_such_service" in unknown.stderr
    nobody = qianfan("chat", "-e", "echo", "hi", code=1, QIANFAN_BASE_URL="http://127.0.0.1:9")
    assert nobody.stderr.startswith("qianfan: ")
    assert "no message" in qianfan("chat", "-e", "echo", code=2).stderr
    assert "nonsense" in qianfan("chat", "--nonsense", "hi", code=2).stderr


def test_without_keys_and_server_the_ways_to_have_them_are_told(qianfan: Command) -> None:
    """On this machine, as a server, or with an account."""
    bare = {name: "" for name in qianfan.environment() if name.startswith("QIANFAN_") and "HOME" not in name}
    done = qianfan("chat", "hi", code=2, **bare)
    assert "qianfan local -- qianfan chat" in done.stderr
    assert "qianfan serve" in done.stderr
    assert "QIANFAN_AK" in done.stderr


def test_no_key_is_in_what_is_printed(qianfan: Command) -> None:
    """Not in an error, and not with --debug."""
    keys = {
        name: value
        for name, value in qianfan.scripts.platform.environment.items()
        if "KEY" in name or "SK" in name
    }
    done = subprocess.run(
        [sys.executable, "-m", "qianfan.cli.main", "--debug", "chat", "-e", "no_such_service", "hi"],
        env=qianfan.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    for name, key in keys.items():
        assert key not in done.stderr + done.stdout, name


def test_local_starts_a_platform_for_the_chat(qianfan: Command) -> None:
    """It needs no credentials, and ends with the answer."""
    bare = {name: "" for name in qianfan.environment() if name.startswith("QIANFAN_") and "HOME" not in name}
    done = qianfan("chat", "--local", "-e", "echo", "hello", **bare)
    assert done.stdout == "hello\n"
    address = re.search(r"http://[\d.:]+", done.stderr)
    assert address
    gone = qianfan("chat", "-e", "echo", "hello", code=1, QIANFAN_BASE_URL=address[0])
    assert "qianfan: " in gone.stderr
