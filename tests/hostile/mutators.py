"""Ways to break a model file: each takes the random generator, the bytes and other files' bytes, and gives bytes."""

import io
import math
import random
import re
import struct
import zipfile

CANARY = "regaudit-fuzz-code-was-run"
EVIL = (
    f"cos\nsystem\n(S'touch {CANARY}'\ntR.".encode(),
    f"c__builtin__\neval\n(V__import__('os').system('touch {CANARY}')\ntR.".encode(),
    b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
    f'{{"class_name": "Lambda", "module": "os", "config": {{"function": "touch {CANARY}"}}}}'.encode(),
)
NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)  # fmt: skip
TEXTS = (b"-1", b"0", b"1e999", b"NaN", b"null", b"[]", b'""', b"99999999999999999999", b"[[[[[[[[]]]]]]]]", b"true", b'"../../x"')  # fmt: skip
LIMITS = (math.nan, math.inf, -math.inf, 0.0, -1.0, 65504.0, 1e-7)
VALUES = (
    *(struct.pack(kind, value) for kind in ("<f", "<d", "<e") for value in LIMITS),
    *(struct.pack("<f", value) for value in (3e38, 1e-45)),
    *(struct.pack("<d", value) for value in (1.7e308, 5e-324)),
)
WORD = re.compile(rb"[A-Za-z_][\w.]{1,30}")
SOME_ZIP = b"PK\x03\x04"


def flip_bits(rng, raw, _others):
    out = bytearray(raw)
    for _ in range(rng.choice((1, 1, 2, 8))):
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def set_bytes(rng, raw, _others):
    out = bytearray(raw)
    for _ in range(rng.choice((1, 1, 4, 16))):
        out[rng.randrange(len(out))] = rng.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF, rng.randrange(256)))
    return bytes(out)


def truncate(rng, raw, _others):
    return raw[: rng.randrange(len(raw))]


def set_length(rng, raw, _others):
    """Overwrite what looks like a length (a small number in 2, 4 or 8 bytes) with one that is wrong."""
    size, order = rng.choice((2, 4, 8)), rng.choice(("little", "little", "big"))
    spots = [i for i in range(max(len(raw) - size, 0)) if 0 < int.from_bytes(raw[i : i + size], order) <= len(raw)]
    if not spots:
        return flip_bits(rng, raw, _others)
    at = rng.choice(spots)
    old = int.from_bytes(raw[at : at + size], order)
    new = rng.choice((*NUMBERS, old - 1, old + 1, old * 2, len(raw))) & ((1 << 8 * size) - 1)
    return raw[:at] + new.to_bytes(size, order) + raw[at + size :]


def set_digits(rng, raw, _others):
    """Replace a number in text by another of as many digits, so that lengths around it stay true."""
    spots = list(re.finditer(rb"\d+", raw))
    if not spots:
        return flip_bits(rng, raw, _others)
    spot = rng.choice(spots)
    return raw[: spot.start()] + bytes(rng.choice(b"0123456789") for _ in spot[0]) + raw[spot.end() :]


def set_text(rng, raw, _others):
    """Replace a number or a quoted text by a value of another kind."""
    spots = list(re.finditer(rb'-?\d+(?:\.\d+)?|"[^"\n]{0,40}"', raw))
    if not spots:
        return set_bytes(rng, raw, _others)
    spot = rng.choice(spots)
    return raw[: spot.start()] + rng.choice(TEXTS) + raw[spot.end() :]


def set_words(rng, raw, others):
    """Replace a word by another one of the file or of another file, of the same length most often."""
    spots = list(re.finditer(WORD, raw))
    if not spots:
        return set_bytes(rng, raw, others)
    spot = rng.choice(spots)
    words = re.findall(WORD, rng.choice((raw, rng.choice(others))))
    alike = [each for each in words if len(each) == len(spot[0]) and each != spot[0]]
    found = rng.choice(alike if alike and rng.random() < 0.7 else words or [b"x"])
    return raw[: spot.start()] + found + raw[spot.end() :]


def set_values(rng, raw, _others):
    """Overwrite some bytes by floats at the ends of their range: weights, most often."""
    value = rng.choice(VALUES)
    piece = value * rng.choice((1, 4, 16))
    at = rng.randrange(max(len(raw) - len(piece), 1)) & ~3
    return raw[:at] + piece + raw[at + len(piece) :]


def splice(rng, raw, others):
    """Put a piece of another file, or of this one, over or between the bytes."""
    donor = rng.choice((raw, rng.choice(others)))
    begin = rng.randrange(len(donor))
    piece = donor[begin : begin + rng.choice((1, 4, 16, 64, 1024))]
    at = rng.randrange(len(raw))
    return raw[:at] + piece + raw[at + (len(piece) if rng.random() < 0.7 else 0) :]


def cut_out(rng, raw, _others):
    at = rng.randrange(len(raw))
    return raw[:at] + raw[at + rng.choice((1, 2, 8, 64)) :]


def repeat(rng, raw, _others):
    at = rng.randrange(len(raw))
    piece = raw[at : at + rng.choice((1, 8, 64))]
    return raw[:at] + piece * rng.choice((2, 3, 100)) + raw[at + len(piece) :]


def plant(rng, raw, _others):
    """Plant code where a reader that runs it would run it."""
    at = rng.choice((0, 2, rng.randrange(len(raw))))
    return raw[:at] + rng.choice(EVIL) + raw[at:]


BYTES = (
    flip_bits,
    set_bytes,
    truncate,
    set_length,
    set_length,
    set_digits,
    set_text,
    set_words,
    set_words,
    set_values,
    splice,
    cut_out,
    repeat,
    plant,
)


def mutated_bytes(rng, raw, others):
    if not raw:
        return rng.choice(others)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        raw = rng.choice(BYTES)(rng, raw, others) or b"\0"
    return raw


def mutated_members(rng, raw, others):
    """Break the members of an archive, and write it with checksums that are right."""
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
        methods = {info.filename: info.compress_type for info in archive.infolist()}
    method = rng.choice((None, None, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in mutated_files(rng, members, others).items():
            archive.writestr(name, content, methods.get(name, 0) if method is None else method)
    return stream.getvalue()


def mutated_file(rng, raw, others):
    if raw.startswith(SOME_ZIP) and rng.random() < 0.7:
        return mutated_members(rng, raw, others)
    return mutated_bytes(rng, raw, others)


def mutated_files(rng, files, others):
    """Break one of several files: its content most often, else its place."""
    files = dict(files)
    name, other = rng.choice(list(files)), rng.choice(list(files))
    match rng.choice(("content",) * 12 + ("drop", "swap", "copy", "other")):
        case "drop" if len(files) > 1:
            del files[name]
        case "swap":
            files[name], files[other] = files[other], files[name]
        case "copy":
            files[name] = files[other]
        case "other":
            files[name] = rng.choice(others)
        case _:
            files[name] = mutated_file(rng, files[name], others)
    return files


def mutant(seed, others, number, stream=0):
    """Return the files of a seed's mutant, the same for the same numbers; without a number, those of the seed."""
    if number is None:
        return seed.files
    rng = random.Random(f"{stream}/{seed.name}/{number}")
    if len(seed.files) > 1:
        return mutated_files(rng, seed.files, others)
    [(name, raw)] = seed.files.items()
    return {name: mutated_file(rng, raw, others)}
