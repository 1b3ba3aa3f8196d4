"""Softmax and SwiGLU on the host's vector units, for MLX on CPUs.

MLX's x86 build computes ``exp`` one element at a time, at ten times numpy's cost, which made
activations and attention weights a third of a forward pass. Here numpy computes them on MLX's
own memory, in float32, in slices that fit the cache, on every core. Gradients are defined, so
``mx.grad`` goes through.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import mlx.core as mx
import numpy as np

_SLICE = 1 << 15
"""Elements a slice: the working set of a few float32 buffers stays in a core's L2 cache."""


_ALONE = 8 * _SLICE
"""Elements that one core does by itself."""


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="lensbook-host")


def as_numpy(x: mx.array) -> np.ndarray:
    """Return ``x`` as a float32 numpy array: a view of MLX's memory where there is one."""
    return np.asarray(x.astype(mx.float32))


def each_slice(work: Callable[[slice], None], shape: tuple[int, int], step: int) -> None:
    """Call ``work`` on slices of ``step`` rows of an array of ``shape``, on all cores.

    Numpy lets go of the interpreter's lock while it computes. Where there is little to do, waking
    other cores takes longer than doing it.
    """
    rows, width = shape
    slices = [slice(i, min(i + step, rows)) for i in range(0, rows, step)]
    if rows * width <= _ALONE:
        for part in slices:
            work(part)
    else:
        list(_pool().map(work, slices))


def by_rows(work: Callable[..., None], *arrays: mx.array) -> None:
    """Call ``work`` on a few rows of float32 arrays [row, width] at a time, on all cores.

    It gets views of MLX's memory, and may write to those of arrays that nothing else reads.

    A formula of many steps over large arrays waits for memory: MLX reads and writes it all at each step, on
    one core. Here some rows go through the whole formula while they are in a core's cache. Slices are longer
    than those of functions such as ``exp``: of shorter ones, threads mostly hand each other the interpreter.
    """
    rows, width = arrays[0].shape
    views = [np.asarray(each) for each in arrays]

    def one(part: slice) -> None:
        work(*(each[part] for each in views))

    each_slice(one, (rows, width), max(1, 8 * _SLICE // width))


_memory = threading.local()


def scratch(n: int, shape: tuple[int, int]) -> np.ndarray:
    """Return ``n`` float32 arrays of ``shape`` to write into, [n, *shape], this thread's own.

    They hold whatever the last call left. Fresh arrays of megabytes cost more than what is computed
    in them: the system hands out their pages one by one, zeroed, and takes them back.
    """
    size = n * shape[0] * shape[1]
    if getattr(_memory, "buffer", np.empty(0)).size < size:
        _memory.buffer = np.empty(size, np.float32)
    return _memory.buffer[:size].reshape(n, *shape)


def _rows(width: int) -> int:
    return max(1, _SLICE // width)


@mx.custom_function
def swiglu(gate: mx.array, up: mx.array) -> mx.array:
    """Return ``silu(gate) * up``, the gated activation of Llama-like MLPs, same shape."""
    width = gate.shape[-1]
    g, u = as_numpy(gate).reshape(-1, width), as_numpy(up).reshape(-1, width)
    out = np.empty_like(g)

    def work(rows: slice) -> None:
        o = out[rows]
        np.negative(g[rows], out=o)
        with np.errstate(over="ignore"):  # exp(-gate) = inf is right: silu tends to 0
            np.exp(o, out=o)
        o += 1
        np.divide(g[rows], o, out=o)
        o *= u[rows]

    each_slice(work, g.shape, _rows(width))
    return mx.array(out).reshape(gate.shape).astype(gate.dtype)


@swiglu.vjp
def _swiglu_vjp(
    primals: tuple[mx.array, mx.array], cotangent: mx.array, _: mx.array
) -> tuple[mx.array, mx.array]:
    gate, up = primals
    sigmoid = mx.sigmoid(gate)
    silu = gate * sigmoid
    return cotangent * up * (sigmoid + silu * (1 - sigmoid)), cotangent * silu


@mx.custom_function
def softmax(scores: mx.array) -> mx.array:
    """Return the softmax of ``scores`` over the last axis; ``-inf`` gets probability 0."""
    width = scores.shape[-1]
    s = as_numpy(scores).reshape(-1, width)
    out = np.empty_like(s)

    def work(rows: slice) -> None:
        o = out[rows]
        np.subtract(s[rows], s[rows].max(-1, keepdims=True), out=o)
        np.exp(o, out=o)
        o /= o.sum(-1, keepdims=True)

    each_slice(work, s.shape, _rows(width))
    return mx.array(out).reshape(scores.shape).astype(scores.dtype)


@softmax.vjp
def _softmax_vjp(primals: mx.array, cotangent: mx.array, output: mx.array) -> mx.array:
    weighted = cotangent * output
    return weighted - output * weighted.sum(-1, keepdims=True)
