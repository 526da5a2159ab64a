"""What an engine cannot do, it refuses with a text that says what to do instead."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from qianfan_platform.engines.protocol import ImageWish, RequestRefused, Scores, Vectors


class Refusing:
    """The methods that not every engine has. An engine inherits from this and overrides what it can."""

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Raises RequestRefused: this engine does not embed."""
        raise RequestRefused('this model does not embed texts; name one of kind "embeddings"')

    async def rerank(self, query: str, documents: Sequence[str]) -> Scores:
        """Raises RequestRefused: this engine does not rerank."""
        raise RequestRefused('this model does not rank documents; name one of kind "reranker"')

    async def paint(self, wish: ImageWish) -> list[bytes]:
        """Raises RequestRefused: this engine does not make images."""
        raise RequestRefused(
            'this model makes no images; name one of kind "text2image", which the operator adds to the catalogue '
            "as a server that does, or as a folder of weights"
        )

    async def count_tokens(self, text: str) -> int:
        """Raises RequestRefused: this engine does not count tokens."""
        raise RequestRefused("this model does not tell how many tokens a text has; name one that runs here")

    # What engines without a process of their own say; `child.InChild` has the others'.

    async def stirs(self, timeout_s: float) -> None:
        """Nothing of it can hang here."""

    def on_end(self, told: Callable[[], None]) -> None:
        """It ends when it is closed, and not before."""

    def kill(self) -> None:
        """There is no process to end."""
