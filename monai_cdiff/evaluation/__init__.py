"""How good restorations are: methods compared, tables, figures and a report; a reader study, made and scored."""

from __future__ import annotations

from .binomial import binomial_interval, binomial_test
from .bundle_evaluation import BundleEvaluation, Case
from .classical_methods import CLASSICAL_METHODS, remove_impulses
from .comparison import Comparison
from .downstream import Classifier, Segmenter, dice_per_structure
from .example_figures import draw_examples
from .feature_scores import Features
from .figure_file import ResultFigure
from .image_pairs import ImagePair, list_pairs, read_pair
from .image_scores import Column, image_metrics, score_images
from .judges import accuracy_metric, classifier_features, dice_metric
from .method_scores import Judges
from .methods import MethodSpec, known_methods, make_method, parse_method, plain_value, training_configs
from .published import published_table
from .reader_study import key_path, make_study
from .restored_images import RestoredImages
from .result_report import report_html, write_report
from .result_rows import Measured, make_row
from .result_tables import difference_table, result_table
from .results_file import ORIGINAL, read_results
from .setting_curves import draw_curves
from .study_score import PooledScore, ReaderScore, StudyScore, score_study
from .table import Block, Cell, Table, table_html, table_markdown
from .table_files import results_csv, results_markdown, write_tables
from .two_sample import STANDS_IN, TwoSampleResult, two_sample_test
from .volume_scores import VolumeCase, VolumeMetric, flicker_metric, score_volumes

__all__ = [
    "Block",
    "BundleEvaluation",
    "CLASSICAL_METHODS",
    "Case",
    "Cell",
    "Classifier",
    "Column",
    "Comparison",
    "Features",
    "ImagePair",
    "Judges",
    "Measured",
    "MethodSpec",
    "ORIGINAL",
    "PooledScore",
    "ReaderScore",
    "RestoredImages",
    "ResultFigure",
    "STANDS_IN",
    "Segmenter",
    "StudyScore",
    "Table",
    "TwoSampleResult",
    "VolumeCase",
    "VolumeMetric",
    "accuracy_metric",
    "binomial_interval",
    "binomial_test",
    "classifier_features",
    "dice_metric",
    "dice_per_structure",
    "difference_table",
    "draw_curves",
    "draw_examples",
    "flicker_metric",
    "image_metrics",
    "key_path",
    "known_methods",
    "list_pairs",
    "make_method",
    "make_row",
    "make_study",
    "parse_method",
    "plain_value",
    "published_table",
    "read_pair",
    "read_results",
    "remove_impulses",
    "report_html",
    "result_table",
    "results_csv",
    "results_markdown",
    "score_images",
    "score_study",
    "score_volumes",
    "table_html",
    "table_markdown",
    "training_configs",
    "two_sample_test",
    "write_report",
    "write_tables",
]
