"""LetterRec: generative recommendation with learnable item tokenization.

```python
import letterrec

run = letterrec.fit("my-data/", out="runs/first")
engine = letterrec.load("runs/first")
engine.recommend([["item-1", "item-7"]], k=10)  # [[("item-42", -1.9), ...]]
```
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from letterrec.api import (
        align,
        compare,
        estimate,
        evaluate,
        fit,
        forget,
        inspect,
        load,
        push,
        refit,
    )
    from letterrec.config.loading import load_settings
    from letterrec.config.settings import Settings
    from letterrec.data import Dataset, read
    from letterrec.errors import LetterRecError
    from letterrec.serving.engine import Engine

__version__ = "0.1.0"
__all__ = [
    "Dataset",
    "Engine",
    "LetterRecError",
    "Settings",
    "align",
    "compare",
    "estimate",
    "evaluate",
    "fit",
    "forget",
    "inspect",
    "load",
    "load_settings",
    "push",
    "read",
    "refit",
]

_HOME = {
    "Dataset": "letterrec.data",
    "Engine": "letterrec.serving.engine",
    "LetterRecError": "letterrec.errors",
    "Settings": "letterrec.config.settings",
    "align": "letterrec.api",
    "compare": "letterrec.api",
    "estimate": "letterrec.api",
    "evaluate": "letterrec.api",
    "fit": "letterrec.api",
    "forget": "letterrec.api",
    "inspect": "letterrec.api",
    "load": "letterrec.api",
    "load_settings": "letterrec.config.loading",
    "push": "letterrec.api",
    "read": "letterrec.data",
    "refit": "letterrec.api",
}


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


def __getattr__(name: str) -> Any:
    """Import public names when they are first used: `import letterrec` stays quick."""
    if name not in _HOME:
        raise AttributeError(f"module 'letterrec' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
