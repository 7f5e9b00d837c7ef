"""The images that nets see, on a sheet or by themselves, as PNG."""

import math
import struct
import zlib

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from ka_explore.errors import InputError
from ka_explore.panels.session import Session

Images = Float32[np.ndarray, "image channel height width"]


def images_of(session: Session, index: Int64[np.ndarray, "image"]) -> Images | None:
    """Some images of the pool, by their index; None where no branch that is compared has its problem at hand."""
    problem = next((branch.run.problem for branch in session.compared if branch.run is not None), session.problem)
    if problem is None or index.max(initial=-1) >= len(problem.pool):
        return None
    return np.asarray(problem.pool.images[index])


def shrunk(images: Images, side: int) -> UInt8[np.ndarray, "..."]:
    """Images as bytes, (image, height, width) in grey or with three colours last, at most so many pixels a side."""
    shown = images[:, :3] if images.shape[1] >= 3 else images[:, :1]
    step = math.ceil(max(shown.shape[2:]) / side)
    if step > 1:
        height, width = (pixels // step * step for pixels in shown.shape[2:])
        blocks = shown[:, :, :height, :width].reshape(*shown.shape[:2], height // step, step, width // step, step)
        shown = blocks.mean(axis=(3, 5))
    low, high = float(np.nanmin(shown, initial=np.inf)), float(np.nanmax(shown, initial=-np.inf))
    low, high = (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)  # normalised ones are stretched
    grey = np.nan_to_num((shown - low) / max(high - low, 1e-12) * 255).round().clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(grey.transpose(0, 2, 3, 1) if grey.shape[1] == 3 else grey[:, 0])


def sheet_of(images: Images, side: int, most: float = math.inf) -> tuple[bytes, dict[str, int]]:
    """All images as one PNG, ``side`` pixels at most each, side by side in rows, and how they lie in it.

    No PNG where it would be of more than ``most`` bytes. Raises InputError for no image.
    """
    if not len(images):
        raise InputError("a sheet of images: expected at least one image, got none.")
    small = shrunk(images, side)
    count, height, width = small.shape[:3]
    columns = max(math.ceil(math.sqrt(count * height / width)), 1)
    rows = math.ceil(count / columns)
    about = {"width": width, "height": height, "columns": columns, "rows": rows, "count": count}
    if small.size > 8 * most:
        return b"", about
    whole = np.zeros((rows * columns, *small.shape[1:]), np.uint8)
    whole[:count] = small
    lying = whole.reshape(rows, columns, *small.shape[1:]).swapaxes(1, 2)
    made = png(lying.reshape(rows * height, columns * width, *small.shape[3:]))
    return (made if len(made) <= most else b""), about


def png(picture: UInt8[np.ndarray, "height width *colour"]) -> bytes:
    """A picture in grey or RGB as PNG (W3C 2003: one filter byte a row, deflate)."""
    height, width = picture.shape[:2]
    lines = np.zeros((height, 1 + picture[0].size), np.uint8)
    lines[:, 1:] = picture.reshape(height, -1)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2 if picture.ndim == 3 else 0, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines.tobytes(), 6)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body
