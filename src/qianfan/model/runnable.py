"""What models, services and actions are: they can be executed, and their state can be saved."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar

Input = TypeVar("Input")
Output = TypeVar("Output")


class Executable(Generic[Input, Output], ABC):
    """Something that turns an input into an output."""

    @abstractmethod
    def exec(self, input: Input | None = None, **kwargs: Any) -> Output:
        """Do the work."""


class Serializable(ABC):
    """Something whose state can be written down and read again."""

    @abstractmethod
    def dumps(self) -> bytes | None:
        """The state as bytes."""

    @abstractmethod
    def loads(self, data: bytes) -> Any:
        """A new object of the state that `dumps` wrote."""


class ExecuteSerializable(Executable[Input, Output], Serializable):
    """Both: what can be executed and saved."""
