"""``evaluate``: methods compared on one test set, with tables, figures and a report."""

from __future__ import annotations

import argparse
import json
import logging
import shlex
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .bundle import bundle_folder
from .errors import FAILURE

if TYPE_CHECKING:
    from ..evaluation import BundleEvaluation, Judges

__all__ = ["add_command"]

_DESCRIPTION = """\
Run methods on the same test images with the same degradations, measure them, and write results.json, tables (Markdown,
CSV), figures (PNG) and report.html. The test set is that of the bundle's evaluate.json. What was restored is kept in
OUT/cache, so that an interrupted comparison goes on, and one with a further method restores nothing twice.

METHOD is a name, or NAME=CHECKPOINT for weights of your own, each followed by ,ID=VALUE for ids of evaluate.json:
  sr        bilinear, bicubic
  denoise   noisy, median, nlm, tv, wavelet
  inpaint   mean_fill, harmonic, biharmonic
  any task  mean, sample, average, antithetic (the bundle's weights), regression=REGRESSION/checkpoints/model.pt,
            slow=,output=sample,num_inference_steps=20 (the bundle's weights in another way)
Names that end in a dot and a number are trainings of one method: pix2pix.0=A/model.pt pix2pix.1=B/model.pt.
The other methods are tested against the last one, or that of --reference. Research only, not for diagnosis."""
_DEFAULTS = {"sr": "bilinear", "denoise": "noisy", "inpaint": "mean_fill"}
# Argument of the command -> id of evaluate.json that it overrides.
_IDS = ("dataset_dir", "checkpoint", "split", "series", "plane", "split_seed", "seed", "device")


