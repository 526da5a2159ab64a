"""Many calls at once: in threads (`batch_do`), or as tasks of one event loop (`abatch_do`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from typing import Any, ClassVar, Final

from qianfan.errors import ArgumentNotFoundError, InvalidArgumentError

# Calls in flight unless worker_num says otherwise. Each is a thread with a connection (here), or a
# connection (asyncio): a list of ten thousand must not open ten thousand of them, and no server runs that
# many for one account. A rate limit of the object holds over all of them.
WORKERS: Final = 64


class BatchResults:
    """Calls that are under way, in the order of what was given. Iterating gives futures: `result()` waits
    for one of them, and raises what its call raised."""

    def __init__(self, futures: Sequence[Future[Any]]) -> None:
        self._futures = futures

    def results(self) -> list[Any]:
        """Wait for all; the answers in order, with the exception in place of one that failed."""
        self.wait()
        return [future.exception() or future.result() for future in self._futures]

    def wait(self) -> None:
        """Wait until every call has ended, well or not."""
        wait_for(self._futures)

    def task_count(self) -> int:
        """How many calls there are."""
        return len(self._futures)

    def finished_count(self) -> int:
        """How many have ended, well or not."""
        return sum(future.done() for future in self._futures)

    def __len__(self) -> int:
        return len(self._futures)

    def __iter__(self) -> Iterator[Future[Any]]:
        return iter(self._futures)

    def __getitem__(self, index: int) -> Future[Any]:
        return self._futures[index]

    def __repr__(self) -> str:
        return f"<{self.finished_count()} of {self.task_count()} calls ended>"


class Batches:
    """Gives a class with `do` and `ado` their batches."""

    batch_name: ClassVar[str] = "inputs"  # another name of the list, as older programs give it
    pairs: ClassVar[bool] = False  # an item holds several arguments of `do`

    def batch_do(
        self, inputs: Sequence[Any] | None = None, worker_num: int | None = None, **kwargs: Any
    ) -> BatchResults:
        """Ask many at once, in threads; comes back at once.

        inputs: what `do` takes first, one item a call; for images to texts and for rerankers a pair.
        worker_num: calls in flight, at most 64 when not given. Keywords: those of `do`, for every call.
        Raises InvalidArgumentError for worker_num below 1."""
        calls = self._calls(inputs, kwargs)
        workers = _workers(worker_num, len(calls))
        if not calls:
            return BatchResults([])
        ask: Callable[..., Any] = self.do  # type: ignore[attr-defined]
        pool = ThreadPoolExecutor(workers, thread_name_prefix="qianfan-batch")
        try:
            return BatchResults([pool.submit(ask, *args, **given) for args, given in calls])
        finally:
            pool.shutdown(wait=False)  # what was submitted is done; then the threads end

    async def abatch_do(
        self, inputs: Sequence[Any] | None = None, worker_num: int | None = None, **kwargs: Any
    ) -> list[Any]:
        """The same for asyncio, and it waits: the answers in order, the exception in place of a failed one."""
        calls = self._calls(inputs, kwargs)
        workers = _workers(worker_num, len(calls))
        ask: Callable[..., Any] = self.ado  # type: ignore[attr-defined]
        results: list[Any] = [None] * len(calls)
        waiting = iter(enumerate(calls))

        async def work() -> None:
            for number, (args, given) in waiting:  # the next one that nobody has taken
                try:
                    results[number] = await ask(*args, **given)
                except Exception as error:
                    results[number] = error

        import asyncio  # not needed by programs that are synchronous

        await asyncio.gather(*(work() for _ in range(min(workers, len(calls)))))
        return results

    def _calls(
        self, inputs: Sequence[Any] | None, kwargs: dict[str, Any]
    ) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        """Arguments of each call. `body_list` has whole sets of keywords instead of first arguments."""
        if inputs is None:
            inputs = kwargs.pop(self.batch_name, None)
        bodies = kwargs.pop("body_list", None)
        if inputs is None and bodies is None:
            raise ArgumentNotFoundError(
                "there is nothing to ask",
                advice="give a list, one item a call",
                advice_zh="请传入列表，每项为一次调用",
            )
        if isinstance(inputs if inputs is not None else bodies, (str, bytes)):
            raise InvalidArgumentError(
                "a batch takes a list of inputs, not one text",
                advice="put the text into a list",
                advice_zh="请将文本放入列表",
            )
        if inputs is None:
            return [((), {**kwargs, **body}) for body in bodies]
        return [(_arguments(item) if self.pairs else (item,), kwargs) for item in inputs]


def _arguments(item: Any) -> tuple[Any, ...]:
    if isinstance(item, (list, tuple)):
        return tuple(item)
    raise InvalidArgumentError(
        f"an item of this batch is a pair, not {type(item).__name__}",
        advice="as in [(prompt, image)] or [(query, documents)]",
        advice_zh="例如 [(prompt, image)] 或 [(query, documents)]",
    )


def _workers(worker_num: int | None, items: int) -> int:
    if worker_num is None:
        return max(1, min(items, WORKERS))
    if isinstance(worker_num, bool) or not isinstance(worker_num, int) or worker_num < 1:
        raise InvalidArgumentError(
            f"worker_num is {worker_num!r}",
            advice="it is the number of calls in flight: 1 or more",
            advice_zh="它是同时进行的调用数，须不小于 1",
        )
    return worker_num
