"""Image to text with a model of Transformers: a captioner, or a vision-language model. In the child process only."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
import transformers
from PIL import Image, UnidentifiedImageError
from transformers import TextStreamer

from .work import Refused, TooLong, Work

hf: Any = transformers  # whose factories are typed too narrowly for their own use
FORMATS: Final = ("PNG", "JPEG", "BMP")
USUAL: Final = 256  # tokens of an answer, when nobody says how many


class Looker:
    """A model that reads images, on the GPU in 16 bits where there is one, else on the processor in 32."""

    def __init__(self, folder: Path, context: int) -> None:
        cuda = torch.cuda.is_available()
        self.device = "cuda" if cuda else "cpu"
        here: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        self._dtype = torch.float16 if cuda else torch.float32
        self._model = hf.AutoModelForImageTextToText.from_pretrained(
            folder, dtype=self._dtype, use_safetensors=True, **here
        )
        self._model.to(self.device).eval()
        self._captions = self._model.config.model_type == "vision-encoder-decoder"
        if self._captions:
            self._eye = hf.AutoImageProcessor.from_pretrained(folder, **here)
            self._tokenizer = hf.AutoTokenizer.from_pretrained(folder, **here)
        else:
            self._eye = hf.AutoProcessor.from_pretrained(folder, **here)
            self._tokenizer = self._eye.tokenizer
        reads = self._model.config.get_text_config(decoder=True)
        places: Any = getattr(reads, "max_position_embeddings", 0) or getattr(reads, "n_positions", context)
        self._context = min(context, int(places))

    def answer(self, ask: Mapping[str, Any], work: Work) -> tuple[dict[str, Any], list[bytes]]:
        """Pieces of text as they come, then why it ended and the tokens."""
        inputs = self._inputs(ask["messages"])
        prompt = int(inputs["input_ids"].shape[-1]) if "input_ids" in inputs else 0
        if prompt >= self._context:
            raise TooLong(prompt)
        sampling = ask["sampling"]
        limit = min(sampling["max_tokens"] or USUAL, self._context - max(prompt, 1))
        pieces = Pieces(self._tokenizer, work, tuple(sampling["stop"]))
        if sampling["seed"] is not None:
            torch.manual_seed(sampling["seed"])
        try:
            with torch.inference_mode():
                self._model.generate(
                    **inputs, **_how(sampling), max_new_tokens=limit, num_beams=1, streamer=pieces
                )
            stopped = False
        except _Said:
            stopped = True
        pieces.flush()
        cut = pieces.tokens >= limit and not stopped and not self._ends(pieces.last)
        end = {
            "finish_reason": "length" if cut else "stop",
            "prompt_tokens": prompt,
            "completion_tokens": pieces.tokens,
        }
        return end, []

    def _inputs(self, messages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """What the model reads: the chat template where there is one, else one image and the last question."""
        images, turns = _read(messages)
        asked = bool(getattr(self._eye, "chat_template", None))
        if not images and not asked:
            raise Refused("this model reads images; send one with the question")
        if self._captions:
            found = self._eye(images=_only(images), return_tensors="pt")
        elif asked:
            text = self._eye.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
            found = self._eye(images=images or None, text=text, return_tensors="pt")
        else:
            question = [part["text"] for part in turns[-1]["content"] if part["type"] == "text"]
            found = self._eye(images=_only(images), text=" ".join(question) or None, return_tensors="pt")
        return {
            name: value.to(self.device, self._dtype if value.is_floating_point() else value.dtype)
            for name, value in found.items()
        }

    def _ends(self, token: int | None) -> bool:
        ends = self._model.generation_config.eos_token_id
        return token is not None and token in (ends if isinstance(ends, list) else [ends])


class _Said(Exception):
    """A stop word came."""


class Pieces(TextStreamer):
    """Tells the text as it is made, but never a stop word, nor what may become one."""

    def __init__(self, tokenizer: Any, work: Work, stops: tuple[str, ...]) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self._work, self._stops, self._held = work, tuple(stop for stop in stops if stop), ""
        self._before = True
        self.tokens = 0
        self.last: int | None = None

    def put(self, value: Any) -> None:
        """Tokens of the prompt first, then one at a time."""
        if not self._before:
            self._work.step()
            self.tokens += 1
            self.last = int(value.flatten()[-1])
        self._before = False
        super().put(value)  # type: ignore[no-untyped-call]

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """A piece that will not change any more."""
        self._held += text
        found = [place for stop in self._stops if (place := self._held.find(stop)) >= 0]
        if found:
            self._held = self._held[: min(found)]
            raise _Said
        longest = max((len(stop) for stop in self._stops), default=1)
        keep = next((n for n in range(longest - 1, 0, -1) if self._may_stop(self._held[-n:])), 0)
        self._send(len(self._held) - keep)

    def flush(self) -> None:
        """Tell what was held back."""
        self._send(len(self._held))

    def _may_stop(self, end: str) -> bool:
        return any(stop.startswith(end) for stop in self._stops)

    def _send(self, length: int) -> None:
        if length > 0:
            self._work.text(self._held[:length])
            self._held = self._held[length:]


def _how(sampling: Mapping[str, Any]) -> dict[str, Any]:
    """The words of Transformers. Without a wish the likeliest token is taken."""
    for name in ("frequency_penalty", "presence_penalty"):
        if sampling[name]:
            raise Refused(f"this model takes no {name}; leave it out")
    how: dict[str, Any] = {"do_sample": any(sampling[name] for name in ("temperature", "top_p", "top_k"))}
    if sampling["temperature"] == 0:
        how["do_sample"] = False
    if how["do_sample"]:
        how |= {n: sampling[n] for n in ("temperature", "top_p", "top_k") if sampling[n] is not None}
    if sampling["penalty_score"] is not None:
        how["repetition_penalty"] = float(sampling["penalty_score"])
    if sampling["min_tokens"] is not None:
        how["min_new_tokens"] = sampling["min_tokens"]
    return how


def _read(messages: Sequence[Mapping[str, Any]]) -> tuple[list[Image.Image], list[dict[str, Any]]]:
    """The images of a conversation, and its turns with a mark where each of them stands."""
    images: list[Image.Image] = []
    turns = []
    for message in messages:
        content = message["content"]
        parts: list[dict[str, Any]] = []
        said: Any = [{"type": "text", "text": content}] if isinstance(content, str) else content
        for part in said:
            if part["type"] == "text":
                parts.append({"type": "text", "text": part["text"]})
            else:
                images.append(_image(part["image_url"]["url"]))
                parts.append({"type": "image"})
        turns.append({"role": message["role"], "content": parts})
    return images, turns


def _image(url: str) -> Image.Image:
    try:
        raw = base64.b64decode(url.partition(",")[2], validate=True)
        return Image.open(io.BytesIO(raw), formats=FORMATS).convert("RGB")
    except (binascii.Error, UnidentifiedImageError, OSError, ValueError, SyntaxError) as problem:
        raise Refused(f"the image cannot be read ({problem}); send one whole PNG, JPEG or BMP file") from None


def _only(images: list[Image.Image]) -> Image.Image:
    if len(images) > 1:
        raise Refused(f"this model reads one image at a time; {len(images)} were sent")
    return images[0]
