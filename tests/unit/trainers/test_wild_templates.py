"""Chat templates as models bring them: they trim, add, leave out and end turns in ways of their own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("transformers", reason="needs the train extra")

from qianfan_platform.catalogue import tiny
from qianfan_platform.trainers.child.encoder import Encoder, tokenizer_of
from qianfan_platform.trainers.child.readers import Conversations, Preferences
from qianfan_platform.trainers.child.samples import IGNORED, Unusable
from qianfan_platform.trainers.child.xray import texts_of

WILD = Path(__file__).with_name("wild")


@dataclass(frozen=True)
class Family:
    """control: its special tokens. end: of an answer, the last one. before, after: what is learned around the answer's
    words. apart: each answer is a sample of its own where there are several."""

    control: tuple[str, ...]
    end: str
    before: str = ""
    after: str = ""
    bos: str = ""
    apart: bool = False


CHATML = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
DEEPSEEK = ("<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>")
HARMONY = ("<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|return|>")
FAMILIES = {
    "qwen25": Family(CHATML, "<|im_end|>"),
    "qwen3": Family(CHATML, "<|im_end|>", before="<think>\n\n</think>\n\n", apart=True),
    "llama31": Family(
        ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        "<|eot_id|>",
        bos="<|begin_of_text|>",
    ),
    "llama2": Family(("<s>", "</s>"), "</s>", before=" ", after=" ", bos="<s>"),
    "mistral3": Family(("<s>", "[INST]", "[/INST]", "</s>"), "</s>", before=" ", bos="<s>"),
    "gemma2": Family(("<bos>", "<start_of_turn>", "<end_of_turn>"), "<end_of_turn>", bos="<bos>"),
    "phi3": Family(("<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|endoftext|>"), "<|end|>"),
    "glm4": Family(
        ("<sop>", "<|system|>", "<|user|>", "<|assistant|>", "<|endoftext|>"),
        "<|endoftext|>",
        before="\n",
        apart=True,
    ),
    "deepseek3": Family(DEEPSEEK, DEEPSEEK[-1], bos=DEEPSEEK[0]),
    "ernie45": Family(("<|begin_of_sentence|>", "</s>"), "</s>"),
    "gptoss": Family(HARMONY, "<|return|>", before="<|channel|>final<|message|>", apart=True),
}
every_family = pytest.mark.parametrize("name", FAMILIES)
NAMES = sorted({name for family in FAMILIES.values() for name in family.control})
texts = st.one_of(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=20),
    st.lists(st.sampled_from([*NAMES, " ", "\n", "final", "<", "\u3000"]), min_size=1, max_size=5).map(
        "".join
    ),
).filter(lambda text: text.strip())
turns = st.fixed_dictionaries({"prompt": texts, "response": texts})
rows = st.tuples(st.lists(turns, min_size=1, max_size=3), st.one_of(st.none(), texts)).map(
    lambda case: [{**case[0][0], "system": case[1]}, *case[0][1:]] if case[1] else case[0]
)


def encoder_of(folder: Path, control: tuple[str, ...], end: str, bos: str, template: str) -> Encoder:
    """Of a byte-level vocabulary with these control tokens."""
    vocabulary = [*tiny.byte_alphabet(), *(a + b for a, b in tiny.MERGES), *control]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    tokenizer = tiny.tokenizer(
        vocabulary,
        {name: vocabulary.index(name) for name in tiny.SPECIAL if name in control}
        | {name: 0 for name in tiny.SPECIAL if name not in control},
    )
    tokenizer["added_tokens"] = [{"id": vocabulary.index(one), "content": one, **flags} for one in control]
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": end} | (
        {"bos_token": bos} if bos else {}
    )
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "chat_template.jinja").write_text(template)
    return Encoder(tokenizer_of(folder))


@pytest.fixture(scope="session")
def wild(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Encoder]:
    """By family, an encoder over bytes with its control tokens and its template."""
    return {
        name: encoder_of(
            tmp_path_factory.mktemp(name),
            family.control,
            family.end,
            family.bos,
            (WILD / f"{name}.jinja").read_text(),
        )
        for name, family in FAMILIES.items()
    }


def said(encoder: Encoder, labels: list[int]) -> list[str]:
    """The runs of learned tokens, as text."""
    runs: list[list[int]] = [[]]
    for label in labels:
        if label == IGNORED:
            runs.append([])
        else:
            runs[-1].append(label)
    return [encoder.decode(run) for run in runs if run]


def plain(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    """The same turns, which say nothing."""
    return [{**message, "content": "a"} for message in messages]


def token_names(encoder: Encoder, ids: list[int]) -> list[str]:
    """The control tokens among ids."""
    return [encoder.decode([one]) for one in ids if one in encoder.special]


def same(ours: list[str], family: Family, answers: list[str]) -> bool:
    """Whether runs are answers with what stands around them; the white space at an answer's edges may be gone."""
    whole = [run.removeprefix(family.before).removesuffix(family.end) for run in ours]
    starts = all(run.startswith(family.before) and run.endswith(family.end) for run in ours)
    return starts and [one.strip() for one in whole] == [answer.strip() for answer in answers]


