"""Orthonormal discrete cosine transforms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.compiler import is_dynamo_compiling

from softdiff_ext import _C, reference
from softdiff_ext.ops import native
from softdiff_ext.ops.checks import check_floating
from softdiff_ext.ops.library import Operator


def eigenvalues(size: Sequence[int]) -> Tensor:
    """Eigenvalues of the negative Laplacian in the DCT-II basis: lam[m, n] = (pi m / H)^2 + (pi n / W)^2.

    Args:
        size: (H, W), each >= 1.
    Returns:
        float64 [H, W], in 1/pixel^2; a blur by the heat time tau multiplies frequency (m, n) by exp(-lam[m, n] tau).
    Raises:
        ValueError: size is not two sizes >= 1.

    Examples:
        >>> import softdiff_ext as sd
        >>> sd.eigenvalues((2, 2))
        tensor([[0.0000, 2.4674],
                [2.4674, 4.9348]], dtype=torch.float64)
    """
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"eigenvalues: size must be (H, W) with H, W >= 1, got {tuple(size)}")
    return reference.eigenvalues(size)


def dct(x: Tensor, ndim: int = 2) -> Tensor:
    """Orthonormal DCT-II over the last `ndim` dimensions: u[k] = c_k sum_i x[i] cos(pi (i + 1/2) k / N).

    Args:
        x: floating, at least `ndim` dimensions, any strides.
        ndim: 1, 2 or 3.
    Returns:
        Coefficients, shape and dtype of x, contiguous. c_0 = sqrt(1/N), c_k = sqrt(2/N), so norms are kept.
    Raises:
        TypeError: x is not a floating tensor.
        ValueError: ndim is not 1, 2 or 3, x has fewer dimensions, or one of the transformed sizes is 0.
    Note:
        Differentiable to any order; the gradient is `idct`.

    Examples:
        >>> import torch, softdiff_ext as sd
        >>> sd.dct(torch.ones(1, 1, 2, 4))  # a constant has one coefficient: its mean times sqrt(H W)
        tensor([[[[2.8284, 0.0000, 0.0000, 0.0000],
                  [0.0000, 0.0000, 0.0000, 0.0000]]]])
        >>> x = torch.rand(2, 3, 5, 7)
        >>> torch.allclose(sd.dct(x).norm(), x.norm())
        True
    """
    return _checked("dct", "x", x, ndim, inverse=False)


def idct(u: Tensor, ndim: int = 2) -> Tensor:
    """Inverse of `dct` (orthonormal DCT-III) over the last `ndim` dimensions; arguments, result and errors as there.

    Examples:
        >>> import torch, softdiff_ext as sd
        >>> x = torch.rand(2, 3, 5, 7)
        >>> torch.allclose(sd.idct(sd.dct(x)), x, atol=1e-6)
        True
    """
    return _checked("idct", "u", u, ndim, inverse=True)


def _checked(op: str, name: str, x: Tensor, ndim: int, inverse: bool) -> Tensor:
    if not is_dynamo_compiling():
        quick = _dct.quick(x, ndim, inverse)
        if quick is not None:
            return quick
    check_floating(op, name, x)
    if not isinstance(ndim, int) or ndim not in (1, 2, 3):
        raise ValueError(f"{op}: ndim must be 1, 2 or 3, got {ndim}")
    if x.ndim < ndim:
        raise ValueError(f"{op}: {name} must have at least ndim = {ndim} dimensions, got shape {list(x.shape)}")
    if 0 in x.shape[-ndim:]:
        raise ValueError(f"{op}: the last {ndim} sizes of {name} must be >= 1, got shape {list(x.shape)}")
    return _dct(x, ndim, inverse)


def _forward(x: Tensor, ndim: int, inverse: bool) -> Tensor:
    if not native.native(x):
        return reference.idct(x, ndim) if inverse else reference.dct(x, ndim)
    if ndim < 3:
        return native.transform(x, ndim, inverse)
    # The planes, then the depth. 16-bit types keep float32 in between: one rounding, not two.
    planes = native.transform(x.to(reference.accumulation_dtype(x.dtype)), 2, inverse)
    return planes.to(x.dtype) if x.numel() == 0 else native.transform_depth(planes, inverse).to(x.dtype)


def _setup(ctx: Any, inputs: Any, output: Tensor) -> None:
    _, ctx.ndim, ctx.inverse = inputs


def _backward(ctx: Any, grad: Tensor) -> Any:
    return _dct(grad, ctx.ndim, not ctx.inverse), None, None


def _vmap(info: Any, in_dims: tuple[int | None, ...], x: Tensor, ndim: int, inverse: bool) -> Any:
    return _dct(x.movedim(in_dims[0] or 0, 0), ndim, inverse), 0


_dct = Operator(
    "dct(Tensor x, int ndim, bool inverse) -> Tensor",
    _C.transform,
    _forward,
    lambda x, ndim, inverse: torch.empty_like(x, memory_format=torch.contiguous_format),
    _setup,
    _backward,
    _vmap,
)
