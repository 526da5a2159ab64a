"""Public benchmarks by lm-eval against a service of the platform, on questions of our own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from qianfan.embedded import Embedded
from qianfan.errors import MissingExtra
from qianfan.evaluation import benchmarks

TASK = """\
task: capitals
dataset_path: json
dataset_kwargs: {data_files: {test: %s}}
test_split: test
output_type: %s
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
%s
"""
GENERATED = """\
generation_kwargs: {until: ["\\n"], max_gen_toks: 16}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]"""
CHOSEN = """\
doc_to_choice: ["Paris", "Rome"]
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]"""


def command(platform: Embedded, folder: Path) -> subprocess.CompletedProcess[str]:
    """`qianfan evaluation benchmark` in a process of its own: lm-eval changes much in the one that it runs in."""
    program = "from qianfan.cli.main import main; main()"
    arguments = ["--service", "good", "--tasks", "capitals", "--include", str(folder), "--json"]
    environment = {
        **os.environ,
        **platform.environment,
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(folder / "hub"),
    }
    return subprocess.run(
        [sys.executable, "-c", program, "evaluation", "benchmark", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.skipif(find_spec("lm_eval") is None, reason="lm-eval is not installed (the benchmarks extra)")
def test_a_service_answers_a_benchmark(echo_server: Embedded, tmp_path: Path) -> None:
    """Questions of a file; what the service says is scored by lm-eval. Likelihoods are refused before anything is asked."""
    rows = [{"question": "capital of France?", "answer": "Paris"}, {"question": "sky?", "answer": "blue"}]
    file = tmp_path / "capitals.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "capitals.yaml").write_text(TASK % (file, "generate_until", GENERATED))
    made = command(echo_server, tmp_path)
    assert made.returncode == 0, made.stderr[-2000:]
    found = json.loads(made.stdout.splitlines()[-1])
    assert found["samples"] == {"capitals": 2}
    assert found["results"]["capitals"]["exact_match,none"] == 0.5
    (tmp_path / "capitals.yaml").write_text(TASK % (file, "multiple_choice", CHOSEN))
    refused = command(echo_server, tmp_path)
    assert refused.returncode != 0
    assert "likelihoods" in " ".join(refused.stderr.split())


def test_without_lm_eval_it_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """MissingExtra names the extra."""
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(MissingExtra, match=r"open-qianfan\[benchmarks\]"):
        benchmarks.run("good", ["capitals"])
