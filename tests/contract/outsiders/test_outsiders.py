"""`openai`, npm `@baiducloud/qianfan`, LangChain's and LlamaIndex's Qianfan classes, unmodified, on the platform."""

from __future__ import annotations

import pytest

from qianfan.embedded import Embedded

from . import environments
from .conftest import PROGRAMS, Played, made, play, scenarios

OPENAI, LANGCHAIN, NODE = "openai_client.py", "langchain_client.py", "qianfan_node.mjs"
LLAMAINDEX = "llamaindex_client.py"


@pytest.fixture(scope="session")
def openai_played(platform: Embedded, bearer_key: str, tmp_path_factory: pytest.TempPathFactory) -> Played:
    python = made(environments.openai)
    settings = {
        "OPENAI_BASE_URL": f"{platform.base_url}/v2",
        "OPENAI_API_KEY": bearer_key,
        "NO_PROXY": platform.environment["NO_PROXY"],
    }
    return play([str(python), str(PROGRAMS / OPENAI)], settings, tmp_path_factory.mktemp("openai"))


@pytest.fixture(scope="session", params=["app_keys", "access_keys"])
def langchain_played(
    request: pytest.FixtureRequest, platform: Embedded, tmp_path_factory: pytest.TempPathFactory
) -> Played:
    python = made(environments.langchain)
    settings = with_keys(platform, request.param)
    return play([str(python), str(PROGRAMS / LANGCHAIN)], settings, tmp_path_factory.mktemp("langchain"))


@pytest.fixture(scope="session")
def llamaindex_played(platform: Embedded, tmp_path_factory: pytest.TempPathFactory) -> Played:
    python = made(environments.llamaindex)
    settings = with_keys(platform, "access_keys")
    return play([str(python), str(PROGRAMS / LLAMAINDEX)], settings, tmp_path_factory.mktemp("llamaindex"))


@pytest.fixture(scope="session")
def node_with_app_keys(platform: Embedded) -> Played:
    return play_node(platform, "app_keys")


@pytest.fixture(scope="session")
def node_with_access_keys(platform: Embedded) -> Played:
    return play_node(platform, "access_keys")


def play_node(platform: Embedded, pair: str) -> Played:
    folder = made(environments.node)
    settings = with_keys(platform, pair)
    settings["QIANFAN_V2_BASE_URL"] = f"{platform.base_url}/v2/chat/completions"
    settings["QIANFAN_BEAR_TOKEN_URL"] = f"{platform.base_url}/v1/BCE-BEARER/token"
    return play(["node", str(PROGRAMS / NODE)], settings, folder)


def with_keys(platform: Embedded, pair: str) -> dict[str, str]:
    """The platform's settings with one pair of keys: the app's, or the account's access key."""
    left_out = {
        "app_keys": ("QIANFAN_ACCESS_KEY", "QIANFAN_SECRET_KEY"),
        "access_keys": ("QIANFAN_AK", "QIANFAN_SK"),
    }[pair]
    return {name: value for name, value in platform.environment.items() if name not in left_out}


@pytest.mark.parametrize("scenario", scenarios(OPENAI))
def test_openai(openai_played: Played, scenario: str) -> None:
    """The `openai` package works with a base URL and a key, and nothing else changed."""
    openai_played.must_have_passed(scenario)


@pytest.mark.parametrize("scenario", scenarios(LANGCHAIN))
def test_langchain(langchain_played: Played, scenario: str) -> None:
    """LangChain's Qianfan classes work with our SDK where they import `qianfan`."""
    langchain_played.must_have_passed(scenario)


@pytest.mark.parametrize("scenario", scenarios(LLAMAINDEX))
def test_llamaindex(llamaindex_played: Played, scenario: str) -> None:
    """LlamaIndex's Qianfan class works with an access key and the URL of an endpoint."""
    llamaindex_played.must_have_passed(scenario)


@pytest.mark.parametrize("scenario", scenarios(NODE, "scenarios") + scenarios(NODE, "withAppKeys"))
def test_node_with_app_keys(node_with_app_keys: Played, scenario: str) -> None:
    """The npm package works with AK and SK."""
    node_with_app_keys.must_have_passed(scenario)


@pytest.mark.parametrize("scenario", scenarios(NODE, "scenarios") + scenarios(NODE, "withAccessKeys"))
def test_node_with_access_keys(node_with_access_keys: Played, scenario: str) -> None:
    """The npm package works with an access key, signing its requests."""
    node_with_access_keys.must_have_passed(scenario)


def test_every_scenario_is_a_test() -> None:
    """A scenario that is written is found."""
    for program, fewest in ((OPENAI, 12), (LANGCHAIN, 15), (LLAMAINDEX, 5)):
        assert len(scenarios(program)) >= fewest
    assert len(scenarios(NODE, "scenarios")) >= 9
    assert scenarios(NODE, "withAppKeys")
    assert len(scenarios(NODE, "withAccessKeys")) >= 4
