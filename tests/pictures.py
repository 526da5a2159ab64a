"""Image models of a few thousand random weights, made on the spot: a painter, and two that read images.

python -m tests.pictures FOLDER makes FOLDER/painter (a Stable Diffusion pipeline), FOLDER/captioner (sees, asks
nothing) and FOLDER/looker (sees and is asked, by a chat template). In a process of its own: it needs torch.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

here = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("torch", "transformers", "diffusers", "PIL")),
    reason="needs the extra images: pip install -e '.[images]'",
)


def made(temporary: pytest.TempPathFactory) -> Path:
    """The folder with the models, made once for the whole run."""
    folder = temporary.getbasetemp() / "pictures"
    if folder.is_dir():
        return folder
    done = subprocess.run(
        [sys.executable, "-m", "tests.pictures", str(folder)],
        capture_output=True,
        text=True,
        timeout=240,
        cwd=Path(__file__).parents[1],
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def _bytes() -> list[str]:
    """The 256 letters by which byte-level tokenizers write bytes."""
    from tokenizers.pre_tokenizers import ByteLevel

    return sorted(ByteLevel.alphabet())


def painter(folder: Path) -> None:
    """Text in, pixels out: every part of Stable Diffusion, none wider than 32."""
    from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    letters = _bytes()
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(
        vocab={word: number for number, word in enumerate(words)}, merges=[], model_max_length=77
    )
    end = len(words) - 1
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(words), hidden_size=16, intermediate_size=32, num_hidden_layers=1,
            num_attention_heads=2, projection_dim=16, bos_token_id=end - 1, eos_token_id=end, pad_token_id=end,
        )
    )  # fmt: skip
    unet = UNet2DConditionModel(
        sample_size=8, block_out_channels=(8, 16, 16), layers_per_block=1, cross_attention_dim=16,
        attention_head_dim=8, norm_num_groups=4,
        down_block_types=("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(4, 4, 4, 4), layers_per_block=1, norm_num_groups=2, sample_size=64,
        mid_block_add_attention=False,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    )  # fmt: skip
    StableDiffusionPipeline(
        vae=vae, text_encoder=text, tokenizer=tokenizer, unet=unet,
        scheduler=PNDMScheduler(skip_prk_steps=True, beta_schedule="scaled_linear", steps_offset=1),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    ).save_pretrained(folder, safe_serialization=True)  # fmt: skip


def captioner(folder: Path) -> None:
    """A ViT that looks, and a GPT-2 that says something about it."""
    from transformers import (
        GPT2Config,
        GPT2Tokenizer,
        VisionEncoderDecoderConfig,
        VisionEncoderDecoderModel,
        ViTConfig,
        ViTImageProcessorPil,
    )

    letters = [*_bytes(), "<|endoftext|>"]
    end = len(letters) - 1
    sees = ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8,
        initializer_range=0.5,  # wide enough that what is seen decides what is said
    )  # fmt: skip
    says = GPT2Config(
        vocab_size=len(letters), n_positions=64, n_embd=16, n_layer=1, n_head=2, bos_token_id=end, eos_token_id=end,
        initializer_range=0.5,
    )  # fmt: skip
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(sees, says)
    config.decoder_start_token_id = config.pad_token_id = config.eos_token_id = end
    model = VisionEncoderDecoderModel(config)
    model.generation_config.decoder_start_token_id = model.generation_config.pad_token_id = end
    model.generation_config.eos_token_id = end
    model.save_pretrained(folder)
    GPT2Tokenizer(vocab={one: number for number, one in enumerate(letters)}, merges=[]).save_pretrained(
        folder
    )
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)


TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


def looker(folder: Path) -> None:
    """LLaVA: a CLIP that looks, and a Llama that is asked about it."""
    from transformers import (
        CLIPImageProcessorPil,
        CLIPVisionConfig,
        GPT2Tokenizer,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    letters = [*_bytes(), "<|endoftext|>", "<image>"]
    end = len(letters) - 2
    tokenizer = GPT2Tokenizer(vocab={one: number for number, one in enumerate(letters)}, merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    sees = CLIPVisionConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8,
        initializer_range=0.5,  # wide enough that what is seen decides what is said
    )  # fmt: skip
    says = LlamaConfig(
        vocab_size=len(letters), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=256, bos_token_id=end, eos_token_id=end, pad_token_id=end, initializer_range=0.5,
    )  # fmt: skip
    config = LlavaConfig(vision_config=sees, text_config=says, image_token_index=end + 1, image_seq_length=16)
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    LlavaProcessor(
        CLIPImageProcessorPil(
            size={"height": 32, "width": 32}, crop_size={"height": 32, "width": 32}, do_center_crop=True
        ),
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    ).save_pretrained(folder)


def main(folder: Path) -> None:
    import torch

    for make in (painter, captioner, looker):
        torch.manual_seed(7)
        make(folder / make.__name__)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
