"""All rows of a dataset against a template: the first problems by line, and how many there are."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import replace
from typing import Any, Final

from qianfan.contract.enums import DataTemplateType
from qianfan.dataset.formats import FormatError
from qianfan.dataset.schemas import Problem, check_row, is_annotated, is_plain
from qianfan.errors import ValidationError

SHOWN_PROBLEMS: Final = 20


class DatasetFormatError(FormatError, ValidationError):
    """A file of a dataset cannot be read; `problem` says where."""

    def __init__(self, problem: Problem) -> None:
        ValidationError.__init__(self, str(problem))
        self.problem = problem


class InvalidRows(ValidationError):
    """Rows that do not fit their template. problems: the first 20. count: how many rows have one."""

    def __init__(self, problems: list[Problem], count: int, rows: int, template: DataTemplateType) -> None:
        self.problems, self.count = problems, count
        more = f"\n… and {count - len(problems)} more" if count > len(problems) else ""
        listed = "\n".join(map(str, problems))
        super().__init__(
            f"{count} of {rows} records do not fit the template {template.name}:\n{listed}{more}"
        )


Place = Callable[[int], tuple[str, int]]


def checked(
    numbered: Iterable[tuple[int, Any]],
    template: DataTemplateType,
    place: Place,
    shaped: Callable[[Any], Any],
    *,
    only_annotated: bool = False,
) -> Generator[tuple[int, Any], None, bool]:
    """Give every `(line, row)` on as it is while it is checked. Returns whether all are annotated.

    place: the file and the line in it of a row's number. shaped: a row as the platform takes it.
    only_annotated: a row without answers is a problem. Raises ValidationError for problems, after the last row,
    and for no rows at all."""
    problems: list[Problem] = []
    count = rows = 0
    all_annotated = True
    usual = template is DataTemplateType.NonSortedConversation
    for item in numbered:
        rows += 1
        if not (usual and is_plain(item[1])):
            row = shaped(item[1])
            annotated, problem = is_annotated(row), check_row(row, template, item[0])
            if problem is None and only_annotated and not annotated:
                fix = 'add response to every turn: [["…"]]; training needs answers'
                problem = Problem(item[0], "the conversation has no answer", fix)
            all_annotated = all_annotated and annotated
            if problem is not None:
                count += 1
                if len(problems) < SHOWN_PROBLEMS:
                    source, line = place(item[0])
                    problems.append(replace(problem, source=source, line=line))
        yield item
    if problems:
        raise InvalidRows(problems, count, rows, template)
    if not rows:
        raise ValidationError(f"the dataset {place(0)[0] or 'given'} has no records", advice="add some")
    return all_annotated


def exhausted(steps: Generator[Any, None, bool]) -> bool:
    """What a generator returns when it is run to its end."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return bool(end.value)
