"""Chat templates are programs of strangers: read before they run, and counted while they run.

Nothing of Python is within their reach. A loop that never ends, a text that never stops growing and a template that
looks around where it should not are each told by name. What only the operating system can bound, such as the text of
a list that holds itself a million times, is tried once in a process of its own (`engines.trial`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from jinja2 import TemplateError, TemplateSyntaxError, nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

LONGEST: Final = 256 * 1024  # characters of a template; the longest known has some 20,000
STEPS: Final = 100_000  # turns of loops and calls in one rendering
GROWTH: Final = 16  # characters of a value to those that went in, beside ROOM
ROOM: Final = 1024 * 1024
TOGETHER: Final = 64  # times that length, of all values that are made
TIME_S: Final = 10.0  # of one rendering
WIDEST: Final = 100  # of an indent
BITS: Final = 1024  # of a number
_COUNTED: Final = "counted!"  # a filter that no template can name
_GONE: Final = (
    "attr", "batch", "center", "filesizeformat", "format", "groupby", "pprint", "random", "slice", "striptags", "sum",
    "urlize", "wordwrap", "xmlattr",
)  # fmt: skip
_GROWING: Final = frozenset(
    {"format", "format_map", "center", "ljust", "rjust", "zfill", "expandtabs", "translate", "encode"}
)
_FILES: Final = (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)


class TemplateRefused(TemplateError):
    """A template does what none may, or more than any needs."""


class _Budget:
    """What one rendering may still spend."""

    def __init__(self, size: int) -> None:
        self.steps = STEPS
        self.longest = ROOM + GROWTH * size  # characters
        self.left = TOGETHER * self.longest
        self.until = time.monotonic() + TIME_S

    def spend(self, steps: int = 1) -> None:
        self.steps -= steps
        if self.steps < 0:
            raise TemplateRefused(f"it takes more than {STEPS} steps")
        if time.monotonic() > self.until:
            raise TemplateRefused(f"it takes longer than {TIME_S:g} s")

    def grow(self, size: int) -> None:
        self.left -= size
        if size > self.longest:
            raise TemplateRefused(f"it makes a text or a list longer than {self.longest}")
        if self.left < 0:
            raise TemplateRefused(f"its texts and lists are together longer than {TOGETHER * self.longest}")


_budget: ContextVar[_Budget] = ContextVar("budget")


@contextmanager
def _within(size: int) -> Iterator[_Budget]:
    budget = _Budget(size)
    before = _budget.set(budget)
    try:
        yield budget
    finally:
        _budget.reset(before)


class Template:
    """A template that can be rendered. Raises TemplateRefused when it is none, or does what none may."""

    def __init__(self, text: str) -> None:
        if len(text) > LONGEST:
            raise TemplateRefused(f"it is longer than {LONGEST} characters")
        try:
            with _within(len(text)):
                self._template = _environment().from_string(text)
        except TemplateSyntaxError as error:
            raise TemplateRefused(f"it is no template: {error.message} in line {error.lineno}") from error
        except (RecursionError, MemoryError, SyntaxError, OverflowError) as error:
            raise TemplateRefused(f"it nests too deep: {type(error).__name__}") from error

    def render(
        self, messages: Sequence[Mapping[str, Any]], *, add_generation_prompt: bool, **names: Any
    ) -> str:
        """The text of a conversation. Raises TemplateError, TemplateRefused beyond the limits."""
        size = sum(len(str(value)) for message in messages for value in message.values())
        given = {"tools": None, "documents": None, **names, "messages": messages}
        with _within(size):
            try:
                return self._template.render(**given, add_generation_prompt=add_generation_prompt)
            except (RecursionError, MemoryError, OverflowError) as error:
                raise TemplateRefused(f"it goes beyond all bounds: {type(error).__name__}") from error


@lru_cache(maxsize=8)
def template(text: str) -> Template:
    """The template of a text, made once."""
    return Template(text)


class _Generator(CodeGenerator):
    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        """`a ~ b` by way of the counting join."""
        self.write("concat((")
        for part in node.nodes:
            self.write("str(")
            self.visit(part, frame)
            self.write("), ")
        self.write("))")


class _Generation(Extension):
    """`{% generation %}` marks what a model has said; it changes nothing of the text."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("said"), [], [], body).set_lineno(line)

    def said(self, caller: Callable[[], str]) -> str:
        return caller()


