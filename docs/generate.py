"""Write the tables of docs/reference from the code. `--check` only says whether they are as the code is.

python docs/generate.py [--check]
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from qianfan import config
from qianfan.contract import errors, lifecycle, models, routes, train_types
from qianfan.dataset.operators import CATALOGUE, STAGES, Operator, Pipeline
from qianfan_platform.app import ROUTERS

REFERENCE = Path(__file__).parent / "reference"
HOT = {"TOKEN", "BEARER_TOKEN", "V2_CHAT", "V2_EMBEDDINGS", "V2_RERANKERS", "V2_IMAGES", "V2_MODELS"} | {
    "EB_PLUGIN",
    "EB_PLUGIN_V2",
    "TOKENIZER",
}  # served before the console
KINDS = ("chat", "completions", "embeddings", "reranker", "text2image", "image2text", "plugin")
MODELS = {
    "Chat models": "chat",
    "Completion models": "completions",
    "Embedding models": "embeddings",
    "Rerankers": "reranker",
    "Models that draw": "text2image",
    "Models that see": "image2text",
}
MADE = "<!-- made by docs/generate.py: change the code, then run `make docs` -->\n\n"


def routes_page() -> str:
    built = {entry.route for router in ROUTERS for entry in router.entries}
    raw = {raw.path for router in ROUTERS for raw in router.raws}
    lines = [
        "# Routes\n",
        "Documented routes, and whether the platform answers them today. One that is not built answers the",
        "documented error of its family, code 500006 or `NotImplemented`, naming the route.\n",
        "| name | route | built |",
        "| --- | --- | --- |",
    ]
    for name, route in vars(routes).items():
        if isinstance(route, routes.Route):
            there = route in built or name in HOT or route.path in raw
            shown = f"{route.path}?Action={route.action}" if route.action else route.path
            lines.append(f"| `{name}` | `{route.method} {shown}` | {'yes' if there else 'not yet'} |")
    prefix = routes.INFERENCE_PREFIX
    lines += [
        *(f"| {kind} | `POST {prefix}/{kind}/<endpoint>` | yes |" for kind in KINDS),
        "",
        "Besides: `GET /health`, `GET /readyz`, `GET /metrics`, `GET /openapi.json`, and `GET /v2/files/<id>` for",
        "links that export records give.",
    ]
    return "\n".join(lines) + "\n"


def errors_page() -> str:
    lines = [
        "# Errors\n",
        "| code | V2 code | HTTP on V2 | meaning | what to do | 怎么办 |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for code, row in sorted(errors.ROWS.items()):
        lines.append(f"| {code} | `{row.v2}` | {row.status} | {row.text} | {row.advice} | {row.advice_zh} |")
    return "\n".join(lines) + "\n"


def states_page() -> str:
    lines = ["# States\n", "What may become what. The store enforces these tables.\n"]
    for one in lifecycle.ALL:
        lines += [f"## {one.noun}\n", f"Begins as `{one.start.name}`.\n", "| from | to |", "| --- | --- |"]
        for state, after in one.moves.items():
            names = ", ".join(f"`{to.name}`" for to in type(one.start) if to in after)
            lines.append(f"| `{state.name}` | {names or 'nothing: final'} |")
        lines.append("")
    return "\n".join(lines)


def settings_page() -> str:
    lines = [
        "# Settings\n",
        "Each is `QIANFAN_<name>` in the environment or in `.env`, and an attribute of `qianfan.get_config()`.",
        "Arguments of a call go before attributes, those before the environment, that before `.env`.\n",
        "| name | kind | default |",
        "| --- | --- | --- |",
    ]
    for name, (kind, default) in config.SETTINGS.items():
        lines.append(f"| `{name}` | {kind} | {'' if default in (None, '') else f'`{default}`'} |")
    lines += [
        "",
        "Taken, and without effect here: "
        + ", ".join(f"`{name}`" for name in sorted(config.WITHOUT_EFFECT))
        + ".",
    ]
    lines += [
        "",
        "`QPS_LIMIT`, `RPM_LIMIT` and `TPM_LIMIT` hold for all calls of the process with the same credentials, the",
        "arguments `query_per_second`, `request_per_minute` and `token_per_minute` for one object; calls are spread",
        "evenly and wait in the order in which they came. Tokens are estimated before a call and counted after it.",
        "What a server tells in `X-Ratelimit-Limit-Requests` and `-Tokens` (a minute) is kept to where there is a",
        "limit, and where it has refused a call. With `REDIS_RATE_LIMITER` all processes that use `REDIS_URL` share",
        "the limits (`pip install 'open-qianfan[redis]'`).",
        "",
        "A retry that burdens a server in trouble (no connection, no answer, 5xx, high load) is taken from a budget:",
        "each call to that server earns `RETRY_BUDGET` of one, and `RETRY_BUDGET_FLOOR` a minute are there without.",
        "Answers that only ask to go slower need no budget. With `RETRY_BUDGET` 1 only `retry_count` counts.",
        "",
        "`LANG` is the language of the advice in errors: `en`, `zh`, or `auto` for the locale's.",
    ]
    lines += [
        "",
        "The platform reads `QIANFAN_HOME` (folder of weights, shared by all data folders),",
        "`QIANFAN_SECRET_KEY_FILE` (key that seals stored secrets) and `QIANFAN_LOG_LEVEL`; `qianfan chat` reads",
        "`QIANFAN_CHAT_HISTORY` (0: remember no lines).",
    ]
    return "\n".join(lines) + "\n"


def names_page() -> str:
    lines = [
        "# Names\n",
        "## Train types\n",
        "| name | base | methods | defaults |",
        "| --- | --- | --- | --- |",
    ]
    for row in train_types.table().values():
        defaults = ", ".join(
            f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}"
            for key, value in row.defaults.items()
        )
        lines.append(f"| `{row.name}` | `{row.base}` | {', '.join(row.peft)} | {defaults} |")
    lines += [
        "",
        "P-tuning is known and refused: the engines cannot serve it yet.",
    ]
    for title, kind in MODELS.items():
        lines += ["", f"## {title}\n", "| name | endpoint |", "| --- | --- |"]
        lines += [f"| `{row.name}` | `{row.path}` |" for row in models.table(kind).values()]
    return "\n".join(lines) + "\n"


NEARLY = (
    "Please send the invoice for May to the address below.",
    "please send the invoice for May, to the address below!",
    "Where can I see the invoices of last year?",
)  # what deduplication is shown with
OTHER_THAN_DEFAULT = {"filter_check_number_words": {"number_words_min_cutoff": 2}}


def operators_page() -> str:
    lines = [
        "# Operators\n",
        "What cleans texts: the same functions in `Dataset.process()`, `qianfan dataset clean` and the cleaning tasks of",
        "the platform. They run by stage, in this order, whatever the order in which they are given. Before and after",
        "are what the operators really make of the example, with the default arguments unless others are named; of a",
        "filter the figure that it looked at is told as well. A row of several texts, such",
        "as a conversation, is cleaned text by text; a text that is dropped takes its row with it.\n",
        "Languages, perplexity and flagged words come from short lists and pages of our own that ship with the SDK;",
        "simplified Chinese is OpenCC's.",
    ]
    for stage in STAGES:
        lines += ["", f"## {stage}\n", "| name | does | before | after |", "| --- | --- | --- | --- |"]
        for one in CATALOGUE.values():
            if one.stage == stage:
                about = one.about.replace("<", "&lt;")
                lines.append(f"| `{one.name}` | {about} | {_before(one)} | {_after(one)} |")
        arguments = [(one, a) for one in CATALOGUE.values() if one.stage == stage for a in one.arguments]
        if arguments:
            lines += ["", "| argument | of | is | range | default |", "| --- | --- | --- | --- | --- |"]
            lines += [
                f"| `{a.name}` | `{one.name}` | {a.about} | {_plain(a.low)} to {_plain(a.high)} | {_plain(a.default)} |"
                for one, a in arguments
            ]
    return "\n".join(lines) + "\n"


def _before(one: Operator) -> str:
    return "<br>".join(map(_shown, NEARLY)) if one.stage == "deduplication" else _shown(one.before)


def _after(one: Operator) -> str:
    """What the operator makes of its example; of a filter also the figure that it looks at."""
    given = OTHER_THAN_DEFAULT.get(one.name, {})
    pipeline = Pipeline.of({one.stage: [{"name": one.name, "args": given}]})
    if one.stage == "deduplication":
        kept = [verdict.text for verdict in pipeline.run(NEARLY) if not verdict.dropped_by]
        return "<br>".join(map(_shown, kept))
    verdict = next(pipeline.run([one.before]))
    outcome = "dropped" if verdict.dropped_by else _shown(verdict.text)
    told = "".join(f", with `{name}` {_plain(value)}" for name, value in given.items())
    return f"{outcome}{told}" if one.figure is None else f"{outcome}: {_plain(one.figure(one.before))}{told}"


def _plain(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _shown(text: str) -> str:
    """A text as code, with what nobody can see written as \\u…."""
    seen = (mark if mark.isprintable() and mark != "\ufffd" else f"\\u{ord(mark):04x}" for mark in text)
    return f"`` {''.join(seen)} ``".replace("|", "\\|")


def pages() -> Iterator[tuple[Path, str]]:
    """Every generated page with its text."""
    for name, text in {
        "routes": routes_page(),
        "errors": errors_page(),
        "states": states_page(),
        "settings": settings_page(),
        "names": names_page(),
        "operators": operators_page(),
    }.items():
        yield REFERENCE / f"{name}.md", MADE + text


def main() -> int:
    drifted = []
    for path, text in pages():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            drifted.append(path.name)
            if "--check" not in sys.argv:
                path.write_text(text, encoding="utf-8")
    if "--check" in sys.argv and drifted:
        print(f"drifted: {', '.join(drifted)}; run `make docs`")
        return 1
    print(f"written: {', '.join(drifted)}" if drifted else "docs/reference is as the code is")
    return 0


if __name__ == "__main__":
    sys.exit(main())
