"""What holds for every chat template that comes with the platform."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("transformers", reason="needs the train extra")

from qianfan_platform.catalogue import templates, tiny
from qianfan_platform.trainers.child.encoder import Encoder, tokenizer_of
from qianfan_platform.trainers.child.readers import Conversations, Preferences
from qianfan_platform.trainers.child.rows import conversation_of
from qianfan_platform.trainers.child.samples import IGNORED, Encoded, Unusable

AROUND = {"llama2": (" ", " "), "mistral": (" ", "")}  # what a template writes before and after an answer
NAMES = sorted({name for names in templates.CONTROL.values() for name in names})
letters = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30)
hostile = st.lists(st.sampled_from([*NAMES, "<", "|", ">", " ", "\n", "ok"]), min_size=1, max_size=6).map(
    "".join
)
texts = st.one_of(letters, hostile).filter(lambda text: text.strip())
turns = st.fixed_dictionaries({"prompt": texts, "response": texts.map(lambda answer: [[answer]])})
conversations = st.tuples(st.lists(turns, min_size=1, max_size=3), st.one_of(st.none(), texts)).map(
    lambda case: [{**case[0][0], "system": case[1]}, *case[0][1:]] if case[1] else case[0]
)
every_family = pytest.mark.parametrize("family", templates.CONTROL)


@pytest.fixture(scope="session")
def families(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Encoder]:
    """By family, an encoder over bytes that knows the family's control tokens."""
    found = {}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    for family, control in templates.CONTROL.items():
        folder: Path = tmp_path_factory.mktemp(family)
        vocabulary = [*tiny.byte_alphabet(), *(a + b for a, b in tiny.MERGES), *tiny.SPECIAL]
        vocabulary += [name for name in control if name not in vocabulary]
        tokenizer = tiny.tokenizer(vocabulary, {name: vocabulary.index(name) for name in tiny.SPECIAL})
        tokenizer["added_tokens"] = [
            {"id": vocabulary.index(name), "content": name, **flags} for name in {*tiny.SPECIAL, *control}
        ]
        tokenizer["added_tokens"].sort(key=lambda row: row["id"])
        config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": control[-1]}
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
        (folder / "chat_template.jinja").write_text(templates.text(family))
        found[family] = Encoder(tokenizer_of(folder))
    return found


def as_written(family: str, answers: list[str]) -> list[str]:
    """Answers with their end tokens, as the family's template writes them."""
    before, after = AROUND.get(family, ("", ""))
    return [before + answer + after + templates.CONTROL[family][-1] for answer in answers]


def answers_of(row: list[dict[str, Any]]) -> list[str]:
    return [turn["response"][0][0] for turn in row]


def learned(encoder: Encoder, encoded: Encoded) -> list[str]:
    """The runs of learned tokens, as text."""
    runs: list[list[int]] = [[]]
    for label in encoded.labels:
        if label == IGNORED:
            runs.append([])
        else:
            runs[-1].append(label)
    return [encoder.tokenizer.decode(run) for run in runs if run]


def test_every_template_file_has_its_control_tokens() -> None:
    """A family is a file and a row; its tokens stand in the file."""
    folder = Path(templates.__file__).parent
    assert {file.stem for file in folder.glob("*.jinja")} == set(templates.CONTROL)
    for family, control in templates.CONTROL.items():
        assert all(name in templates.text(family) for name in control)
    with pytest.raises(KeyError):
        templates.text("../secret")


@every_family
@given(row=conversations)
@settings(max_examples=12, deadline=None)
def test_the_mask_is_the_answers_and_their_ends(families, family: str, row: Any) -> None:
    """Every answer is learned whole with its end token and nothing else is; ids and text agree; what stands
    before the first answer is what the model will be asked. Names of control tokens in a text are text."""
    encoder = families[family]
    messages = conversation_of(row)
    encoded = encoder.encode(messages)
    end = templates.CONTROL[family][-1]
    assert learned(encoder, encoded) == as_written(family, answers_of(row))
    assert encoded.ids[-1] == encoded.labels[-1] == encoder.tokenizer.convert_tokens_to_ids(end)
    rendered = encoder.render(messages, prompt=False)
    assert rendered[: rendered.rindex(end) + len(end)] == encoder.tokenizer.decode(encoded.ids)
    plain = encoder.encode([{**message, "content": "a"} for message in messages])
    assert [token for token in encoded.ids if token in encoder.special] == [
        token for token in plain.ids if token in encoder.special
    ]
    first = next(at for at, message in enumerate(messages) if message["role"] == "assistant")
    asked = encoder.prompt(messages[:first])
    assert encoded.ids[: len(asked)] == asked
    assert encoded.labels[: len(asked) + 1] == [IGNORED] * len(asked) + [encoded.ids[len(asked)]]


@every_family
@given(row=conversations, limit=st.integers(30, 120))
@settings(max_examples=10, deadline=None)
def test_cutting_keeps_answers_whole_and_ended(families, family: str, row: Any, limit: int) -> None:
    """Truncating keeps the last answer and its end; splitting learns each answer once, in order."""
    encoder = families[family]
    for policy in ("truncate", "split"):
        reader = Conversations(encoder, policy)
        try:
            reading = reader.read(row, limit)
        except Unusable:
            with pytest.raises(Unusable, match="alone"):
                reader.read(row, limit)
            continue
        assert all(sample.tokens <= limit for sample in reading.samples)
        said = [piece for sample in reading.samples for piece in learned(encoder, sample)]
        whole = as_written(family, answers_of(row))
        assert said == (whole[-len(said) :] if reading.what == "truncated" else whole)
        assert said[-1] == whole[-1]


@every_family
@given(row=conversations, other=texts)
@settings(max_examples=10, deadline=None)
def test_a_pair_shares_its_prompt_and_learns_the_last_answers(families, family: str, row: Any, other) -> None:
    """Both sequences begin alike; only chosen and rejected are compared, to their ends."""
    encoder = families[family]
    *before, last = row
    chosen = answers_of(row)[-1]
    if other == chosen:
        return
    system = {"system": last["system"]} if "system" in last else {}
    turn = {**system, "prompt": last["prompt"], "chosen": chosen, "rejected": other}
    (pair,) = Preferences(encoder, "drop").read([*before, turn], 2000).samples
    assert learned(encoder, pair.chosen) == as_written(family, [chosen])
    assert learned(encoder, pair.rejected) == as_written(family, [other])
    start = pair.chosen.labels.index(next(label for label in pair.chosen.labels if label != IGNORED))
    assert pair.chosen.ids[:start] == pair.rejected.ids[:start]
    assert set(pair.rejected.labels[:start]) == {IGNORED}