def add_command(commands: Any) -> None:
    """Add ``evaluate`` to the commands of an argument parser."""
    parser = commands.add_parser(
        "evaluate",
        help="compare methods on a test set: tables, figures, report",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    def add(name: str, **options: Any) -> None:
        parser.add_argument(*dict.fromkeys([f"--{name}", f"--{name.replace('_', '-')}"]), dest=name, **options)

    add("bundle", help='folder of the bundle, or name of a packaged one (default: bundles/sr, else the packaged "sr")')
    add("dataset_dir", help="patient folders or a datalist, as for the bundle (default: the sample data)")
    add("methods", nargs="+", metavar="METHOD", help="what to compare (default: the degraded image, mean and sample)")
    add("output_dir", metavar="OUT", help="what is written (default: output/comparison in the bundle's folder)")
    add("checkpoint", help="the bundle's weights, which also say what the test images are (default: the bundle's)")
    add("split", help="which split is scored (default: test)")
    add("series", help="which DICOM series")
    add("plane", help="which DICOM series, by its plane")
    add("split_seed", type=int, help="who trains and who tests")
    add("set", action="append", metavar="ID=VALUE", help="any other id of evaluate.json, for all methods")
    add("vary", metavar="ID=V1,V2,...", help="measure everything for each value, such as factor=2,4 (or a JSON list)")
    add("reference", metavar="METHOD", help="which method the others are tested against (default: the last)")
    add("classifier", metavar="BUNDLE", help="score by its accuracy, and FID and KID by its features")
    add("segmenter", metavar="BUNDLE", help="score by the Dice of its structures, where the datalist has labels")
    add("label_key", default="label", help='entry of the datalist with the label image (default: "label")')
    add("lpips_weights", metavar="FILE", help="torchvision's weights for LPIPS; without them it is n/a")
    add("lpips_net", default="alex", choices=("alex", "vgg", "squeeze"), help="network of LPIPS (default: alex)")
    add("inception_weights", metavar="FILE", help="torch-fidelity's weights, for FID and KID by Inception")
    add("examples", type=int, default=4, metavar="N", help="images shown in the figures (default: 4)")
    add("seed", type=int, help="of the samples, the bootstrap and the tests (default: 0)")
    add("device", help='"cpu", "cuda" (default: a GPU if there is one)')
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.set_defaults(run=_evaluate)


def _evaluate(args: argparse.Namespace) -> int:
    from ..evaluation import ORIGINAL, Comparison, parse_method, write_report

    logging.getLogger("monai_cdiff.evaluation").setLevel(logging.INFO)
    warnings.filterwarnings("ignore", message="NvImgCodecPydicomReader")
    folder = bundle_folder(args.bundle, "evaluate.json")
    task = json.loads((folder / "configs" / "evaluate.json").read_text(encoding="utf-8"))["task"]
    if task not in _DEFAULTS:
        raise ValueError(f"--bundle {folder}: task={task!r} restores nothing; allowed: {', '.join(_DEFAULTS)}.")
    words = args.methods or [_DEFAULTS[task], "mean", "sample"]
    comparison = Comparison(
        folder,
        output := _output_dir(args, folder),
        [parse_method(word, task) for word in words],
        lambda evaluation: _judges(args, evaluation),
        {**{name: value for name in _IDS if (value := getattr(args, name)) is not None}, **_pairs(args.set)},
        _varied(args.vary),
        args.reference,
        args.examples,
        shlex.join(["python", "-m", "monai_cdiff", *sys.argv[1:]]),
    )
    results = comparison.run()
    files = write_report(output)
    print((output / "tables.md").read_text(encoding="utf-8"))
    print(*(str(path) for path in files), sep="\n")
    names = [column["name"] for column in results["metrics"]]
    failed = [row for row in results["rows"] if row["method"] != ORIGINAL and all(row[name] is None for name in names)]
    return FAILURE if failed else 0


def _judges(args: argparse.Namespace, evaluation: BundleEvaluation) -> Judges:
    from ..evaluation import (
        Classifier,
        Features,
        Judges,
        Segmenter,
        accuracy_metric,
        classifier_features,
        dice_metric,
        flicker_metric,
        image_metrics,
    )
    from ..metrics import inception_features

    images = image_metrics(evaluation["spatial_dims"], args.lpips_weights, args.lpips_net)
    shapes = (evaluation.dataset.volumes[n]["image"].shape for n in range(len(evaluation.dataset.volumes)))
    volumes = [flicker_metric()] if any(len(shape) == 4 and shape[3] > 1 for shape in shapes) else []
    features = []
    if args.inception_weights is not None:
        features.append(Features("Inception", "inception-2015-12-05", inception_features(args.inception_weights)))
    if args.classifier is not None:
        classifier = Classifier(bundle_folder(args.classifier, "inference.json"), evaluation["device"])
        volumes.append(accuracy_metric(classifier))
        features.append(classifier_features(classifier))
    if args.segmenter is not None:
        segmenter = Segmenter(bundle_folder(args.segmenter, "inference.json"), evaluation["device"])
        volumes.append(dice_metric(segmenter, args.label_key))
    return Judges(images, volumes, features)


def _output_dir(args: argparse.Namespace, folder: Path) -> Path:
    if args.output_dir is not None:
        return Path(args.output_dir).expanduser().absolute()
    if folder != Path(args.bundle or "bundles/sr").expanduser().absolute():
        raise ValueError("--output_dir is needed, since a packaged bundle is never written to.")
    return folder / "output" / "comparison"


def _pairs(words: list[str] | None) -> dict[str, Any]:
    from ..evaluation import plain_value

    pairs = {}
    for word in words or []:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise ValueError(f"--set {word!r} is not ID=VALUE.")
        pairs[name] = plain_value(value)
    return pairs


def _varied(word: str | None) -> tuple[str, list[Any]] | None:
    from ..evaluation import plain_value

    if word is None:
        return None
    name, equals, text = word.partition("=")
    if not equals or not name or not text:
        raise ValueError(f"--vary {word!r} is not ID=VALUE,VALUE,...")
    values = plain_value(text)
    if not isinstance(values, list):
        values = [plain_value(part) for part in text.split(",")]
    return name, values
