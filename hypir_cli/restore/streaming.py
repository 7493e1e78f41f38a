"""The two ends of a streamed restoration: windows of the (resized) input, and finished rows of the output.

Neither holds a float copy of a whole image: the source resamples the window asked for, the sink fixes colours in strips with
the context they need and rounds to the output's depth at once.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from hypir_cli.images import quantize, to_float
from hypir_cli.images.data import Pixels
from hypir_cli.pixels.color import (
    COLOR_HALO,
    ChannelMoments,
    ColorFix,
    adain,
    luma,
    wavelet_columns,
)
from hypir_cli.pixels.resample import Resampler, Span
from hypir_cli.pixels.tiling import reflect_indices

STRIP = 64
"""Rows that are colour-fixed and rounded at a time."""


class InputWindows:
    """Windows of an image at the output's size.

    Args:
        pixels: (H, W, C) integers, C 1 or 3.
        out_size: (height, width) wanted; enlarging is plain bicubic, shrinking bicubic with antialiasing.
    """

    def __init__(self, pixels: Pixels, *, out_size: Span) -> None:
        self.pixels = pixels
        self.height, self.width = out_size
        in_size = (int(pixels.shape[0]), int(pixels.shape[1]))
        shrinks = out_size[0] < in_size[0] or out_size[1] < in_size[1]
        self._resampler = None
        if in_size != out_size:
            self._resampler = Resampler(in_size, out_size, antialias=shrinks)

    def window(self, rows: Span, columns: Span) -> Tensor:
        """Pixels of a window, (1, 3, h, w) float32 in 0..1; beyond the right and bottom edge they are reflected."""
        inside_rows = (rows[0], min(rows[1], self.height))
        inside_columns = (columns[0], min(columns[1], self.width))
        window = self._inside(inside_rows, inside_columns)
        if inside_rows != rows:
            window = window[:, :, _beyond(rows, self.height)]
        if inside_columns != columns:
            window = window[:, :, :, _beyond(columns, self.width)]
        return window

    def _inside(self, rows: Span, columns: Span) -> Tensor:
        if self._resampler is None:
            return self._crop(rows, columns)
        source = self._resampler.source_window(rows, columns)
        return self._resampler.apply(self._crop(*source), rows, columns).clamp_(0.0, 1.0)

    def _crop(self, rows: Span, columns: Span) -> Tensor:
        crop = to_float(self.pixels[slice(*rows), slice(*columns)])
        planes = torch.from_numpy(np.ascontiguousarray(crop.transpose(2, 0, 1)))[None]
        return planes.expand(-1, 3, -1, -1)


class RowSink(Protocol):
    """Takes restored rows from top to bottom."""

    def push(self, rows: Tensor) -> None:
        """The next rows, (3, n, W) float32 around 0..1."""

    def result(self) -> Pixels:
        """The finished image, (H, W, C), once every row was pushed."""


class StripSink:
    """Fixes colours strip by strip and rounds; the result equals fixing the whole image at once.

    Args:
        source: The input at the output's size.
        color_fix: `wavelet` or `none`.
        channels: 1 (grey) or 3.
        bit_depth: 8 or 16.
    """

    def __init__(
        self, source: InputWindows, *, color_fix: ColorFix, channels: int, bit_depth: int
    ) -> None:
        self._source = source
        self._color_fix = color_fix
        self._halo = COLOR_HALO[color_fix]
        self._out = _empty(source, channels=channels, bit_depth=bit_depth)
        self._context = torch.empty(3, 0, source.width)
        self._first = 0
        self._done = 0

    def push(self, rows: Tensor) -> None:
        """Take rows, write those whose context is complete."""
        self._context = torch.cat([self._context, rows], dim=1)
        last = self._first + self._context.shape[1]
        ready = last if last == self._source.height else last - self._halo
        while self._done < ready:
            self._write(min(self._done + STRIP, ready), last=last)

    def result(self) -> Pixels:
        """The finished image."""
        assert self._done == self._source.height
        return self._out

    def _write(self, stop: int, *, last: int) -> None:
        top = max(self._done - self._halo, 0)
        bottom = min(stop + self._halo, last)
        strip = self._context[None, :, top - self._first : bottom - self._first]
        inside = slice(self._done - top, stop - top)
        if self._color_fix == "wavelet":
            reference = self._source.window((top, bottom), (0, self._source.width))
            for columns, fixed in wavelet_columns(strip, reference):
                _store(self._out[:, columns], fixed[0, :, inside], first=self._done)
        else:
            _store(self._out, strip[0, :, inside], first=self._done)
        keep = max(stop - self._halo, 0)
        self._context = self._context[:, keep - self._first :].clone()
        self._first, self._done = keep, stop


class MomentsSink:
    """Matches the mean and spread of each channel; keeps the restored rows at 16 bits until both are known.

    Args:
        source: The input at the output's size.
        channels: 1 (grey) or 3.
        bit_depth: 8 or 16.
    """

    def __init__(self, source: InputWindows, *, channels: int, bit_depth: int) -> None:
        self._source = source
        self._channels = channels
        self._bit_depth = bit_depth
        self._rows = _empty(source, channels=3, bit_depth=16)
        self._done = 0
        self._restored = ChannelMoments()
        self._input = ChannelMoments()

    def push(self, rows: Tensor) -> None:
        """Take rows and count them in."""
        rows = rows.clamp(0.0, 1.0)
        stop = self._done + rows.shape[1]
        self._restored.update(rows[None])
        self._input.update(self._source.window((self._done, stop), (0, self._source.width)))
        _store(self._rows, rows, first=self._done)
        self._done = stop

    def result(self) -> Pixels:
        """The finished image."""
        out = _empty(self._source, channels=self._channels, bit_depth=self._bit_depth)
        for top in range(0, self._source.height, STRIP):
            strip = torch.from_numpy(to_float(self._rows[top : top + STRIP]).transpose(2, 0, 1))
            fixed = adain(strip[None], source=self._restored, target=self._input)
            _store(out, fixed[0], first=top)
        return out


def make_sink(
    source: InputWindows, *, color_fix: ColorFix, channels: int, bit_depth: int
) -> RowSink:
    """The sink for a colour fix."""
    if color_fix == "adain":
        return MomentsSink(source, channels=channels, bit_depth=bit_depth)
    return StripSink(source, color_fix=color_fix, channels=channels, bit_depth=bit_depth)


def _beyond(span: Span, length: int) -> Tensor:
    """Indices, counted from the span's start, that reflect what lies beyond the axis' end."""
    return reflect_indices(length, span[1])[span[0] :] - span[0]


def _empty(source: InputWindows, *, channels: int, bit_depth: int) -> Pixels:
    kind = np.uint8 if bit_depth == 8 else np.uint16
    return np.empty((source.height, source.width, channels), dtype=kind)


def _store(out: Pixels, rows: Tensor, *, first: int) -> None:
    """Round rows (3, n, W) into an image from row `first` on; a grey image takes their luma."""
    if out.shape[2] == 1:
        rows = luma(rows[None])[0]
    values = quantize(rows.permute(1, 2, 0).numpy(), 8 * out.dtype.itemsize)
    out[first : first + values.shape[0]] = values
