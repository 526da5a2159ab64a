"""The catalogue: what answers for a name."""

from __future__ import annotations

from pathlib import Path

import pytest

from qianfan.contract import models, train_types
from qianfan_platform.catalogue.catalogue import Catalogue, CatalogueInvalid
from qianfan_platform.catalogue.source import BadSource, Source

SMOL = "SmolLM2-135M-Instruct"


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue.load()


def override(tmp_path: Path, text: str) -> Catalogue:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return Catalogue.load(path)


@pytest.mark.parametrize("kind", ["chat", "completions"])
def test_every_documented_model_is_served_and_says_by_what(kind: str, catalogue: Catalogue) -> None:
    """By name, by name in lower case (the second interface) and by endpoint; never in silence."""
    for preset in models.table(kind).values():
        for asked in (preset.name, preset.name.lower(), preset.path):
            served = catalogue.serves(asked, kind)
            assert served is not None, asked
            assert served.stand_in
            assert served.entry.name == SMOL
            assert SMOL in served.note
            assert "English only" in served.note


def test_every_train_type_is_trained_by_something(catalogue: Catalogue) -> None:
    """Documented names by the stand-in, honest names by themselves."""
    for name in train_types.table():
        trained = catalogue.trains(name)
        assert trained is not None, name
        honest = name in catalogue.entries
        assert trained.stand_in is not honest
        assert trained.entry.name == (name if honest else SMOL)
        assert bool(trained.note) is not honest


@pytest.mark.parametrize("name", [SMOL, SMOL.lower(), "tiny", "echo"])
def test_honest_names_are_themselves(name: str, catalogue: Catalogue) -> None:
    """No stand-in, no note."""
    served = catalogue.serves(name)
    assert served is not None
    assert served.entry.name.lower() == name.lower()
    assert not served.stand_in
    assert served.note == ""


def test_unknown_names_are_served_and_trained_by_nothing(catalogue: Catalogue) -> None:
    """Rather than by a guess."""
    assert catalogue.serves("no-such-model") is None
    assert catalogue.serves("eb-instant", "completions") is None
    assert catalogue.trains("no-such-type") is None
    assert catalogue.trains("echo") is None


def test_an_operator_adds_a_model_and_lets_it_stand_in(tmp_path: Path) -> None:
    """One file: the model, what it stands in for, a name of their own; the rest stays."""
    mine = override(
        tmp_path,
        """
        [models.mine]
        source = "path:weights/mine.gguf"
        languages = ["zh"]
        trainable = true
        [stand_ins]
        completions = ""
        [serves]
        "ERNIE-Bot" = "mine"
        "house-model" = "mine"
        [trains]
        "ERNIE-Speed" = "mine"
        """,
    )
    served = mine.serves("completions")
    assert served is not None
    assert served.entry.name == "mine"
    assert served.entry.source == Source("path", str(tmp_path.resolve() / "weights/mine.gguf"))
    assert mine.serves("House-Model").stand_in  # type: ignore[union-attr]
    assert mine.serves("eb-instant").entry.name == SMOL  # type: ignore[union-attr]
    assert mine.serves("sqlcoder_7b") is None
    assert mine.trains("ernie-speed").entry.name == "mine"  # type: ignore[union-attr]


def test_another_source_for_a_known_model_drops_its_hash(tmp_path: Path) -> None:
    """The hash belongs to the file it was made of; licence and context stay."""
    entry = override(tmp_path, f'[models."{SMOL}"]\nsource = "path:/there/it.gguf"').entries[SMOL]
    assert (entry.sha256, entry.size, entry.download) == ("", 0, 0)
    assert entry.licence == "Apache-2.0"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[models", "not valid TOML"),
        ("[modles.a]", r"unknown table \[modles\]"),
        ("[models.a]", r"models\.a needs a source"),
        ('[models.a]\nsource = "path:x"\ncontext = -1', r"models\.a\.context must be a whole number"),
        ('[models.a]\nsource = "path:x"\ncolour = "red"', r"models\.a\.colour is unknown"),
        ('[models.a]\nsource = "ftp:x"', r"models\.a\.source: 'ftp:x' is no source"),
        ('[models.a]\nsource = "pypi:x==1#m.gguf"', "needs a sha256"),
        ('[serves]\n"ERNIE-Bot" = "nobody"', r"serves\.ERNIE-Bot names 'nobody'"),
        ('[trains]\n"ERNIE-Speed" = "echo"', "echo stands for train types, but is not trainable"),
        ("models = 3", "models must be a table"),
    ],
)
def test_a_file_that_cannot_be_used_says_where_and_why(text: str, said: str, tmp_path: Path) -> None:
    """The error names the file, the key and the fault."""
    with pytest.raises(CatalogueInvalid, match=said) as caught:
        override(tmp_path, text)
    assert "mine.toml" in str(caught.value)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    """An operator who names a file means it."""
    with pytest.raises(CatalogueInvalid, match="cannot be read"):
        Catalogue.load(tmp_path / "none.toml")


@pytest.mark.parametrize(
    "text",
    [
        "pypi:package==1.0#folder/file.gguf",
        "hf:org/model@0123456789abcdef0123456789abcdef01234567",
        "hf:org/model#model.gguf",
        "modelscope:org/model@master#model.gguf",
        "built-in:tiny",
        "path:/a/b.gguf",
    ],
)
def test_a_source_reads_back_as_it_was_written(text: str) -> None:
    """str and parse are inverse."""
    assert str(Source.parse(text, Path("/"))) == text


@pytest.mark.parametrize(
    "text",
    ["", "pypi:package", "pypi:a==1#../x", "hf:org/model", "modelscope:org/model", "built-in:huge", "hf:x"],
)
def test_what_is_no_source_is_refused(text: str) -> None:
    """Unpinned, outside, or of no known shape."""
    with pytest.raises(BadSource):
        Source.parse(text, Path("/"))
