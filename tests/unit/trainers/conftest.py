from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qianfan_platform.catalogue import tiny


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny.build(folder)
    return folder


@pytest.fixture(scope="session")
def tokenizer(tiny_model: Path) -> Any:
    pytest.importorskip("transformers", reason="needs the train extra")
    from qianfan_platform.trainers.child.encoder import tokenizer_of

    return tokenizer_of(tiny_model)


@pytest.fixture(scope="session")
def encoder(tokenizer: Any) -> Any:
    from qianfan_platform.trainers.child.encoder import Encoder

    return Encoder(tokenizer)
