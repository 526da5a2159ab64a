"""The catalogue: what answers for a name."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from qianfan.contract import models, train_types
from qianfan_platform.catalogue.catalogue import Catalogue, CatalogueInvalid
from qianfan_platform.catalogue.source import BadSource, Source
from qianfan_platform.catalogue.specs import place, spec_for

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


ENCODER = "USE-multilingual-v3"


@pytest.mark.parametrize("kind", ["embeddings", "reranker"])
def test_embeddings_and_ranking_have_a_stand_in_that_tells_its_size(kind: str, catalogue: Catalogue) -> None:
    """Every documented name and endpoint; the vectors are shorter or longer than documented, and the note says so."""
    for preset in models.table(kind).values():
        for asked in (preset.name, preset.name.lower(), preset.path):
            served = catalogue.serves(asked, kind)
            assert served is not None, asked
            assert (served.entry.name, served.stand_in) == (ENCODER, True)
            assert served.entry.dimensions == 512
            assert "512 dimensions" in served.note


@pytest.mark.parametrize("kind", ["text2image", "image2text"])
def test_images_have_no_stand_in(kind: str, catalogue: Catalogue) -> None:
    """Nothing here makes or reads them, and nothing pretends to."""
    for preset in models.table(kind).values():
        assert catalogue.serves(preset.name, kind) is None
        assert catalogue.serves(preset.path, kind) is None


GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "catalogue.md"
EXAMPLES = re.findall(r"```toml\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("text", EXAMPLES, ids=range(len(EXAMPLES)))
def test_every_example_of_the_guide_can_be_used(text: str, tmp_path: Path) -> None:
    """As it stands; whoever is named to stand in does."""
    mine = override(tmp_path, text)
    for kind, target in tomllib.loads(text).get("stand_ins", {}).items():
        if kind != "training":
            preset = next(iter(models.table(kind).values()))
            assert mine.serves(preset.path, kind).entry.name == target  # type: ignore[union-attr]
        else:
            assert mine.trains("ERNIE-Speed").entry.name == target  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("asked", "endpoint"),
    [
        ("completions-pro", "completions_pro"),
        ("ernie-3.5-8k-1222", "completions"),
        ("ERNIE-3.5-4K-0205", "ernie-3.5-8k-0205"),
        ("ERNIE-3.5-8K-0205", "ernie-3.5-8k-0205"),
        ("ernie-speed-appbuilder", "ai_apaas"),
        ("ERNIE Speed-AppBuilder", "ai_apaas"),
        ("completions_pro_preemptible", "completions_pro"),
        ("completions_preemptible", "completions"),
        ("ernie-character-8k-0321", "ernie-char-8k"),
        ("meta-llama-3-8b-instruct", "llama_3_8b"),
        ("qianfan-chinese-llama-2-13b-v1", "qianfan_chinese_llama_2_13b"),
        ("qianfan-chinese-llama-2-13b", "qianfan_chinese_llama_2_13b"),
        ("eb_turbo_pro", "eb-instant"),
        ("ernie-speed", "ernie_speed"),
        ("Llama-2-70B-chat", "llama_2_70b"),
        ("bce-reranker-base", "bce_reranker_base"),
        ("ernie-speed-8k", "ernie_speed"),
        ("ernie-lite-8k", "ernie-lite-8k"),
        ("embedding-v1", "embedding-v1"),
        ("tao-8k", "tao_8k"),
    ],
)
def test_names_of_all_published_clients_are_served(asked: str, endpoint: str, catalogue: Catalogue) -> None:
    """Also those that only one of them uses."""
    served = catalogue.serves(asked)
    assert served is not None
    assert served.endpoint == endpoint


def test_every_alias_leads_to_a_documented_name(catalogue: Catalogue) -> None:
    """None leads nowhere, and none is listed as a model of its own."""
    for alias in catalogue.aliases:
        assert catalogue.serves(alias) is not None, alias
        assert alias not in {served.name for served in catalogue.names()}


UPSTREAM = """
[models.far]
source = "openai:https://api.example.com/v1#their-model"
key_env = "THEIR_KEY"
kinds = ["chat", "embeddings", "text2image"]
tools = "json"
timeout_s = 30
parallel = 8
[stand_ins]
chat = "far"
text2image = "far"
"""


def test_an_upstream_is_one_line_in_the_file(tmp_path: Path) -> None:
    """And becomes an engine that knows where, what and how, but not the key itself."""
    mine = override(tmp_path, UPSTREAM)
    served = mine.serves("eb-instant")
    assert served is not None
    assert (served.entry.engine, served.stand_in) == ("upstream", True)
    spec = spec_for(served.entry)
    assert (spec.kind, spec.model, spec.parallel) == ("upstream", None, 8)
    assert dict(spec.options) == {
        "name": "far",
        "url": "https://api.example.com/v1",
        "model": "their-model",
        "key_env": "THEIR_KEY",
        "kinds": ("chat", "embeddings", "text2image"),
        "tools": "json",
        "idle_s": 30,
    }
    unnamed = override(tmp_path, '[models.llama3]\nsource = "openai:http://127.0.0.1:11434/v1"').entries[
        "llama3"
    ]
    assert spec_for(unnamed).options["model"] == "llama3"
    assert spec_for(unnamed).parallel == 64


def test_a_known_model_may_be_moved_to_an_upstream(tmp_path: Path) -> None:
    """Whatever belonged to its weights here is forgotten."""
    entry = override(tmp_path, '[models.tiny]\nsource = "openai:http://127.0.0.1:1/v1"').entries["tiny"]
    assert (entry.engine, entry.trainable, entry.has_weights) == ("upstream", False, False)


def test_pictures_are_made_from_a_folder(tmp_path: Path) -> None:
    """By one process, one at a time; its weights are the folder, and never llama.cpp's."""
    text = '[models.p]\nengine = "pictures"\nsource = "path:sdxl"\nkinds = ["text2image"]\ntimeout_s = 900'
    entry = override(tmp_path, text).entries["p"]
    spec = spec_for(entry, tmp_path / "sdxl")
    assert (spec.kind, spec.model, spec.places) == ("pictures", tmp_path / "sdxl", 1)
    assert dict(spec.options) == {"kinds": ("text2image",), "idle_s": 900}