@every_family
@given(row=rows)
@settings(max_examples=10, deadline=None)
def test_every_answer_is_learned_once_with_its_end(wild, name: str, row: Any) -> None:
    """Whole, with its end token, after exactly what the model will be asked; whatever its template does, and
    whichever control tokens a text names."""
    encoder, family = wild[name], FAMILIES[name]
    reading = Conversations(encoder, "refuse").read(row, 1 << 20)
    answers = [turn["response"] for turn in row]
    runs = [run for one in reading.samples for run in said(encoder, one.labels)]
    assert same(runs, family, answers)
    end = encoder.tokenizer.convert_tokens_to_ids(family.end)
    for one, (messages,) in zip(reading.samples, reading.made_of, strict=True):
        asked = encoder.prompt(messages[:-1])
        start = len(one.labels) - 1
        while one.labels[start - 1] != IGNORED:
            start -= 1
        assert one.ids[:start] == asked
        assert encoder.decode(asked) == encoder.render(messages[:-1], prompt=True)
        assert one.ids[-1] == one.labels[-1] == end
        assert "".join(texts_of(encoder, one.ids)) == encoder.decode(one.ids)
        assert token_names(encoder, one.ids) == token_names(
            encoder, encoder.encode(plain(messages), last_only=True).ids
        )
    apart = family.apart or (name == "mistral3" and row[0].get("system"))
    assert len(reading.samples) == (len(row) if apart else 1)
    assert reading.what == ("split" if len(reading.samples) > 1 else "kept")


@every_family
@given(row=rows, limit=st.integers(40, 200), policy=st.sampled_from(["truncate", "split"]))
@settings(max_examples=8, deadline=None)
def test_what_is_cut_fits_and_keeps_its_answers(wild, name: str, row: Any, limit: int, policy: str) -> None:
    """Truncating learns the last answers, splitting every one, all whole and ended."""
    encoder, family = wild[name], FAMILIES[name]
    reader = Conversations(encoder, policy)
    try:
        reading = reader.read(row, limit)
    except Unusable:
        with pytest.raises(Unusable, match="alone"):
            reader.read(row, limit)
        return
    runs = [run for one in reading.samples for run in said(encoder, one.labels)]
    answers = [turn["response"] for turn in row]
    assert all(one.tokens <= limit for one in reading.samples)
    assert same(runs, family, answers[-len(runs) :] if reading.what == "truncated" else answers)


@every_family
def test_only_the_last_answers_of_a_pair_are_learned(wild, name: str) -> None:
    """What stands before is read as the model will read it."""
    encoder, family = wild[name], FAMILIES[name]
    row = [{"prompt": "a", "response": "b"}, {"prompt": "c", "chosen": "Yes", "rejected": "No"}]
    (pair,) = Preferences(encoder, "refuse").read(row, 1 << 20).samples
    assert same(said(encoder, pair.chosen.labels), family, ["Yes"])
    assert same(said(encoder, pair.rejected.labels), family, ["No"])


def test_what_was_thought_is_learned_where_the_template_keeps_it(wild) -> None:
    """Qwen 3 writes the last answer's thoughts, and leaves out the earlier ones': each answer learns its own."""
    row = [{"prompt": n, "response": f"<think>\nthought {n}\n</think>\n\nanswer {n}"} for n in "12"]
    reading = Conversations(wild["qwen3"], "refuse").read(row, 1 << 20)
    first, second = (wild["qwen3"].decode(one.ids) for one in reading.samples)
    assert "thought 1" in first
    assert "thought 1" not in second
    assert "answer 1" in second
    assert [said(wild["qwen3"], one.labels) for one in reading.samples] == [
        [f"<think>\nthought {n}\n</think>\n\nanswer {n}<|im_end|>"] for n in "12"
    ]
    assert reading.why.startswith("into 2 samples, one for each answer: ")


def test_a_template_that_thinks_aloud_before_every_answer_is_told(tmp_path: Path) -> None:
    """DeepSeek R1 asks with an opened thought that it does not write in a conversation."""
    encoder = encoder_of(
        tmp_path, DEEPSEEK, DEEPSEEK[-1], DEEPSEEK[0], (WILD / "deepseek_r1.jinja").read_text()
    )
    with pytest.raises(Unusable, match=r"asks with '.*<think>\\n' at the end and does not write that"):
        Conversations(encoder, "refuse").read([{"prompt": "a", "response": "b"}], 1 << 20)


@pytest.fixture(scope="session")
def spaced(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    """A vocabulary like Llama 2's: a space before every text, and none that is a letter of its own."""
    folder = tmp_path_factory.mktemp("spaced")
    names = [
        "<unk>",
        "<s>",
        "</s>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        "▁",
        *"abcdefgh[]/INST",
        "▁a",
        "ab",
    ]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    plain = {
        "version": "1.0",
        "added_tokens": [{"id": at, "content": names[at], **flags} for at in range(3)],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": "▁"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
            ],
        },
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": {
            "type": "BPE",
            "unk_token": "<unk>",
            "fuse_unk": True,
            "byte_fallback": True,
            "vocab": {name: at for at, name in enumerate(names)},
            "merges": [["▁", "a"], ["a", "b"]],
        },
    }
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
    (folder / "tokenizer.json").write_text(json.dumps(plain))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "chat_template.jinja").write_text((WILD / "llama2.jinja").read_text())
    return Encoder(tokenizer_of(folder))


@pytest.mark.parametrize("answer", ["a", "ab", "cab", "你", "h </s> a"])
def test_no_space_is_learned_that_nobody_wrote(spaced: Encoder, answer: str) -> None:
    """Where a tokenizer puts a space before a text, the border of prompt and answer gets none: ids are those of
    the whole."""
    messages = [{"role": "user", "content": "b a"}, {"role": "assistant", "content": answer}]
    encoded = spaced.encode(
        [*messages, {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    )
    said = spaced.decode([label for label in encoded.labels if label != IGNORED])
    assert said.split() == f"{answer} </s> b </s>".split()
    if "</s>" not in answer:
        text = spaced.render(messages, prompt=False)
        assert encoded.ids[: len(spaced.plain(text))] == spaced.plain(text)
