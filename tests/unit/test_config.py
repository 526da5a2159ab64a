"""Settings: where they come from, and what they refuse."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from qianfan.config import SETTINGS, WITHOUT_EFFECT, Config, get_config, get_config_with_kwargs
from qianfan.errors import InvalidArgumentError


def test_the_environment_beats_the_file_and_attributes_beat_both(tmp_path: Path) -> None:
    """`.env` < environment < attributes."""
    (tmp_path / ".env").write_text("QIANFAN_AK=file\nQIANFAN_SK=file\nQIANFAN_BASE_URL=http://file\n")
    config = Config.load({"QIANFAN_SK": "env", "QIANFAN_BASE_URL": "http://env"}, tmp_path)
    config.BASE_URL = "http://attribute/"
    assert (config.AK, config.SK, config.BASE_URL) == ("file", "env", "http://attribute")


def test_functions_beat_the_environment_and_arguments_beat_functions(tmp_path: Path) -> None:
    """The order of a whole program: environment < qianfan.AK() < ChatCompletion(ak=)."""
    program = (
        "import qianfan\n"
        "print(qianfan.get_config().AK, qianfan.get_config().SK)\n"
        "qianfan.AK('function'); qianfan.SK('')\n"
        "print(qianfan.get_config().AK, qianfan.get_config().SK)\n"
        "chat = qianfan.ChatCompletion(ak='argument', sk='s')\n"
        "print(chat._keys.ak, qianfan.get_config() is qianfan.config.get_config())\n"
    )
    environment = {"QIANFAN_AK": "environment", "QIANFAN_SK": "sk", "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout.splitlines() == ["environment sk", "function None", "argument True"], done.stderr


def test_empty_counts_as_not_set(tmp_path: Path) -> None:
    """An empty variable does not hide the file's value, and an empty attribute goes back to the default."""
    (tmp_path / ".env").write_text("QIANFAN_AK=file\n")
    config = Config.load({"QIANFAN_AK": "", "QIANFAN_BASE_URL": "  "}, tmp_path)
    assert ("file", SETTINGS["BASE_URL"][1]) == (config.AK, config.BASE_URL)
    config.AK = ""
    assert config.AK is None


def test_another_dot_env_can_be_named(tmp_path: Path) -> None:
    """QIANFAN_DOT_ENV_CONFIG_FILE names the file; quotes, comments, `export` and unknown keys are understood."""
    (tmp_path / "my.env").write_text(
        "# mine\nexport QIANFAN_AK='a b'\nQIANFAN_SK=\"q#1\"\nQIANFAN_QPS_LIMIT=0.5 # slow\nOTHER=1\nnonsense\n"
    )
    config = Config.load({"QIANFAN_DOT_ENV_CONFIG_FILE": "my.env"}, tmp_path)
    assert (config.AK, config.SK, config.QPS_LIMIT) == ("a b", "q#1", 0.5)


def test_names_are_case_sensitive(tmp_path: Path) -> None:
    """`qianfan_ak` is not `QIANFAN_AK`."""
    assert Config.load({"qianfan_ak": "x"}, tmp_path).AK is None


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("LLM_API_RETRY_COUNT", "3", 3),
        ("LLM_API_RETRY_TIMEOUT", "1.5", 1.5),
        ("SSL_VERIFICATION_ENABLED", "off", False),
        ("SSL_VERIFICATION_ENABLED", "YES", True),
        ("LLM_API_RETRY_ERR_CODES", "[18, 2]", (18, 2)),
        ("PROGRESS", "auto", "auto"),
        ("PROGRESS", "0", False),
    ],
)
def test_texts_become_values(name: str, text: str, value: object, tmp_path: Path) -> None:
    """Numbers, switches and lists are read by their kind, from the environment and from attributes."""
    assert getattr(Config.load({f"QIANFAN_{name}": text}, tmp_path), name) == value
    config = Config()
    setattr(config, name, text)
    assert getattr(config, name) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("LLM_API_RETRY_COUNT", "1.5"),
        ("LLM_API_RETRY_TIMEOUT", "soon"),
        ("LLM_API_RETRY_TIMEOUT", "-1"),
        ("SSL_VERIFICATION_ENABLED", "perhaps"),
        ("LLM_API_RETRY_ERR_CODES", "18,2"),
        ("LLM_API_RETRY_ERR_CODES", '["18"]'),
    ],
)
def test_a_wrong_value_is_named(name: str, text: str, tmp_path: Path) -> None:
    """The error names the variable, its value, and what would be right."""
    with pytest.raises(InvalidArgumentError, match=f"QIANFAN_{name}.*set it to"):
        Config.load({f"QIANFAN_{name}": text}, tmp_path)


def test_an_unknown_attribute_is_refused_and_a_retired_one_is_not() -> None:
    """A typo is an error; names that other releases know are taken without effect."""
    config = Config()
    with pytest.raises(AttributeError, match="BASE_ULR"):
        config.BASE_ULR = "http://x"
    with pytest.raises(AttributeError, match="NOTHING"):
        _ = config.NOTHING
    config.DISABLE_EB_SDK = False
    assert "DISABLE_EB_SDK" in WITHOUT_EFFECT
    assert config.DISABLE_EB_SDK is False