def test_an_entry_becomes_an_engine(catalogue: Catalogue, tmp_path: Path) -> None:
    """Weights are served by llama.cpp for what the entry is for; two uses of one file are two engines."""
    file = tmp_path / "a.gguf"
    chat = spec_for(catalogue.entries["tiny"], file)
    assert (chat.kind, chat.model, dict(chat.options), chat.parallel) == ("llamacpp", file, {}, 4)
    mine = override(tmp_path, '[models.vec]\nsource = "path:a.gguf"\nkinds = ["embeddings"]').entries["vec"]
    assert dict(spec_for(mine, file).options) == {"embeddings": True}
    assert place(mine, file) != place(catalogue.entries["tiny"], file)
    assert place(mine, file) == place(mine, file)
    assert spec_for(catalogue.entries[ENCODER]).kind == "encoder"
    assert place(catalogue.entries[ENCODER]) == ENCODER


@pytest.mark.parametrize("name", [SMOL, SMOL.lower(), "tiny", "echo", ENCODER])
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
        ('[models.a]\nsource = "openai:http://u:p@h/v1"', "must hold no user, password or query"),
        ('[models.a]\nsource = "openai:http://h:99999/v1"', "names no host, or a port that is none"),
        ('[models.a]\nsource = "openai:ftp://h/v1"', "is no source of kind openai"),
        (
            '[models.a]\nsource = "openai:http://h/v1"\nkey_env = "sk-my-key"',
            "name of an environment variable",
        ),
        (
            '[models.a]\nsource = "openai:http://h/v1"\ntrainable = true',
            r"models\.a\.trainable: the weights of an up",
        ),
        ('[models.a]\nsource = "openai:http://h/v1"\nengine = "llamacpp"', "goes with the engine upstream"),
        ('[models.a]\nengine = "upstream"', "the source none; a source such as"),
        ('[models.a]\nsource = "path:x"\nkey_env = "A"', "key_env is only for sources"),
        ('[models.a]\nsource = "path:x"\nkinds = ["chat", "embeddings"]', "write two models for two uses"),
        ('[models.a]\nsource = "path:x"\nkinds = ["text2image"]', "images need the engine upstream"),
        (
            '[models.a]\nsource = "path:x"\nkinds = ["chatt"]',
            r"kinds must name kinds of models: .*\['chatt'\]",
        ),
        ('[models.a]\nsource = "path:x"\nkinds = []', "kinds must name kinds"),
        ('[models.a]\nengine = "vllm"', "engine is 'vllm'; one of: llamacpp, echo, encoder, upstream"),
        (
            '[models.a]\nengine = "encoder"\nsource = "path:x"\nkinds = ["embeddings"]',
            "brings its weights along",
        ),
        (
            '[models.a]\nengine = "pictures"\nsource = "hf:o/m#m.gguf"\nkinds = ["text2image"]',
            "reads a folder of safetensors; write path:FOLDER or hf:REPO@COMMIT",
        ),
        (
            '[models.a]\nengine = "pictures"\nsource = "path:x"\nkinds = ["text2image", "image2text"]',
            "the engine pictures serves text2image or image2text, not text2image.image2text",
        ),
        (
            '[models.a]\nengine = "pictures"\nsource = "path:x"\nkinds = ["text2image"]\ntrainable = true',
            "trainable is not for the engine pictures",
        ),
        ('[models.a]\nsource = "path:x"\nparallel = 0', "parallel must be a whole number above 0"),
        (
            '[stand_ins]\nembeddings = "tiny"',
            r"stand_ins\.embeddings names 'tiny', which serves chat, completions",
        ),
        ('[stand_ins]\nvideo = "tiny"', r"stand_ins\.video is no kind"),
        (
            '[serves]\n"bge-large-zh" = "tiny"',
            r'serves\.bge-large-zh .* add "embeddings" to models\.tiny\.kinds',
        ),
    ],
)
def test_a_file_that_cannot_be_used_says_where_and_why(text: str, said: str, tmp_path: Path) -> None:
    """The error names the file, the key and the fault."""
    with pytest.raises(CatalogueInvalid, match=said) as caught:
        override(tmp_path, text)
    assert "mine.toml" in str(caught.value)
    assert "sk-my-key" not in str(caught.value)


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
        "openai:https://api.example.com:8443/v1#org/model:7b",
        "openai:http://127.0.0.1:11434/v1",
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
