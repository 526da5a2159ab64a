"""Arithmetic that cannot do harm: numbers, + - * / // % **, brackets, and a few functions."""

from __future__ import annotations

import ast
import math
import operator
import re
import unicodedata
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from qianfan.contract.errors import PARAMETER, Fault

MAX_LENGTH: Final = 300  # characters of an expression
MAX_DIGITS: Final = 400  # of any number on the way
MAX_EXPONENT: Final = 2_000
MAX_DEPTH: Final = 40

Number = Fraction | float
_SIGNS: Final = str.maketrans("×✕·÷−–—【】[]", "***/---()()")
_BINARY: Final[dict[type[ast.operator], Callable[[Any, Any], Any]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_UNARY: Final[dict[type[ast.unaryop], Callable[[Any], Any]]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}
_FUNCTIONS: Final[dict[str, Any]] = {
    "sqrt": math.sqrt, "abs": abs, "round": round, "floor": math.floor, "ceil": math.ceil, "min": min,
    "max": max, "sin": math.sin, "cos": math.cos, "tan": math.tan, "log": math.log, "log10": math.log10,
    "log2": math.log2, "ln": math.log, "exp": math.exp,
}  # fmt: skip
_NAMES: Final = {"pi": math.pi, "e": math.e}


def calculate(expression: str) -> str:
    """The value as text: exact where it is a whole number or a short decimal, else 15 digits. Raises Fault.

    `^` is a power; `×`, `÷` and full-width signs are taken, and commas between groups of three digits."""
    text = (
        unicodedata.normalize("NFKC", expression[: MAX_LENGTH + 1])
        .strip()
        .rstrip("=?")
        .strip()
        .translate(_SIGNS)
    )
    if not text or len(text) > MAX_LENGTH:
        raise _cannot(f"an expression has 1 to {MAX_LENGTH} characters")
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text).replace("^", "**")
    try:
        tree = ast.parse(text, mode="eval")
        return _written(_value(tree.body, 0))
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        raise _cannot("it is not well formed, or has no real value") from None
    except ZeroDivisionError:
        raise _cannot("it divides by zero") from None
    except OverflowError:
        raise _cannot("the result is too large") from None


def _cannot(why: str) -> Fault:
    return Fault(PARAMETER, f"this cannot be calculated: {why}", "write it as in 12*(3+4)")


def _value(node: ast.expr, depth: int) -> Number:
    if depth > MAX_DEPTH:
        raise _cannot("it is nested too deeply")
    match node:
        case ast.Constant(value=bool() | complex()):
            raise ValueError
        case ast.Constant(value=int() | float() as number):
            return _bounded(Fraction(ast.unparse(node)) if math.isfinite(number) else number)
        case ast.Name(id=name) if name in _NAMES:
            return _NAMES[name]
        case ast.UnaryOp(op=sign, operand=inner) if type(sign) in _UNARY:
            return _bounded(_UNARY[type(sign)](_value(inner, depth + 1)))
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _power(_value(left, depth + 1), _value(right, depth + 1))
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _BINARY:
            return _bounded(_BINARY[type(sign)](_value(left, depth + 1), _value(right, depth + 1)))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
            found = _FUNCTIONS[name](*(_argument(name, _value(arg, depth + 1)) for arg in args))
            return _bounded(found if isinstance(found, float | Fraction) else Fraction(found))
    raise ValueError


def _argument(name: str, value: Number) -> Any:
    exact = name in ("abs", "round", "floor", "ceil", "min", "max")
    if name == "round" and isinstance(value, Fraction) and value.denominator == 1 and abs(value) < 100:
        return int(value)  # it may be the number of digits
    return value if exact else float(value)


def _power(base: Number, exponent: Number) -> Number:
    if not -MAX_EXPONENT <= exponent <= MAX_EXPONENT:
        raise _cannot(f"a power is at most {MAX_EXPONENT}")
    if isinstance(base, Fraction) and isinstance(exponent, Fraction) and exponent.denominator == 1:
        digits = max(len(str(abs(base.numerator))), len(str(base.denominator)))
        if digits * abs(exponent) > 4 * MAX_DIGITS:  # before it is worked out
            raise OverflowError
        return _bounded(base**exponent)
    found = float(base) ** float(exponent)
    if isinstance(found, complex):
        raise ValueError
    return _bounded(found)


def _bounded(value: Number) -> Number:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise OverflowError
        return value
    if value.numerator.bit_length() > MAX_DIGITS * 4 or value.denominator.bit_length() > MAX_DIGITS * 4:
        raise OverflowError
    return value


def _written(value: Number) -> str:
    if isinstance(value, Fraction):
        if value.denominator == 1:
            return str(value.numerator)
        rest = value.denominator
        for prime in (2, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1 and value.denominator < 10**12:  # a decimal that ends
            return format((Decimal(value.numerator) / Decimal(value.denominator)).normalize(), "f")
        value = float(value)
    return format(value, ".15g")
