"""An accelerator for machines that have none: tensors of another device, in the CPU's memory.

Where PyTorch on a real one refuses to mix tensors of two devices, or to hand a tensor to NumPy, so
does this one. It says nothing of speed, precision or kernels, and has no place for sparse
tensors.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim import AdamW, Optimizer
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("meta")  # PyTorch knows the name everywhere, and no memory belongs to it
_MAY_MIX = {"aten::copy_", "aten::_to_copy", "aten::index", "aten::index_put_"}


class DeviceTensor(torch.Tensor):
    """A tensor on the accelerator; ``held`` has its numbers."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> DeviceTensor:
        made: DeviceTensor = torch.Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=DEVICE,
        )
        made.held = held
        return made

    def tolist(self) -> Any:
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return _compute(func, args, kwargs or {})


class _Accelerator(TorchDispatchMode):
    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return _compute(func, args, kwargs or {})


@contextlib.contextmanager
def accelerator(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """In the block LetterRec finds an accelerator, without bfloat16."""
    for name, module in list(sys.modules.items()):
        if name.startswith("letterrec."):
            for asked, answer in (("device", DEVICE), ("has_bfloat16", False)):
                if callable(getattr(module, asked, None)):
                    patch.setattr(module, asked, _always(answer))
    autocast = torch.autocast

    def without(kind: str, *args: Any, **keywords: Any) -> Any:
        return contextlib.nullcontext() if kind == "meta" else autocast(kind, *args, **keywords)

    patch.setattr(torch, "autocast", without)
    patch.setattr(torch, "is_autocast_enabled", lambda kind=None: False)
    for module in (sys.modules[AdamW.__module__], sys.modules[Optimizer.__module__]):
        patch.setattr(
            module, "_get_fused_kernels_supported_devices", lambda: ["meta"], raising=False
        )
    with _Accelerator():
        yield


def _always(answer: object) -> Callable[[], object]:
    return lambda: answer


def _compute(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """An operator on what the tensors hold; its result is where PyTorch would put it."""
    name = func._schema.name
    tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
    there = [t for t in tensors if isinstance(t, DeviceTensor)]
    here = [t for t in tensors if not isinstance(t, DeviceTensor) and t.ndim > 0]
    mixes = name in _MAY_MIX and (isinstance(args[0], DeviceTensor) or "index" not in name)
    if there and here and not mixes:
        raise RuntimeError(f"{func} of tensors on two devices, {[tuple(t.shape) for t in tensors]}")
    is_there = bool(there)
    kwargs = dict(kwargs)
    if kwargs.get("device") is not None:
        is_there = torch.device(kwargs["device"]) == DEVICE
        kwargs["device"] = torch.device("cpu")
    held_args, held_kwargs = tree_map(_held, (args, kwargs))
    result = func(*held_args, **held_kwargs)
    if name == "aten::copy_":
        return args[0]
    same = {id(t.held): t for t in there}  # what an operator in place gives back

    def placed(value: Any) -> Any:
        if not isinstance(value, Tensor) or not is_there:
            return value
        return same[id(value)] if id(value) in same else DeviceTensor(value)

    return tree_map(placed, result)


def _held(value: Any) -> Any:
    return value.held if isinstance(value, DeviceTensor) else value
