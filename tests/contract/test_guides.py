"""The examples of the guides, of the README and of our own pages, run as written against `qianfan serve`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from qianfan import embedded
from qianfan.embedded import Embedded

from .conftest import Scripts

FOLDER = Path(__file__).parent / "guides"
GUIDES = sorted(path for path in FOLDER.glob("*.py") if not path.name.startswith("readme_"))
README = sorted(FOLDER.glob("readme_*.py"))
TALK = FOLDER / "readme_3_messages.py"
PLUGIN = "your_custom_endpoint"
PAGES = ("chat.md", "errors-and-limits.md")
ROOT = Path(__file__).resolve().parents[2]
DOCS, EXAMPLES = ROOT / "docs" / "guides", ROOT / "examples"


@pytest.fixture(scope="module")
def services(platform: Embedded, dataset_id: int) -> dict[str, str]:
    """What a user has made before: a deployed service, an embedder of one's own, a plugin application."""
    from qianfan.dataset import Dataset
    from qianfan.resources.console.plugin import PluginManager
    from qianfan.trainer import LLMFinetune
    from qianfan.trainer.configs import DeployConfig, TrainConfig

    with embedded.configured(platform.environment):
        trainer = LLMFinetune(
            train_type="tiny",
            dataset=Dataset.load(qianfan_dataset_id=dataset_id, is_download_to_local=False),
            train_config=TrainConfig(epoch=1, batch_size=4, learning_rate=1e-3),
            deploy_config=DeployConfig(replicas=1, pool_type=2, endpoint_prefix="your_custom_endpoint"),
        )
        trainer.run(show_progress=False)
        endpoint = trainer.result[0]["service_endpoint"]
        assert endpoint.endswith("your_custom_endpoint")
        PluginManager.create("guide plugin", uri=PLUGIN, builtins=["clock", "calculator"])
    return {"GUIDE_ENDPOINT": endpoint, "GUIDE_EMBEDDER": "echo", "GUIDE_PLUGIN": PLUGIN}


def ran(done: Any) -> None:
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.stem)
def test_a_guide_runs_as_written(guide: Path, scripts: Scripts, dataset_id: int) -> None:
    """Credentials and addresses come from the environment; the script is the guide's."""
    ran(scripts.run(guide, GUIDE_DATASET=str(dataset_id)))


@pytest.mark.parametrize("example", [path for path in README if path != TALK], ids=lambda path: path.stem)
def test_an_example_of_the_readme_runs_as_written(
    example: Path, scripts: Scripts, dataset_id: int, services: dict[str, str]
) -> None:
    """Each code block of the published README."""
    ran(scripts.run(example, GUIDE_DATASET=str(dataset_id), **services))


def test_the_conversation_of_the_readme_goes_on_turn_by_turn(tmp_path: Path) -> None:
    """What the user types comes from standard input. The tiny model may say nothing, so the echo answers."""
    catalogue = tmp_path / "echo.toml"
    catalogue.write_text('[stand_ins]\nchat = "echo"\n', encoding="utf-8")
    with embedded.start(tmp_path / "data", use=False, catalogue=catalogue) as platform:
        done = Scripts(platform).run(TALK, stdin="你好\n再见\n")
    ran(done)
    assert "再见" in done.stdout


@pytest.mark.parametrize("page", PAGES)
def test_the_python_of_a_page_runs_from_top_to_bottom(page: str, scripts: Scripts, tmp_path: Path) -> None:
    """All blocks of one page are one program."""
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    program = tmp_path / "page.py"
    program.write_text("\n".join(blocks), encoding="utf-8")
    done = scripts.run(program)
    ran(done)
    if page == "errors-and-limits.md":
        assert "had come: one two" in done.stdout


def test_the_chat_example_answers(tiny_catalogue: Path, tmp_path: Path, scripts: Scripts) -> None:
    """The first lines of the README, with the tiny model in the place of the default one."""
    script = (EXAMPLES / "chat.py").read_text(encoding="utf-8")
    tiny = script.replace("embedded.start()", f"embedded.start(catalogue={str(tiny_catalogue)!r})")
    assert tiny != script
    (tmp_path / "chat.py").write_text(tiny, encoding="utf-8")
    done = scripts.run(tmp_path / "chat.py")
    ran(done)
    assert done.stdout.strip().splitlines()[-1].endswith("512")


@pytest.mark.parametrize("example", ["search.py", "at_once.py"])
def test_an_example_runs(example: str, scripts: Scripts) -> None:
    """Against a platform that its credentials name."""
    done = scripts.run(EXAMPLES / example)
    ran(done)
    lines = done.stdout.splitlines()
    if example == "search.py":
        assert "guarantee" in lines[0]
    else:
        assert all("Error" not in line for line in lines)
