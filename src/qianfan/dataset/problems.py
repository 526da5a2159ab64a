"""All rows of a dataset against a template: the first problems by line, and how many there are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from qianfan.contract.enums import DataTemplateType
from qianfan.dataset.formats import FormatError
from qianfan.dataset.schemas import Problem, check_row, is_annotated
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


def check_rows(
    numbered: Iterable[tuple[int, Any]],
    template: DataTemplateType,
    source: str,
    *,
    only_annotated: bool = False,
) -> bool:
    """Check every `(line, row)`. Returns whether all are annotated.

    only_annotated: a row without answers is a problem. Raises ValidationError for problems and for no rows."""
    problems: list[Problem] = []
    count = rows = 0
    all_annotated = True
    for line, row in numbered:
        rows += 1
        problem = check_row(row, template, line, source)
        annotated = problem is None and is_annotated(row)
        if problem is None and only_annotated and not annotated:
            fix = 'add response to every turn: [["…"]]; training needs answers'
            problem = Problem(line, "the conversation has no answer", fix, source=source)
        all_annotated = all_annotated and annotated
        if problem is not None:
            count += 1
            if len(problems) < SHOWN_PROBLEMS:
                problems.append(problem)
    if problems:
        raise InvalidRows(problems, count, rows, template)
    if not rows:
        raise ValidationError(f"the dataset {source or 'given'} has no records", advice="add some")
    return all_annotated
