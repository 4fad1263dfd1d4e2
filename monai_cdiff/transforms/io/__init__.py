"""What reads and writes files, as MONAI transforms."""

from __future__ import annotations

from .same_format import SaveLikeInputD, SaveLikeInputd, SaveLikeInputDict, check_outputs, list_outputs

__all__ = [
    "SaveLikeInputD",
    "SaveLikeInputDict",
    "SaveLikeInputd",
    "check_outputs",
    "list_outputs",
]