def test_secrets_are_not_shown() -> None:
    """The text of the settings has no key in it."""
    config = Config({"AK": "the-ak", "SECRET_KEY": "the-secret", "BASE_URL": "http://x"})
    assert repr(config) == "Config(AK=***, SECRET_KEY=***, BASE_URL='http://x')"


def test_an_app_id_has_two_names(tmp_path: Path) -> None:
    """APPID, a number in older releases, is APP_ID; where both are set, APP_ID counts."""
    config = Config.load({"QIANFAN_APPID": "5"}, tmp_path)
    assert (config.APP_ID, config.APPID) == ("5", "5")
    config.APPID = 7
    assert config.APP_ID == "7"
    assert Config.load({"QIANFAN_APPID": "5", "QIANFAN_APP_ID": "6"}, tmp_path).APP_ID == "6"


def test_every_documented_setting_is_known() -> None:
    """Those of all releases; without effect are only those that speak of parts that are not there."""
    documented = (
        "AK SK ACCESS_KEY SECRET_KEY ACCESS_TOKEN BASE_URL CONSOLE_API_BASE_URL AUTH_TIMEOUT"
        " ACCESS_TOKEN_REFRESH_MIN_INTERVAL IAM_SIGN_EXPIRATION_SEC QPS_LIMIT RPM_LIMIT TPM_LIMIT APPID APP_ID"
        " ENABLE_PRIVATE ACCESS_CODE DOT_ENV_CONFIG_FILE LLM_API_RETRY_COUNT LLM_API_RETRY_TIMEOUT"
        " LLM_API_RETRY_BACKOFF_FACTOR LLM_API_RETRY_JITTER LLM_API_RETRY_MAX_WAIT_INTERVAL"
        " LLM_API_RETRY_ERR_CODES CONSOLE_API_RETRY_COUNT CONSOLE_API_RETRY_TIMEOUT"
        " CONSOLE_API_RETRY_BACKOFF_FACTOR CONSOLE_API_RETRY_JITTER CONSOLE_API_RETRY_MAX_WAIT_INTERVAL"
        " CONSOLE_API_RETRY_ERR_CODES SSL_VERIFICATION_ENABLED PROXY FILE_ENCODING"
        " IMPORT_STATUS_POLLING_INTERVAL EXPORT_STATUS_POLLING_INTERVAL RELEASE_STATUS_POLLING_INTERVAL"
        " ETL_STATUS_POLLING_INTERVAL EXPORT_FILE_SIZE_LIMIT GET_ENTITY_CONTENT_FAILED_RETRY_TIMES"
        " TRAIN_STATUS_POLLING_INTERVAL TRAINER_STATUS_POLLING_BACKOFF_FACTOR"
        " TRAINER_STATUS_POLLING_RETRY_TIMES MODEL_PUBLISH_STATUS_POLLING_INTERVAL"
        " BATCH_RUN_STATUS_POLLING_INTERVAL DEPLOY_STATUS_POLLING_INTERVAL EVALUATION_ONLINE_POLLING_INTERVAL"
        " DEFAULT_FINE_TUNE_TRAIN_TYPE BOS_HOST_REGION BEARER_TOKEN IAM_BASE_URL BEARER_TOKEN_EXPIRED_INTERVAL"
        " IAM_HOST NO_AUTH USE_CUSTOM_ENDPOINT MODEL_API_PREFIX CHAT_V2_API_ROUTE EMBEDDING_V2_API_ROUTE"
        " RERANKER_V2_API_ROUTE V2_INFER_API_DOWNGRADE INFER_RESOURCE_REFRESH_INTERVAL"
    )
    config = Config()
    for name in documented.split():
        assert name not in WITHOUT_EFFECT
        getattr(config, name)
    assert {
        "DISABLE_EB_SDK",
        "EB_SDK_INSTALLED",
        "ENABLE_AUTH",
        "ENABLE_STRESS_TEST",
    } == WITHOUT_EFFECT


def test_settings_of_one_call_are_a_copy() -> None:
    """Keywords in any case replace settings; None and what is no setting change nothing."""
    merged = get_config_with_kwargs(base_url="http://copy", QPS_LIMIT=3, ak=None, temperature=0.5)
    assert (merged.BASE_URL, merged.QPS_LIMIT, merged.AK) == ("http://copy", 3.0, get_config().AK)
    assert get_config().BASE_URL != "http://copy"
    with pytest.raises(InvalidArgumentError, match="QPS_LIMIT"):
        get_config_with_kwargs(qps_limit="many")


def test_logins_in_addresses_are_not_shown() -> None:
    """A proxy, with or without its scheme, and a Redis."""
    config = Config({"PROXY": "user:pw@host:1", "REDIS_URL": "redis://:pw@host/0", "ACCESS_CODE": "code"})
    assert repr(config) == "Config(ACCESS_CODE=***, REDIS_URL='redis://***@host/0', PROXY='***@host:1')"