class _Environment(ImmutableSandboxedEnvironment):
    """Set up as Transformers sets its own up, so that a template means the same here."""

    code_generator_class = _Generator
    intercepted_binops = frozenset({"*", "**", "+", "%"})

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        _judge(tree)
        for loop in list(tree.find_all(nodes.For)):
            loop.iter = nodes.Filter(loop.iter, _COUNTED, [], [], None, None, lineno=loop.lineno)
        return tree

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return not (isinstance(obj, str) and attr in _GROWING) and super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> None:
        """`format` pads a text to any width: it is refused like the others that grow."""

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        _budget.get().spend()
        owner, name = getattr(__obj, "__self__", None), getattr(__obj, "__name__", "")
        if isinstance(owner, str) and name in ("replace", "join"):
            return _replaced(owner, *args) if name == "replace" else _with_between(owner, *args)
        return super().call(__context, __obj, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "%" and isinstance(left, str):
            raise TemplateRefused("it formats a text with %")
        if operator == "+" and isinstance(left, str | list | tuple) and hasattr(right, "__len__"):
            _budget.get().grow(len(left) + len(right))
        elif operator == "*":
            for one, other in ((left, right), (right, left)):
                if isinstance(one, str | list | tuple) and isinstance(other, int):
                    _budget.get().grow(len(one) * other)
        if operator in ("*", "**") and isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length() * (right if operator == "**" else 1) + right.bit_length()
            if bits > BITS:
                raise TemplateRefused(f"it counts with numbers of more than {BITS} bits")
        return super().call_binop(context, operator, left, right)


@lru_cache(maxsize=1)
def _environment() -> _Environment:
    made = _Environment(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])
    for name in _GONE:
        del made.filters[name]
    made.filters |= {
        _COUNTED: _each, "tojson": _json, "join": _joined, "replace": _replaced, "indent": _indented(made.filters["indent"]),
    }  # fmt: skip
    namespace = made.globals["namespace"]
    made.globals = {
        "namespace": namespace,
        "dict": _dict,
        "range": _range,
        "raise_exception": _raise,
        "strftime_now": lambda form: datetime.now().strftime(str(form)[:100]),
    }
    made.concat = _text  # type: ignore[method-assign]
    return made


def _judge(tree: nodes.Template) -> None:
    """Raise TemplateRefused for what can be seen without running it."""
    kinds = (nodes.Getattr, nodes.Getitem, nodes.Name, nodes.For, nodes.Filter, *_FILES)
    for node in tree.find_all(kinds):
        name: Any = ""
        if isinstance(node, nodes.Getattr):
            name = node.attr
        elif isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
            name = node.arg.value
        elif isinstance(node, nodes.Name) and node.name.startswith("__"):
            name = node.name
        if isinstance(name, str) and name.startswith("_"):
            raise TemplateRefused(
                f"it reaches for {name[:60]} in line {node.lineno}, which no template needs"
            )
        if isinstance(node, _FILES):
            raise TemplateRefused(f"it loads another template in line {node.lineno}")
        if isinstance(node, nodes.For) and node.recursive:
            raise TemplateRefused(f"it has a loop that calls itself in line {node.lineno}")
        if isinstance(node, nodes.Filter) and node.name in _GONE:
            raise TemplateRefused(
                f"it uses the filter {node.name} in line {node.lineno}, which is not taken here"
            )


def _each(items: Iterable[Any]) -> Iterator[Any]:
    budget = _budget.get()
    for item in items:
        budget.spend()
        yield item


def _text(pieces: Iterable[str]) -> str:
    budget, kept, size = _budget.get(), [], 0
    for piece in pieces:
        size += len(piece)
        if size > budget.longest:
            break
        kept.append(piece)
    budget.grow(size)
    return "".join(kept)


def _with_between(between: str, items: Iterable[Any]) -> str:
    return _text(part for at, item in enumerate(items) for part in ((between, item) if at else (item,)))


def _joined(items: Iterable[Any], d: str = "", attribute: str | int | None = None) -> str:
    if attribute is not None:
        raise TemplateRefused("it joins attributes; use map first")
    return _with_between(str(d), map(str, items))


def _replaced(text: Any, old: str, new: str, count: int | None = None) -> str:
    whole, old, new = str(text), str(old), str(new)
    _budget.get().grow(len(whole) + (whole.count(old) + 1) * max(len(new) - len(old), 0))
    return whole.replace(old, new, -1 if count is None else count)


def _indented(usual: Callable[..., str]) -> Callable[..., str]:
    def indent(s: str, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
        if (len(width) if isinstance(width, str) else width) > WIDEST:
            raise TemplateRefused(f"it indents by more than {WIDEST}")
        return str(usual(s, width, first, blank))

    return indent


def _json(
    value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None, sort_keys: bool = False
) -> str:  # fmt: skip
    if indent is not None and (not isinstance(indent, int) or indent > WIDEST):
        raise TemplateRefused(f"it indents by more than {WIDEST}")
    made = json.JSONEncoder(
        ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )
    return _text(_each(made.iterencode(value)))


def _range(*bounds: int) -> range:
    found = range(*bounds)
    if len(found) > STEPS:
        raise TemplateRefused(f"it asks for a range of more than {STEPS}")
    _budget.get().spend(len(found))
    return found


def _dict(*pairs: Any, **members: Any) -> dict[str, Any]:
    return dict(*pairs, **members)


def _raise(message: str) -> None:
    raise TemplateError(message)
