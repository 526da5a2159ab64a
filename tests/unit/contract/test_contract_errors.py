"""The table of errors: whole, bilingual, and what both sides read in it."""

from __future__ import annotations

import pytest

from qianfan import errors
from qianfan.contract.errors import DAILY_LIMIT, ROWS, RPM_LIMIT, WORDS, ErrorRow, Fault, row_of

CODES = (1, 2, 3, 4, 6, 13, 14, 15, 17, 18, 19, 100, 110, 111)
SERVICE = (0, 1, 2, 3, 4, 5, 6, 7, 100, 101, 102, 103, 104, 105, 117, 200, 201, 202, 203, 501, 502)
V2 = (
    "malformed_json invalid_model invalid_messages characters_too_long tokens_too_long invalid_argument"
    " invalid_image_genration_prompt invalid_image_genration_refer_image invalid_image_url"
    " invalid_plugin_argument no_parameter_permission invalid_appid invalid_iam_token system_unsafe"
    " user_setting_unsafe functions_unsafe account_overdue model_offline access_denied method_not_supported"
    " rpm_rate_limit_exceeded tpm_rate_limit_exceeded preemptible_rpm_rate_limit_exceeded"
    " preemptible_tpm_rate_limit_exceeded user_rate_limit_exceeded cluster_rate_limit_exceeded"
    " internal_error dispatch_internal_error"
)


def test_every_documented_code_has_a_row() -> None:
    """Gateway codes, codes of the model service and those of the console."""
    for code in (*CODES, *(336000 + tail for tail in SERVICE), 500000, 500001, 500002):
        assert row_of(code) is ROWS[code]


@pytest.mark.parametrize("word", V2.split())
def test_every_word_of_v2_means_a_row(word: str) -> None:
    """So that an error of V2 has advice, too."""
    assert isinstance(row_of(word), ErrorRow)


def test_rows_say_what_to_do_in_both_languages() -> None:
    """Text and advice in English, advice in Chinese, a status of HTTP, and a class of ours."""
    for row in ROWS.values():
        assert row.text
        assert row.advice
        assert not any("一" <= letter <= "鿿" for letter in row.advice), row
        assert any("一" <= letter <= "鿿" for letter in row.advice_zh), row
        assert 400 <= row.status < 600
        assert issubclass(getattr(errors, row.exception), errors.QianfanError)


def test_a_word_is_read_as_the_row_that_says_most() -> None:
    """`rpm_rate_limit_exceeded` is the limit of a minute, though code 18 is written with it as well."""
    assert row_of("rpm_rate_limit_exceeded") is RPM_LIMIT
    assert row_of("no such word") is None
    assert row_of(None) is None
    assert row_of(["18"]) is None
    assert all(row in ROWS.values() for row in WORDS.values())


def test_an_exhausted_quota_hints_at_payment() -> None:
    """Code 17 is what the cloud says to accounts that have not opened the service, or owe."""
    assert "payment" in DAILY_LIMIT.advice
    assert "欠费" in DAILY_LIMIT.advice_zh


def test_a_fault_takes_what_its_row_says_unless_told_otherwise() -> None:
    """Message and advice; an empty advice gives none."""
    assert Fault(RPM_LIMIT).text == f"{RPM_LIMIT.text}. {RPM_LIMIT.advice}"
    assert Fault(RPM_LIMIT, "slow", "wait").text == "slow. wait"
    assert Fault(RPM_LIMIT, "slow", "").text == "slow"
