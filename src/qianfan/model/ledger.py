"""The ledger of a run: what became of every sample, and a look through one of them."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator
from typing import Any, Final

OUTCOMES: Final = ("kept", "truncated", "split", "dropped", "refused")
Page = Callable[[str | None, str | None], dict[str, Any]]  # marker, what → one page


class Ledger(dict[str, Any]):
    """How many samples there are, and what became of them: kept, truncated, split or dropped, which sum to
    `samples`; `trained_tokens`; `problems`, the first hundred with their reasons. Where the policy refuses a run for
    samples that are too long, those are `refused`.

    `entries()` are all of them, as the platform keeps them."""

    def __init__(self, counts: dict[str, Any], page: Page | None = None) -> None:
        super().__init__(counts)
        self._page = page

    def entries(self, what: str | None = None) -> Iterator[dict[str, Any]]:
        """Every sample: `sample`, `what`, `why`, `tokens`, `trainedTokens`, `heldOut`, and where it is from.

        what: only those that were kept, truncated, split, dropped or refused."""
        marker: str | None = None
        while self._page is not None:
            page = self._page(marker, what)
            yield from page.get("samples") or ()
            marker = (page.get("pageInfo") or {}).get("nextMarker")
            if not marker:
                return

    def __str__(self) -> str:
        counts = ", ".join(f"{self[what]} {what}" for what in OUTCOMES if self.get(what))
        lines = [f"{self.get('samples', 0)} samples: {counts or 'none'}"]
        if self.get("trained_tokens") is not None:
            lines.append(f"{self['trained_tokens']} tokens are learned, {self.get('tokens', '?')} are read")
        for problem in self.get("problems") or ():
            lines.append(f"sample {problem['sample']}: {problem['what']}: {problem['why']}")
        if self.get("problems_not_shown"):
            lines.append(f"and {self['problems_not_shown']} more")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        cells = "".join(f"<td>{self.get(what, 0)}</td>" for what in ("samples", *OUTCOMES))
        heads = "".join(f"<th>{what}</th>" for what in ("samples", *OUTCOMES))
        told = html.escape("\n".join(str(self).splitlines()[1:]))
        return f"<table><tr>{heads}</tr><tr>{cells}</tr></table><pre>{told}</pre>"


class Xray(dict[str, Any]):
    """One sample as the trainer reads it.

    `sequences`: each with `rendered`, the text that the chat template makes, and `tokens`, of which each has
    `id`, `text`, whether it is `trained`, and whether it is a control token (`special`), which its name in a text is
    not; of a preference the chosen answer and the rejected one.
    As text the learned parts stand between ⟦ and ⟧; a notebook colours them, and draws control tokens bold."""

    def __str__(self) -> str:
        texts = []
        for one in self["sequences"]:
            shown, inside = [], False
            for token in one["tokens"]:
                if token["trained"] != inside:
                    inside = token["trained"]
                    shown.append("⟦" if inside else "⟧")
                shown.append(token["text"])
            texts.append(self._title(one) + "".join(shown) + ("⟧" if inside else ""))
        return "\n".join([self._head(), *texts])

    def _repr_html_(self) -> str:
        rows = []
        for one in self["sequences"]:
            spans = "".join(
                f'<span title="{token["id"]}"{_style(token)}>{html.escape(token["text"])}</span>'
                for token in one["tokens"]
            )
            rows.append(f'{html.escape(self._title(one))}<pre style="white-space:pre-wrap">{spans}</pre>')
        return f"<p>{html.escape(self._head())}</p>{''.join(rows)}"

    def _title(self, one: dict[str, Any]) -> str:
        return f"{one.get('name')}:\n" if len(self["sequences"]) > 1 else ""

    def _head(self) -> str:
        tokens = [token for one in self["sequences"] for token in one["tokens"]]
        learned = sum(token["trained"] for token in tokens)
        what = ", ".join(str(self[name]) for name in ("what", "why") if self.get(name))
        return f"sample {self.get('sample', '?')}{': ' + what if what else ''}; {len(tokens)} tokens, {learned} learned"


def _style(token: dict[str, Any]) -> str:
    styles = (
        "background:#2ca02c33" if token["trained"] else "",
        "font-weight:bold" if token.get("special") else "",
    )
    told = ";".join(filter(None, styles))
    return f' style="{told}"' if told else ""
