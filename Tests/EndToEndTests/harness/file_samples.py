"""The beginnings of files, as much as tells what they are and how large; and what pictures cost by their providers' documentation."""

from __future__ import annotations

import math
import struct


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBB", 13, b"IHDR", width, height, 8, 2, 0, 0, 0)


def jpeg(width: int, height: int) -> bytes:
    # A thumbnail stands before the frame's own header.
    thumbnail = b"\xff\xd8\xff\xc0" + struct.pack(">HBHHB", 8, 8, 16, 16, 0) + b"\xff\xd9"
    segment = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    return b"\xff\xd8" + segment + b"\xff\xc2" + struct.pack(">HBHHB", 17, 8, height, width, 3) + bytes(9)


def gif(width: int, height: int, screen: tuple[int, int] | None = None) -> bytes:
    """`screen`: what the head says, where that is not the picture's own size."""
    frame = b"," + struct.pack("<HHHHB", 0, 0, min(width, 65535), min(height, 65535), 0) + b"\x02\x00;"
    return b"GIF89a" + struct.pack("<HHBBB", *(screen or (min(width, 65535), min(height, 65535))), 0, 0, 0) + frame


def webp(width: int, height: int) -> bytes:
    dimensions = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    return b"RIFF" + struct.pack("<I", 100) + b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + dimensions


def billed(model: str, width: int, height: int) -> int:
    """The tokens that a family's provider bills for a picture, by its documentation."""
    longest, shortest = max(width, height), min(width, height)
    if model in ("gpt-4o", "gpt-4o-mini"):
        # Scaled into a square of 2048, then to a shortest side of 768; never enlarged.
        scale = min(1.0, 2048 / longest)
        scale *= min(1.0, 768 / (shortest * scale))
        tiles = math.ceil(round(width * scale, 6) / 512) * math.ceil(round(height * scale, 6) / 512)
        base, each = (85, 170) if model == "gpt-4o" else (2833, 5667)
        return base + each * tiles
    if model == "gpt-5-mini":
        return math.ceil(min(1536, math.ceil(width / 32) * math.ceil(height / 32)) * 1.62)
    if model.startswith("claude"):
        most, side = (4784, 2576) if "opus-4-7" in model else (1600, 1568)
        scale = min(1.0, side / longest)
        return min(most, round(width * scale * height * scale / 750))
    if model == "gemini-2.5-flash":
        if longest <= 384:
            return 258
        # What is larger than 3072 pixels is made smaller first.
        scale = min(1.0, 3072 / longest)
        side = min(768, max(256, math.floor(shortest * scale / 1.5)))
        return 258 * math.ceil(width * scale / side) * math.ceil(height * scale / side)
    if model.startswith("gemini"):
        return 1120
    if model.startswith("grok"):
        # Tiles of 448 pixels, at most six, and one more.
        return 256 * (min(6, math.ceil(width / 448) * math.ceil(height / 448)) + 1)
    # Of others: a token for each 28 by 28 pixels.
    return math.ceil(width / 28) * math.ceil(height / 28)


def wave(seconds: int) -> bytes:
    data = bytes(seconds * 1000)
    return b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 1000, 1000, 1, 8) + b"data" + data
