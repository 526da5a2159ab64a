"""The sentence encoder, run for real in its child process."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from qianfan_platform.catalogue.catalogue import Catalogue
from qianfan_platform.catalogue.specs import spec_for
from qianfan_platform.engines.encoder.engine import EncoderEngine
from qianfan_platform.engines.protocol import (
    EngineFailed,
    EngineSpec,
    ImageWish,
    PromptTooLong,
    RequestRefused,
    Sampling,
)
from qianfan_platform.engines.start import start

DOCUMENTS = [
    "请在登录页面点击“忘记密码”，按照短信提示重新设置。",
    "订单支付后三个工作日内发货，节假日顺延。",
    "七天内商品未拆封可以无理由退货，运费由买家承担。",
    "会员每消费一元累计一个积分，积分可以抵扣现金。",
    "发票会在确认收货后发送到您的电子邮箱。",
    "客服热线的服务时间是早上九点到晚上九点。",
]


@pytest.fixture(scope="module")
def encoder(run: Any) -> Iterator[EncoderEngine]:
    """The encoder of the built-in catalogue."""
    engine = run(start(spec_for(Catalogue.load().entries["USE-multilingual-v3"])))
    yield engine
    run(engine.close())


@pytest.mark.parametrize(
    ("query", "right"),
    [
        ("密码忘了怎么找回？", 0),
        ("我买的东西什么时候寄出？", 1),
        ("不想要了能退货吗？", 2),
        ("积分有什么用？", 3),
        ("怎么开发票？", 4),
        ("When will my order be shipped?", 1),
        ("Can I return the goods?", 2),
        ("How do I reset my password?", 0),
    ],
)
def test_the_right_document_comes_first(query: str, right: int, encoder: EncoderEngine, run: Any) -> None:
    """Five questions in Chinese, and three in English about Chinese documents."""
    values = run(encoder.rerank(query, DOCUMENTS)).values
    assert max(range(len(values)), key=values.__getitem__) == right
    assert all(0.0 <= value <= 1.0 for value in values)


def test_vectors_have_length_one_and_tokens_are_counted(encoder: EncoderEngine, run: Any) -> None:
    """512 numbers for each text, in order; the tokens of the texts alone."""
    texts = ["你好，世界", "", "hello world"]
    found = run(encoder.embed(texts))
    assert [len(row) for row in found.rows] == [512, 512, 512]
    assert [sum(x * x for x in row) for row in found.rows] == pytest.approx([1.0] * 3, abs=1e-4)
    assert found.tokens == sum(run(encoder.count_tokens(text)) for text in texts)
    assert run(encoder.embed([])).rows == []


def test_a_text_has_the_same_vector_in_any_company(encoder: EncoderEngine, run: Any) -> None:
    """Requests at once, of more texts than one batch holds, do not mix."""
    texts = [f"这是第{n}句话，" * (n % 7 + 1) for n in range(100)]

    async def both() -> tuple[Any, Any]:
        alone = [(await encoder.embed([text])).rows[0] for text in texts[::10]]
        together = await asyncio.gather(*(encoder.embed(texts) for _ in range(3)))
        return alone, together

    alone, together = run(both())
    for found in together:
        assert len(found.rows) == 100
        for one, row in zip(alone, found.rows[::10], strict=True):
            assert row == pytest.approx(one, abs=1e-4)


def test_a_text_that_is_too_long_fails_alone(encoder: EncoderEngine, run: Any) -> None:
    """Its neighbour in the batch gets its vector; half a character does no harm."""

    async def both() -> list[Any]:
        return await asyncio.gather(
            encoder.embed(["好天气" * 9000]), encoder.embed(["a\ud800b"]), return_exceptions=True
        )

    long, fine = run(both())
    assert isinstance(long, PromptTooLong)
    assert (long.limit, long.tokens) == (8192, 27001)
    assert len(fine.rows[0]) == 512
    with pytest.raises(PromptTooLong, match="at most 8192 fit"):
        run(encoder.embed(["x" * 10_000_000]))


def test_the_event_loop_runs_while_it_computes(encoder: EncoderEngine, run: Any) -> None:
    """A long batch holds up nobody else."""

    async def longest_pause() -> float:
        loop, worst = asyncio.get_running_loop(), 0.0
        work = asyncio.create_task(encoder.embed(["今天天气怎么样，我们一起去公园散步吧。" * 20] * 64))
        while not work.done():
            began = loop.time()
            await asyncio.sleep(0.005)
            worst = max(worst, loop.time() - began)
        await work
        return worst

    assert run(longest_pause()) < 0.5


def test_it_does_not_answer_nor_paint(encoder: EncoderEngine, run: Any) -> None:
    """The errors say what to name instead."""

    async def ask() -> None:
        async for _ in encoder.generate([], Sampling()):
            pass

    with pytest.raises(RequestRefused, match='kind "chat"'):
        run(ask())
    with pytest.raises(RequestRefused, match="makes no images"):
        run(encoder.paint(ImageWish("a fox")))


def test_a_killed_process_fails_what_waits_and_is_not_alive(run: Any) -> None:
    """The error says how it ended; whoever watches can start another."""

    async def kill() -> None:
        engine: Any = await start(EngineSpec("encoder", context=100_000))
        try:
            work = asyncio.create_task(engine.embed(["今天天气怎么样。" * 500] * 200))
            await asyncio.sleep(0.1)
            os.kill(engine.pid, signal.SIGKILL)
            with pytest.raises(EngineFailed, match="was ended by signal 9"):
                await work
            assert not engine.alive()
            with pytest.raises(EngineFailed, match="was ended by signal 9"):
                await engine.health()
        finally:
            await engine.close()

    run(kill())


def test_a_stopped_process_is_found_hung(run: Any) -> None:
    """It is ended, so that another can take its place."""

    async def hang() -> None:
        engine: Any = await start(EngineSpec("encoder", options={"idle_s": 0.3}))
        try:
            os.kill(engine.pid, signal.SIGSTOP)
            with pytest.raises(EngineFailed, match=r"silent for 0\.3 s"):
                await engine.embed(["x"])
            async with asyncio.timeout(2):
                while engine.alive():
                    await asyncio.sleep(0.01)
        finally:
            await engine.close()

    run(hang())


def test_the_encoder_ends_when_its_parent_is_killed() -> None:
    """kill -9 of the parent leaves no orphan."""
    parent = textwrap.dedent(
        """
        import asyncio
        from qianfan_platform.engines.protocol import EngineSpec
        from qianfan_platform.engines.start import start

        async def main():
            engine = await start(EngineSpec("encoder"))
            print(engine.pid, flush=True)
            await asyncio.sleep(60)

        asyncio.run(main())
        """
    )
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        child = psutil.Process(int(process.stdout.readline()))
        process.kill()
    gone, _ = psutil.wait_procs([child], timeout=3)
    assert gone or child.status() == psutil.STATUS_ZOMBIE
