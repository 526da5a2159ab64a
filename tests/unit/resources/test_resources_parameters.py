"""What models are documented to take, and who really answers."""

from __future__ import annotations

import logging
import sys
from typing import Any

import pytest
from loopback import Answer, Loopback, stream

from qianfan import ChatCompletion, Completion, Embedding, Function, Image2Text, Plugin, Reranker, Text2Image
from qianfan.contract import models
from qianfan.errors import ArgumentNotFoundError, InvalidArgumentError
from qianfan.resources.llm import parameters, stand_in

ASK = [{"role": "user", "content": "你好"}]


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: Any) -> None:
    """What is said once per process has not been said yet."""
    monkeypatch.setattr(parameters, "_warned", set())
    monkeypatch.setattr(stand_in, "_told", set())


def test_every_preset_has_its_parameters() -> None:
    """Each model has a group, each group required and optional members, none of them twice."""
    for kind in (
        "chat",
        "completions",
        "embeddings",
        "text2image",
        "image2text",
        "reranker",
        "plugin",
        "function",
    ):
        assert models.table(kind)
        for model in models.table(kind).values():
            assert model.required, model.name
            assert model.optional.isdisjoint(model.required)


@pytest.mark.parametrize(
    ("client", "size"),
    [(ChatCompletion, 66), (Completion, 68), (Embedding, 4), (Plugin, 2), (Text2Image, 1), (Image2Text, 1),
     (Reranker, 1), (Function, 1)],
)  # fmt: skip
def test_models_are_the_documented_ones(client: Any, size: int) -> None:
    """All names that a release had, of each class."""
    assert len(client.models()) == size


@pytest.mark.parametrize(
    ("client", "name", "required", "some"),
    [
        (ChatCompletion, "ERNIE-Bot", ("messages",), {"functions", "user_setting", "response_format"}),
        (ChatCompletion, "ChatLaw", ("extra_parameters", "messages"), {"tools", "top_p"}),
        (Completion, "ERNIE-Bot", ("messages",), {"disable_search", "max_output_tokens"}),
        (Completion, "SQLCoder-7B", ("prompt",), {"top_k"}),
        (Embedding, "tao-8k", ("input",), {"user_id"}),
        (Reranker, "bce-reranker-base_v1", ("query", "documents"), {"top_n"}),
        (Image2Text, "Fuyu-8B", ("image", "prompt"), {"user_id"}),
        (Plugin, "EBPluginV2", ("messages", "plugins"), {"extra_data"}),
    ],
)
def test_a_model_says_what_it_takes(client: Any, name: str, required: tuple, some: set) -> None:
    """By class: a completion takes less than a chat of the same model."""
    info = client.get_model_info(name)
    assert info.required == required
    assert some <= info.optional
    assert "functions" not in Completion.get_model_info("ERNIE-Bot").optional


def test_names_are_matched_exactly_then_in_any_case() -> None:
    """Two models may differ in case alone; an unknown one is an error that lists the names."""
    assert ChatCompletion.get_model_info("Llama-2-7b-chat").name == "Llama-2-7b-chat"
    assert ChatCompletion.get_model_info("Llama-2-7B-Chat").name == "Llama-2-7B-Chat"
    assert ChatCompletion.get_model_info("ERNIE-SPEED-8K").name == "ERNIE-Speed-8K"
    with pytest.raises(InvalidArgumentError, match="ERNIE-Bot-turbo"):
        ChatCompletion.get_model_info("GPT")


def test_an_unknown_parameter_is_sent_and_warned_about_once(
    server: Loopback, settings: Any, caplog: Any
) -> None:
    """Once per model and parameter; an endpoint of your own takes anything, beside a model's name it does not."""
    chat = ChatCompletion()
    for _ in range(2):
        chat.do(ASK, functions=[], temperature=0.5, stop=None, user_id="u")
    assert [record.getMessage() for record in caplog.records] == [
        "the model ERNIE-Bot-turbo is not known to take the parameter functions; it is sent all the same"
    ]
    assert all(seen.json["functions"] == [] for seen in server.seen)
    chat.do(ASK, endpoint="mine", whatever=1)
    assert len(caplog.records) == 1
    chat.do(ASK, model="ERNIE-Bot", endpoint="mine", whatever=1)
    chat.do(ASK, model="ERNIE-Bot", functions=[])
    assert [record.args for record in caplog.records[1:]] == [("ERNIE-Bot", "whatever")]


@pytest.mark.parametrize(
    ("call", "missing"),
    [
        (lambda: ChatCompletion().do(ASK, model="ChatLaw"), "extra_parameters"),
        (lambda: Completion().do("x", model="ChatLaw"), "extra_parameters"),
        (lambda: Plugin().do("x"), "plugins"),
        (lambda: Plugin(model="EBPluginV2").do("x", plugins=[]), "plugins"),
    ],
)
def test_a_missing_parameter_is_an_error_before_any_request(
    call: Any, missing: str, server: Loopback, settings: Any
) -> None:
    """Its name is in the text."""
    with pytest.raises(ArgumentNotFoundError, match=missing):
        call()
    assert server.seen == []


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: Image2Text().do("x", "QUJD"), "endpoint="),
        (lambda: Image2Text(endpoint="e").do("x", b"QUJD"), "base64"),
        (lambda: Reranker().do("q", "text"), "list of texts"),
        (lambda: Reranker().do("q", ["a"], top_n=0), "top_n"),
        (lambda: Reranker().do("q", ["a"], stream=True), "stream"),
        (lambda: ChatCompletion().do(ASK, headers=[1]), "headers"),
        (lambda: ChatCompletion().do(ASK, extra_parameters=1), "extra_parameters"),
        (lambda: ChatCompletion(version="3"), "version"),
        (lambda: Completion(version="2"), "version"),
    ],
)
def test_arguments_that_cannot_work_are_refused(
    call: Any, says: str, server: Loopback, settings: Any
) -> None:
    """Before anything is sent."""
    with pytest.raises(InvalidArgumentError, match=says):
        call()
    assert server.seen == []


SERVED = {"X-Qianfan-Served-By": "SmolLM2-135M-Instruct; stand-in"}


def test_a_stand_in_is_named_once(server: Loopback, settings: Any, caplog: Any) -> None:
    """Whole answers and streams count together; a model under its own name is not worth a line."""
    piece = {"result": "x", "is_end": True}
    server.answers.append(Answer(piece, headers={"X-Qianfan-Served-By": "mine"}))
    events = stream(piece)
    server.answers += [
        Answer(events.body, headers={**events.headers, **SERVED}),
        Answer(piece, headers=SERVED),
    ]
    chat = ChatCompletion()
    chat.do(ASK)
    list(chat.do(ASK, stream=True))
    chat.do(ASK)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "SmolLM2-135M-Instruct" in record.getMessage()
    assert "Chinese" in record.getMessage()
    assert "docs/guides/catalogue.md" in record.getMessage()


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_terminal_is_told_where_the_log_is_not(
    server: Loopback, settings: Any, monkeypatch: Any, capsys: Any, is_terminal: bool
) -> None:
    """With the log switched off, a person at a terminal still reads the line, once; a file gets none."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    monkeypatch.setattr(logging.getLogger("qianfan"), "level", logging.CRITICAL)
    logging.getLogger("qianfan").manager._clear_cache()
    server.always = Answer({"data": []}, headers=SERVED)
    Embedding().do(["a"])
    Embedding().do(["a"])
    said = capsys.readouterr().err
    assert said.count("stand-in") == (1 if is_terminal else 0)
    assert "Chinese" not in said
    logging.getLogger("qianfan").manager._clear_cache()
