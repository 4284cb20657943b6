"""A training script as they are written for diffusers. One line says which diffusion it is: `noise_scheduler = ...`.

    python docs/examples/train_unconditional.py                        the digit scans, minutes on one CPU core
    accelerate launch docs/examples/train_unconditional.py --data PHOTOS --resolution 64 --mixed-precision bf16

Everything else is what it would be with diffusers' DDPMScheduler, which fits into that line too. docs/diffusers.md has the
line for each family. Needs the extra for training: pip install "softdiff-ext[train]".
"""

import argparse
import math
from pathlib import Path

import diffusers
import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.utils import set_seed
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

from softdiff_ext.integrations import diffusers as softdiff
from softdiff_ext.training.data import load_images


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train an unconditional diffusion model.")
    parser.add_argument("--data", type=Path, help="folder of images; the digit scans of this package where not given")
    parser.add_argument("--resolution", type=int, default=32, help="images of the folder are resized to this side")
    parser.add_argument("--output", type=Path, default=Path("out/examples/unconditional"))
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--max-steps", type=int, default=1500)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--warmup-steps", type=int, default=50)
    parser.add_argument("--channels", type=int, nargs="+", default=[32, 64], help="of each level of the network")
    parser.add_argument("--ema-decay", type=float, default=0.995, help="0 turns the averaged weights off")
    parser.add_argument("--mixed-precision", choices=("no", "fp16", "bf16"), default="no")
    parser.add_argument("--gradient-accumulation-steps", type=int, default=1)
    parser.add_argument("--sample-count", type=int, default=16)
    parser.add_argument("--sample-steps", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def read_folder(folder: Path, side: int) -> torch.Tensor:
    """Images as [N, 3, side, side] in [-1, 1]."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp"))
    if not paths:
        raise SystemExit(f"--data: {folder} holds no images")
    images = [np.asarray(Image.open(path).convert("RGB").resize((side, side), Image.Resampling.LANCZOS)) for path in paths]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 127.5 - 1.0


def save_sheet(images: list[Image.Image], path: Path) -> None:
    """Images in rows, four times as large, with a line between them."""
    columns, (width, height) = math.ceil(math.sqrt(len(images))), images[0].size
    rows = math.ceil(len(images) / columns)
    sheet = Image.new("RGB", (columns * (width + 1) + 1, rows * (height + 1) + 1), (90, 90, 90))
    for index, image in enumerate(images):
        sheet.paste(image, (index % columns * (width + 1) + 1, index // columns * (height + 1) + 1))
    sheet.resize((4 * sheet.width, 4 * sheet.height), Image.Resampling.NEAREST).save(path)


def main() -> None:
    args = parse_arguments()
    accelerator = Accelerator(
        mixed_precision=args.mixed_precision, gradient_accumulation_steps=args.gradient_accumulation_steps
    )
    set_seed(args.seed, device_specific=True)  # each process its own noise

    if args.data is None:
        scans, _ = load_images("digits")
        images = scans.floats(torch.arange(len(scans)))
    else:
        images = read_folder(args.data, args.resolution)
    if len(images) < args.batch_size:
        raise SystemExit(f"--batch-size: must be at most the number of images = {len(images)}, got {args.batch_size}")
    loader = DataLoader(TensorDataset(images), batch_size=args.batch_size, shuffle=True, drop_last=True)

    levels = len(args.channels)
    model = diffusers.UNet2DModel(
        sample_size=tuple(images.shape[-2:]),
        in_channels=images.shape[1],
        out_channels=images.shape[1],
        block_out_channels=tuple(args.channels),
        layers_per_block=1,
        down_block_types=("DownBlock2D",) * levels,
        up_block_types=("UpBlock2D",) * levels,
        norm_num_groups=8,
    )
    # The one line. Before: diffusers.DDPMScheduler(num_train_timesteps=1000, prediction_type="v_prediction")
    noise_scheduler = softdiff.BlurringDiffusionScheduler(sigma_blur_max=3.0, prediction_type="v_prediction")

    ema = EMAModel(model.parameters(), decay=args.ema_decay, use_ema_warmup=True, power=0.75) if args.ema_decay else None
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.learning_rate, betas=(0.95, 0.999), weight_decay=1e-6)
    lr_scheduler = get_scheduler(
        "cosine", optimizer, num_warmup_steps=args.warmup_steps, num_training_steps=max(args.max_steps, args.warmup_steps + 1)
    )
    model, optimizer, loader, lr_scheduler = accelerator.prepare(model, optimizer, loader, lr_scheduler)
    if ema:
        ema.to(accelerator.device)

    done, losses = 0, []
    while done < args.max_steps:
        for (clean,) in loader:
            noise = torch.randn_like(clean)
            count = noise_scheduler.config.num_train_timesteps
            timesteps = torch.randint(count, (len(clean),), device=clean.device)
            noisy = noise_scheduler.add_noise(clean, noise, timesteps)
            with accelerator.accumulate(model):
                output = model(noisy, timesteps).sample
                match noise_scheduler.config.prediction_type:
                    case "epsilon":
                        target = noise
                    case "sample":
                        target = clean
                    case "v_prediction":
                        target = noise_scheduler.get_velocity(clean, noise, timesteps)
                    case other:
                        raise ValueError(f"prediction_type {other} is not one that this script trains")
                loss = F.mse_loss(output.float(), target.float())
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                lr_scheduler.step()
                optimizer.zero_grad()
            if not accelerator.sync_gradients:
                continue
            if ema:
                ema.step(model.parameters())
            losses.append(loss.detach())
            done += 1
            if done % 100 == 0 or done == args.max_steps:
                mean = float(accelerator.reduce(torch.stack(losses).mean(), "mean"))
                accelerator.print(f"step {done}: loss {mean:.4f}")
                losses.clear()
            if done == args.max_steps:
                break

    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        network = accelerator.unwrap_model(model)
        if ema:
            ema.copy_to(network.parameters())
        pipeline = softdiff.SoftdiffPipeline(unet=network.eval(), scheduler=noise_scheduler)
        pipeline.save_pretrained(args.output)
        draws = torch.Generator().manual_seed(args.seed)
        save_sheet(pipeline(args.sample_count, draws, args.sample_steps, output_type="pil").images, args.output / "samples.png")
        print(f"pipeline and samples.png in {args.output}")
    accelerator.end_training()


if __name__ == "__main__":
    main()
