"""The conversation on a terminal: lines in, answers out, commands that begin with a slash."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from rich.console import Console

from qianfan.errors import QianfanError
from qianfan.resources import ChatCompletion

from . import failures
from .answer import receive, shower
from .conversation import Conversation
from .history import line_editing

HELP: Final = """\
/model [NAME]    who answers: a model by name, or a service of your own
/system [TEXT]   what the model is to keep in mind; without a text, forget it
/clear           forget the conversation
/save [FILE]     write the conversation: .json for programs, else Markdown
/help            this
/quit            leave, as Ctrl-D does
Ctrl-C stops an answer. A line that ends with \\ goes on in the next one. //text sends /text."""
COMMANDS: Final = ("/model", "/system", "/clear", "/save", "/help", "/quit")


@dataclass
class Repl:
    """Reads lines until it is told to leave."""

    conversation: Conversation
    streamed: bool = True
    keep_history: bool = True
    console: Console = field(default_factory=Console)

    def run(self) -> None:
        """Talk until /quit or the end of the input."""
        self._say(f"{self.conversation.answering} · /help tells the commands, Ctrl-D leaves")
        with asyncio.Runner() as runner, line_editing(self._complete, self.keep_history):
            while True:
                try:
                    line = self._read()
                except KeyboardInterrupt:
                    self._say("\nCtrl-D or /quit leaves")
                    continue
                except EOFError:
                    print()
                    return
                if line.startswith("/") and not line.startswith("//"):
                    if not self._obey(line):
                        return
                elif line.strip():
                    self._ask(runner, line.removeprefix("/") if line.startswith("//") else line)

    def _read(self) -> str:
        lines = [input("> ")]
        while lines[-1].endswith("\\"):
            lines[-1] = lines[-1][:-1]
            lines.append(input("... "))
        return "\n".join(lines).strip()

    def _ask(self, runner: asyncio.Runner, text: str) -> None:
        talk = self.conversation
        talk.asked(text)
        try:
            answer = receive(
                runner,
                lambda: talk.ask(self.streamed),
                shower(json=False, streamed=self.streamed),
                may_stop=True,
            )
        except QianfanError as error:
            talk.answered("")
            self.console.print(f"qianfan: {failures.text_of(error)}", style="red", markup=False)
            return
        talk.answered(answer.text)
        if not answer.text.strip() and not answer.stopped:
            self._say("the model said nothing; your line is not kept")
        self._say(answer.summary())

    def _obey(self, line: str) -> bool:
        """Do what a command says; False: leave."""
        name, _, rest = line.partition(" ")
        rest = rest.strip()
        talk = self.conversation
        if name in ("/quit", "/exit"):
            return False
        if name == "/help":
            self._say(HELP)
        elif name == "/clear":
            talk.turns.clear()
            self._say("forgotten")
        elif name == "/model":
            if rest:
                talk.model, talk.endpoint = rest, None
            self._say(f"{talk.answering} answers")
        elif name == "/system":
            talk.system = rest
            self._say(f"system: {rest}" if rest else "no system text")
        elif name == "/save":
            self._save(rest)
        else:
            self._say(f"there is no command {name}\n{HELP}")
        return True

    def _save(self, name: str) -> None:
        path = Path(name or time.strftime("chat-%Y%m%d-%H%M%S.md")).expanduser()
        try:
            self.conversation.save(path)
        except OSError as error:
            self._say(f"not saved: {failures.text_of(error)}")
        else:
            self._say(f"saved {len(self.conversation.turns)} turns in {path}")

    def _say(self, text: str) -> None:
        self.console.print(text, style="dim", markup=False, highlight=False)

    @staticmethod
    def _complete(text: str) -> list[str]:
        words = COMMANDS if text.startswith("/") else sorted(ChatCompletion.table())
        return [word for word in words if text and word.lower().startswith(text.lower())]
