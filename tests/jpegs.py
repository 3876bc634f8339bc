"""JPEGs that no encoder at hand makes: any sampling factors, of pictures whose 8x8 blocks have one colour each."""

import struct

import numpy as np
from numpy.typing import NDArray

_CATEGORIES = (0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0)  # numbers of codes of 1, 2, ... bits, for differences
_DC_CODES = ("00", "010", "011", "100", "101", "110", "1110", "11110", "111110", "1111110", "11111110", "111111110")
_END_OF_BLOCK = "0"
Factors = tuple[tuple[int, int], ...]


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def jpeg_with(factors: Factors, seed: int = 0, mcus: int = 3, restart: int = 0) -> bytes:
    """A baseline JPEG of `mcus` x `mcus` units with random colours; `factors` are (h, v) of each component."""
    rng = np.random.default_rng(seed)
    across, down = max(h for h, _ in factors), max(v for _, v in factors)
    planes = [rng.integers(40, 216, (mcus * v, mcus * h)) for h, v in factors]
    head = segment(0xDB, b"\0" + bytes([1] * 64))
    specs = b"".join(bytes([i + 1, h << 4 | v, 0]) for i, (h, v) in enumerate(factors))
    head += segment(0xC0, struct.pack(">BHHB", 8, mcus * 8 * down, mcus * 8 * across, len(factors)) + specs)
    head += segment(0xC4, b"\0" + bytes(_CATEGORIES) + bytes(range(12)))
    head += segment(0xC4, b"\x10" + bytes([1, *[0] * 15]) + b"\0")
    if restart:
        head += segment(0xDD, struct.pack(">H", restart))
    scan = bytes([len(factors)]) + b"".join(bytes([i + 1, 0]) for i in range(len(factors))) + b"\0\x3f\0"
    return b"\xff\xd8" + head + segment(0xDA, scan) + _coded(planes, factors, mcus, restart) + b"\xff\xd9"


def _coded(planes: list[NDArray[np.int64]], factors: Factors, mcus: int, restart: int) -> bytes:
    coded, bits, last = b"", "", [0] * len(planes)
    for unit in range(mcus * mcus):
        if restart and unit and unit % restart == 0:
            coded += _packed(bits) + bytes([0xFF, 0xD0 + (unit // restart - 1) % 8])
            bits, last = "", [0] * len(planes)
        row, column = divmod(unit, mcus)
        for i, (h, v) in enumerate(factors):
            for block in planes[i][row * v : row * v + v, column * h : column * h + h].ravel().tolist():
                level = 8 * (block - 128)
                bits += _difference(level - last[i]) + _END_OF_BLOCK
                last[i] = level
    return coded + _packed(bits)


def _difference(value: int) -> str:
    size = abs(value).bit_length()
    amplitude = value if value > 0 else value + (1 << size) - 1
    return _DC_CODES[size] + (f"{amplitude:0{size}b}" if size else "")


def _packed(bits: str) -> bytes:
    bits += "1" * (-len(bits) % 8)
    return bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)).replace(b"\xff", b"\xff\0")
