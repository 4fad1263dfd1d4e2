"""How good restorations are: tables, figures and report of an evaluation; a reader study, made and scored."""

from __future__ import annotations

from .binomial import binomial_interval, binomial_test
from .example_figures import draw_examples
from .figure_file import ResultFigure
from .image_pairs import ImagePair, list_pairs, read_pair
from .published import published_table
from .reader_study import key_path, make_study
from .result_report import report_html, write_report
from .result_tables import difference_table, result_table, results_csv, results_markdown
from .results_file import read_results
from .setting_curves import draw_curves
from .study_score import PooledScore, ReaderScore, StudyScore, score_study
from .table import Block, Cell, Table, table_html, table_markdown

__all__ = [
    "Block",
    "Cell",
    "ImagePair",
    "PooledScore",
    "ReaderScore",
    "ResultFigure",
    "StudyScore",
    "Table",
    "binomial_interval",
    "binomial_test",
    "difference_table",
    "draw_curves",
    "draw_examples",
    "key_path",
    "list_pairs",
    "make_study",
    "published_table",
    "read_pair",
    "read_results",
    "report_html",
    "result_table",
    "results_csv",
    "results_markdown",
    "score_study",
    "table_html",
    "table_markdown",
    "write_report",
]
