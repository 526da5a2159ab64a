"""Every method of training by the SDK, from rows to a deployed service: the model behaves as it was taught."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from qianfan import embedded
from qianfan.dataset import Dataset
from qianfan.trainer import DPO, LLMFinetune, PostPreTrain
from qianfan.trainer.configs import DeployConfig, TrainConfig
from qianfan_platform.trainers import run as trainers

pytestmark = pytest.mark.skipif(trainers.missing() is not None, reason="needs the train extra")

FACTS = {"Who are you?": "I am Tiny.", "What is 2 + 3?": "Five.", "Where is the anchor?": "Shelf A1."}
NEW = {"Name a colour.": "Blue."}
TEXT = "The harbour wakes before dawn. Nets hang dry, boats creak, and gulls count the hours until the catch."


@pytest.fixture(scope="module", autouse=True)
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A platform of its own, with this process's SDK pointed at it."""
    with (
        embedded.start(tmp_path_factory.mktemp("methods"), use=False) as running,
        embedded.configured(running.environment),
    ):
        yield


def rows(facts: dict[str, str], times: int = 4) -> Dataset:
    """Each fact as often: a batch of eight, and few enough steps."""
    return Dataset.create_from_pyobj(
        [[{"prompt": question, "response": [[answer]]}] for question, answer in facts.items()] * times
    )


def settings(method: str, epoch: int, rate: float, **extras: Any) -> TrainConfig:
    return TrainConfig(
        epoch=epoch,
        batch_size=8,
        learning_rate=rate,
        peft_type=method,
        trainset_rate=0,
        scheduler_name="linear",
        extras=extras,
    )


def deployed(prefix: str) -> DeployConfig:
    return DeployConfig(replicas=1, pool_type=1, endpoint_prefix=prefix)


def answers(trainer: Any, questions: Any) -> list[str]:
    """What the deployed model says to each question, with hardly any chance in it."""
    service = trainer.result[0]["service"]
    return [
        service.exec({"messages": [{"role": "user", "content": question}], "temperature": 0.01})["result"]
        for question in questions
    ]


def figures(trainer: Any, name: str) -> list[float]:
    """A figure of every step."""
    return [event[name] for event in trainer.get_log().metrics if event["kind"] == "step"]


@pytest.fixture(scope="module")
def adapted() -> LLMFinetune:
    """The facts, learned by an adapter and deployed."""
    return LLMFinetune(
        "tiny", rows(FACTS), train_config=settings("LoRA", 40, 4e-3), deploy_config=deployed("lora")
    ).run()


def test_an_adapter_learns_answers(adapted: LLMFinetune) -> None:
    """SFT with LoRA: the deployed model gives each taught answer, and stops after it."""
    assert answers(adapted, FACTS) == list(FACTS.values())


def test_all_weights_learn_answers() -> None:
    """SFT of the whole model: likewise."""
    trainer = LLMFinetune(
        "tiny", rows(FACTS), train_config=settings("ALL", 20, 2e-3), deploy_config=deployed("all")
    ).run()
    assert answers(trainer, FACTS) == list(FACTS.values())


def test_virtual_tokens_learn_an_answer() -> None:
    """Prompt tuning: a few tokens before every prompt make the frozen model say what was taught."""
    taught = dict.fromkeys([*FACTS, *NEW], "I am Tiny.")
    trainer = LLMFinetune(
        "tiny",
        rows(taught, times=2),
        train_config=settings("P-tuning", 60, 0.1, virtual_tokens=16),
        deploy_config=deployed("prompt"),
    ).run()
    assert answers(trainer, taught) == list(taught.values())
    assert answers(trainer, ["Hello!"])[0].startswith("I am")


def test_an_incremental_run_knows_old_and_new(adapted: LLMFinetune) -> None:
    """Trained further on a new fact alone, the model says it and still knows what it was taught before."""
    trainer = LLMFinetune(
        dataset=rows(NEW, times=8),
        train_config=settings("LoRA", 20, 6e-4),
        deploy_config=deployed("more"),
        previous_trainer=adapted,
    ).run()
    old = ("Who are you?", "What is 2 + 3?")
    assert answers(trainer, [*old, *NEW]) == [*(FACTS[question] for question in old), *NEW.values()]


@pytest.fixture(scope="module")
def read() -> PostPreTrain:
    """A text, read until it is known."""
    return PostPreTrain("tiny", Dataset.create_from_pyobj([TEXT] * 5), settings("ALL", 20, 3e-3)).run()


def test_a_text_is_gone_on_with_once_it_was_read(read: PostPreTrain) -> None:
    """Post-pretraining: asked with its beginning, the model says the next words of the text, which it did not
    before."""
    examples = read.get_log().examples
    assert len(examples) == 5
    for one in examples:
        assert one["question"] + one["wanted"] == TEXT
        assert one["wanted"].startswith(one["after"])
        assert len(one["after"]) >= 30
        assert one["before"][:4] != one["after"][:4]


@pytest.mark.soak
def test_texts_are_known_before_answers_are_learned(adapted: LLMFinetune, read: PostPreTrain) -> None:
    """What was read makes the same sentences far less surprising as answers, which a few steps then teach."""
    losses = figures(read, "loss")
    assert losses[-1] < 0.1 < 5 < losses[0]
    sentence = "Nets hang dry, boats creak, and gulls count the hours"
    trainer = LLMFinetune(
        dataset=rows({"The harbour wakes before dawn.": sentence}, times=8),
        train_config=settings("ALL", 10, 1e-3),
        deploy_config=deployed("read"),
        previous_trainer=read,
    ).run()
    assert figures(trainer, "loss")[0] < figures(adapted, "loss")[0] / 2
    assert answers(trainer, ["The harbour wakes before dawn."]) == [sentence]


def test_the_preferred_answer_is_given() -> None:
    """DPO: a model that was taught two answers to each question gives the preferred one afterwards."""
    both = Dataset.create_from_pyobj(
        [[{"prompt": question, "response": [[answer]]}] for question in FACTS for answer in ("Yes.", "No!")]
        * 2
    )
    undecided = LLMFinetune(
        "tiny", both, train_config=settings("ALL", 20, 2e-3), model_not_publish=True
    ).run()
    pairs = [[{"prompt": question, "chosen": "Yes.", "rejected": "No!"}] for question in FACTS]
    trainer = DPO(
        dataset=Dataset.create_from_pyobj(pairs * 4),
        train_config=settings("LoRA", 5, 1e-3, beta=0.1),
        deploy_config=deployed("preferred"),
        previous_trainer=undecided,
    ).run()
    assert answers(trainer, FACTS) == ["Yes."] * len(FACTS)
    margins = figures(trainer, "reward_margin")
    assert margins[0] == 0
    assert margins[-1] > 0.5
    assert figures(trainer, "accuracy")[-1] == 1
