"""Text to image with a pipeline of diffusers. Lives in the child process only."""

from __future__ import annotations

import inspect
import io
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import diffusers
import torch

from .work import Refused, Work

STEPS: Final = 20  # as documented
KARRAS: Final = {"use_karras_sigmas": True}
SDE: Final = {"algorithm_type": "sde-dpmsolver++"}
# The documented names, as diffusers spells them.
SAMPLERS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "Euler": ("EulerDiscreteScheduler", {}),
    "Euler a": ("EulerAncestralDiscreteScheduler", {}),
    "DPM++ 2M": ("DPMSolverMultistepScheduler", {}),
    "DPM++ 2M Karras": ("DPMSolverMultistepScheduler", KARRAS),
    "DPM++ 2M SDE": ("DPMSolverMultistepScheduler", SDE),
    "DPM++ 2M SDE Karras": ("DPMSolverMultistepScheduler", {**SDE, **KARRAS}),
    "DPM++ SDE": ("DPMSolverSinglestepScheduler", {}),
    "DPM++ SDE Karras": ("DPMSolverSinglestepScheduler", KARRAS),
    "DPM2": ("KDPM2DiscreteScheduler", {}),
    "DPM2 Karras": ("KDPM2DiscreteScheduler", KARRAS),
    "DPM2 a": ("KDPM2AncestralDiscreteScheduler", {}),
    "DPM2 a Karras": ("KDPM2AncestralDiscreteScheduler", KARRAS),
    "Heun": ("HeunDiscreteScheduler", {}),
    "DDIM": ("DDIMScheduler", {}),
    "PLMS": ("PNDMScheduler", {"skip_prk_steps": True}),
    "LMS": ("LMSDiscreteScheduler", {}),
    "LMS Karras": ("LMSDiscreteScheduler", KARRAS),
}


class Painter:
    """A pipeline, on the GPU in 16 bits where there is one, else on the processor in 32."""

    def __init__(self, folder: Path) -> None:
        cuda = torch.cuda.is_available()
        self.device = "cuda" if cuda else "cpu"
        pipelines: Any = diffusers.AutoPipelineForText2Image  # its methods have no types
        self._pipeline = pipelines.from_pretrained(
            folder,
            dtype=torch.float16 if cuda else torch.float32,
            use_safetensors=True,
            local_files_only=True,
        ).to(self.device)
        self._pipeline.set_progress_bar_config(disable=True)
        self._own = self._pipeline.scheduler
        self._takes = set(inspect.signature(self._pipeline.__call__).parameters)

    def answer(self, ask: Mapping[str, Any], work: Work) -> tuple[dict[str, Any], list[bytes]]:
        """PNG files. The n-th has the seed plus n, so that it can be made again alone."""
        width, height = ask["size"]
        unit = max(8, int(getattr(self._pipeline, "vae_scale_factor", 8)))
        if width % unit or height % unit:
            raise Refused(f"size is {width}x{height}; both must be multiples of {unit}")
        self._pipeline.scheduler = self._sampler(ask["sampler"])
        seed = ask["seed"] if ask["seed"] is not None else secrets.randbelow(2**32)
        wish = self._wish(ask)

        def step(_: Any, number: int, time: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            work.step()
            return tensors

        if "callback_on_step_end" in self._takes:
            wish["callback_on_step_end"] = step
        images = []
        for number in range(ask["count"]):
            work.step()
            noise = torch.Generator("cpu").manual_seed(seed + number)
            with torch.inference_mode():
                made = self._pipeline(**wish, generator=noise)
            if any(getattr(made, "nsfw_content_detected", None) or ()):
                raise Refused("the model's own safety checker withheld the image; ask for another one")
            file = io.BytesIO()
            made.images[0].save(file, "PNG")
            images.append(file.getvalue())
        return {"seed": seed}, images

    def _wish(self, ask: Mapping[str, Any]) -> dict[str, Any]:
        """The request in the pipeline's words. A style is said at the end of the prompt."""
        style = ask["style"]
        prompt = ask["prompt"] if style in (None, "Base") else f"{ask['prompt']}, {style} style"
        wish: dict[str, Any] = {
            "prompt": prompt,
            "width": ask["size"][0],
            "height": ask["size"][1],
            "num_inference_steps": ask["steps"] or STEPS,
        }
        if ask["negative_prompt"]:
            wish["negative_prompt"] = ask["negative_prompt"]
        if ask["guidance"] is not None:
            wish["guidance_scale"] = ask["guidance"]
        unknown = sorted(set(wish) - self._takes)
        if unknown:
            raise Refused(f"this model takes no {' and no '.join(unknown)}; leave it out")
        return wish

    def _sampler(self, name: str | None) -> Any:
        """The scheduler of a documented name, set up as the model's own is."""
        if name is None:
            return self._own
        fitting = {*self._own._compatibles, type(self._own).__name__}
        known = [one for one, (scheduler, _) in SAMPLERS.items() if scheduler in fitting and _here(scheduler)]
        if name not in known:
            raise Refused(
                f"this model cannot sample by {name!r}; "
                + (
                    f"it knows: {', '.join(known)}"
                    if known
                    else "it has one sampler of its own, so name none"
                )
            )
        scheduler, more = SAMPLERS[name]
        return getattr(diffusers, scheduler).from_config(self._own.config, **more)


def _here(scheduler: str) -> bool:
    """False for one whose own library is not installed."""
    return "dummy" not in getattr(diffusers, scheduler).__module__
