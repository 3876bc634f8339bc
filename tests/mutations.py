"""Damaging files at random: bytes, texts, and the insides of PNG, ZIP and safetensors files with valid checksums."""

import io
import random
import struct
import zipfile
import zlib

_NUMBERS = (0, 1, 2, 7, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1)
_TOKENS = (
    *(b"", b"\0", b"\xff", b'"', b"'", b",", b";", b"\n", b"\r", b"[", b"]", b"{", b"}", b"=", b"null", b"true"),
    *(b"NaN", b"Infinity", b"-1", b"1e999", b"9" * 400, b"9" * 5000, b"0x1", b"../" * 20, b"/etc/passwd", b"\xc3\x28"),
    *(b"[" * 3000, b'{"a":' * 3000, b"a." * 3000, b"<!--", b"&lt;", b"&a;", b"\xef\xbb\xbf", b"=1+1", b"2020-01-01"),
)


def mutate(data: bytes, rng: random.Random, *, text: bool = False) -> bytes:
    """One to eight random changes of any place in `data`; of words and numbers where it is a text."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        _change(changed, rng, text=text)
    return bytes(changed)


def mutate_png(data: bytes, rng: random.Random) -> bytes:
    """Change, repeat, drop or put in chunks of a PNG, and set the checksums right, so that what is inside is read."""
    chunks = _chunks(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        i = rng.randrange(len(chunks))
        kind, body = chunks[i]
        choice = rng.randrange(5)
        if choice == 0:
            chunks[i] = (kind, mutate(body, rng))
        elif choice == 1:
            chunks.insert(i, chunks[rng.randrange(len(chunks))])
        elif choice == 2 and len(chunks) > 1:
            del chunks[i]
        else:
            name = rng.choice(
                (b"iCCP", b"zTXt", b"iTXt", b"tEXt", b"eXIf", b"acTL", b"fcTL", b"tRNS", b"PLTE", b"pHYs")
            )
            chunks.insert(min(i + 1, len(chunks)), (name, _chunk_body(rng)))
    parts = [data[:8]]
    for kind, body in chunks:
        parts.append(struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)))
    return b"".join(parts)


def mutate_zip(data: bytes, rng: random.Random) -> bytes:
    """Change one member of a ZIP file (XLSX, NPZ) and pack it again, so that what is inside is read."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    i = rng.randrange(len(members))
    name, body = members[i]
    members[i] = (name, mutate(body, rng, text=name.endswith((".xml", ".rels"))))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in members:
            archive.writestr(name, body)
    return out.getvalue()


def mutate_safetensors(data: bytes, rng: random.Random) -> bytes:
    """Change the JSON header of a safetensors file and state its length truly."""
    (length,) = struct.unpack_from("<Q", data)
    header = mutate(data[8 : 8 + length], rng, text=True)
    return struct.pack("<Q", len(header)) + header + data[8 + length :]


def _change(data: bytearray, rng: random.Random, *, text: bool) -> None:
    place = rng.randrange(len(data) + 1)
    choice = rng.randrange(9 if text else 7)
    if choice == 0 and place < len(data):
        data[place] ^= 1 << rng.randrange(8)
    elif choice == 1 and place < len(data):
        data[place] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
    elif choice == 2:
        number = rng.choice(_NUMBERS)
        form = rng.choice(("<I", ">I", "<H", ">H"))
        packed = struct.pack(form, number & (0xFFFF if form[1] == "H" else 0xFFFFFFFF))
        data[place : place + len(packed)] = packed
    elif choice == 3:
        del data[place : place + rng.choice((1, 2, 4, 16, 256))]
    elif choice == 4:
        start = rng.randrange(len(data) + 1)
        data[place:place] = data[start : start + rng.choice((1, 4, 16, 256, 4096))]
    elif choice == 5:
        del data[place:]
    elif choice == 6:
        data[place : place + 16] = rng.randbytes(16)
    elif choice == 7:
        data[place : place + rng.choice((0, 0, 1, 4))] = rng.choice(_TOKENS)
    else:
        _swap_number(data, rng)


def _swap_number(data: bytearray, rng: random.Random) -> None:
    """Put another token in the place of a number."""
    digits = [i for i, byte in enumerate(data) if 48 <= byte <= 57 and (i == 0 or not 48 <= data[i - 1] <= 57)]
    if digits:
        start = stop = rng.choice(digits)
        while stop < len(data) and (48 <= data[stop] <= 57 or data[stop] == 46):
            stop += 1
        data[start:stop] = rng.choice((*_TOKENS, str(rng.choice(_NUMBERS)).encode()))


def _chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    chunks, place = [], 8
    while place + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        chunks.append((data[place + 4 : place + 8], data[place + 8 : place + 8 + length]))
        place += 12 + length
    return chunks


def _chunk_body(rng: random.Random) -> bytes:
    kind = rng.randrange(4)
    if kind == 0:
        return rng.randbytes(rng.choice((0, 4, 8, 26, 300)))
    if kind == 1:
        return b"x\0\0" + zlib.compress(bytes(rng.choice((10, 100_000, 3_000_000))))
    if kind == 2:
        return b"x\0\1\0\0\0" + zlib.compress(bytes(rng.choice((10, 100_000, 3_000_000))))
    return b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", rng.choice((0x112, 0x8769)), rng.randrange(14), 1, 6)
