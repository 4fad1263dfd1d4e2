"""The curves of a training, from the TensorBoard files it left: the loss, and PSNR and SSIM on the validation images.

    python -m benchmarks.curves OUTPUT_DIR picture.png
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

SMOOTHED = 50  # points of the loss that one point of its curve averages


def read_scalars(output_dir: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Iterations and values of each quantity; of one that was logged twice, by a resumed training, the later.

    Raises:
        FileNotFoundError: if the folder holds no TensorBoard files.
    """
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found: dict[str, dict[int, float]] = {}
    for folder in sorted(path.parent for path in (output_dir / "tensorboard").rglob("events.*")):
        events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
        events.Reload()
        for name in events.Tags()["scalars"]:
            found.setdefault(name, {}).update({event.step: event.value for event in events.Scalars(name)})
    if not found:
        raise FileNotFoundError(f"{output_dir / 'tensorboard'} holds no TensorBoard files.")
    ordered = {name: sorted(values.items()) for name, values in found.items()}
    return {name: (np.array([i for i, _ in v]), np.array([x for _, x in v])) for name, v in ordered.items()}


def draw(scalars: dict[str, tuple[np.ndarray, np.ndarray]], path: Path) -> None:
    """Three panels: loss, PSNR and SSIM beside their baselines."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, middle, right) = pyplot.subplots(1, 3, figsize=(13, 3.6), constrained_layout=True)
    iterations, loss = scalars["train_loss"]
    count = len(loss) // SMOOTHED * SMOOTHED
    left.semilogy(iterations, loss, color="0.8", linewidth=0.7)
    if count:
        left.semilogy(*(a[:count].reshape(-1, SMOOTHED).mean(axis=1) for a in (iterations, loss)))
    left.set(title="training loss", xlabel="iteration")
    for axes, name, title in ((middle, "psnr", "PSNR in dB, validation"), (right, "ssim", "SSIM, validation")):
        axes.plot(*scalars[name], marker="o", label="restored")
        axes.plot(*scalars[f"baseline_{name}"], linestyle="--", color="0.5", label="baseline")
        axes.set(title=title, xlabel="iteration")
        axes.legend()
    for axes in (left, middle, right):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=90)


def main(argv: Sequence[str] | None = None) -> None:
    """Draw the curves of one training."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output_dir", type=Path, help="output_dir of a training")
    parser.add_argument("picture", type=Path, help="PNG file to write")
    args = parser.parse_args(argv)
    draw(read_scalars(args.output_dir), args.picture)
    print(f"{args.picture} is written")


if __name__ == "__main__":
    main()
