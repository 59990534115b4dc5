"""Makes test/fixtures/image: procedural pictures, and what Pillow and Hugging Face's image processor make of them.

Run from the repository's root: `.venv/bin/python gpu/scripts/make_image_fixtures.py`. Same seed and versions, same
bytes; versions and seed are in manifest.json. Pillow is the reference, except where it leaves the PNG specification:
- 16-bit grey: `convert("RGB")` clips at 255, which turns nearly all of such a picture white. As in all other 16-bit
  pictures, the high byte is kept here.
- a transparent grey or colour (tRNS) at 2, 4 or 16 bits: Pillow compares the 8-bit sample with the unscaled tRNS value
  and so makes the wrong pixels transparent, or none.
Those variants are computed from their samples and say so in the manifest.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import platform
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import transformers
from PIL import Image, ImageOps, features
from transformers.models.flava.image_processing_pil_flava import FlavaImageProcessorPil

SEED = 20_260_101
OUT = Path("test/fixtures/image")
MODEL_SIZE = 64
FULL_SIZE = 224
ODD_SIZE = (33, 57)

# Width, height: single pixels and lines, one side already right, up- and downscaling, long strips.
SIZES = [
    (1, 1), (1, 2), (2, 1), (2, 2), (3, 3), (5, 7), (7, 5), (13, 17), (16, 16), (31, 33), (33, 31), (48, 48),
    (63, 64), (64, 63), (64, 64), (65, 64), (64, 65), (63, 65), (64, 1), (1, 64), (64, 200), (200, 64), (72, 72),
    (128, 128), (127, 33), (33, 127), (129, 65), (100, 100), (96, 40), (40, 96), (150, 10), (10, 150), (77, 41),
    (41, 77), (300, 20), (20, 300), (1, 500), (500, 1), (640, 3), (3, 640), (640, 17), (1000, 2), (2, 1000),
    (512, 8), (8, 512), (90, 160), (111, 222), (222, 111), (199, 201), (223, 100), (224, 224), (225, 223),
    (256, 256), (255, 257), (320, 240),
]  # fmt: skip

# Start and step in x, then in y, of Adam7's seven passes (PNG, 8.2).
ADAM7 = [(0, 8, 0, 8), (4, 8, 0, 8), (0, 4, 4, 8), (2, 4, 0, 4), (0, 2, 2, 4), (1, 2, 0, 2), (0, 1, 1, 2)]
PNG_CHANNELS = {"grey": 1, "rgb": 3, "palette": 1, "greyAlpha": 2, "rgba": 4}
PNG_COLOR_NUMBERS = {"grey": 0, "rgb": 2, "palette": 3, "greyAlpha": 4, "rgba": 6}


@dataclass
class Blob:
    """Expected bytes of all pictures, one after the other; the manifest holds offsets into it."""

    parts: list[bytes] = field(default_factory=list)
    size: int = 0

    def add(self, data: bytes) -> int:
        offset = self.size
        self.parts.append(data)
        self.size += len(data)
        return offset


def main() -> None:
    rng = np.random.default_rng(SEED)
    OUT.mkdir(parents=True, exist_ok=True)
    for old in OUT.iterdir():
        old.unlink()
    blob = Blob()
    manifest: dict[str, Any] = {
        "seed": SEED,
        "versions": versions(),
        "resize": [resize_case(rng, blob, width, height) for width, height in SIZES],
        "pngVariants": png_variants(rng, blob),
        "codecs": codec_cases(rng),
        "orientations": orientation_cases(rng),
        "refused": refused_cases(rng),
        "blend": {"sha256": sha256(blend_table())},
        "normalize": normalize_case(blob),
    }
    # mtime 0 keeps the archive's bytes the same from run to run.
    (OUT / "expected.bin.gz").write_bytes(gzip.compress(b"".join(blob.parts), 9, mtime=0))
    (OUT / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    total = sum(path.stat().st_size for path in OUT.iterdir())
    print(f"{len(list(OUT.iterdir()))} files, {total / 1024:.0f} KiB in {OUT}")


def versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "pillow": PIL.__version__,
        "transformers": transformers.__version__,
        "libjpeg-turbo": features.version_feature("libjpeg_turbo") or "none",
        "libwebp": features.version_module("webp") or "none",
    }


# Pictures


def picture(rng: np.random.Generator, width: int, height: int, style: str) -> np.ndarray:
    """A procedural picture, u8 [height, width, 3]: "smooth" waves and boxes, "noisy" those with noise, "hard" 0 or 255."""
    if style == "hard":
        # Full-contrast pixels make the cubic overshoot, so that clipping between the passes is seen.
        return np.where(rng.random((height, width, 3)) < 0.5, 0, 255).astype(np.uint8)
    y, x = np.mgrid[0:height, 0:width]
    phase = rng.random((3, 3)) * 6.28
    waves = [np.sin(x / (7 + 5 * c) + phase[c, 0]) + np.cos(y / (9 + 3 * c) + phase[c, 1]) for c in range(3)]
    image = np.stack(waves, axis=-1) * 60 + 128  # [height, width, 3]
    for _ in range(4):
        left, top = rng.integers(0, width), rng.integers(0, height)
        image[top : top + 1 + height // 3, left : left + 1 + width // 3] = rng.integers(0, 256, 3)
    if style == "noisy":
        image += rng.normal(0, 30, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)


def flatten(image: Image.Image) -> Image.Image:
    """What this project's training and service do with alpha: paste on white with the alpha as mask."""
    rgba = image.convert("RGBA")
    background = Image.new("RGB", rgba.size, (255, 255, 255))
    background.paste(rgba, mask=rgba.getchannel("A"))
    return background


def resized(image: Image.Image, size: tuple[int, int]) -> bytes:
    return image.resize(size, Image.Resampling.BICUBIC).tobytes()


def resize_case(rng: np.random.Generator, blob: Blob, width: int, height: int) -> dict[str, Any]:
    area = width * height
    index = SIZES.index((width, height))
    style = "smooth" if area > 12_000 else ("noisy", "hard", "smooth")[index % 3]
    pixels = picture(rng, width, height, style)
    image = Image.fromarray(pixels)
    if index % 9 == 4:
        alpha = rng.integers(0, 256, (height, width), dtype=np.uint8)
        image = Image.fromarray(np.dstack([pixels, alpha]))
    elif index % 9 == 7:
        image = image.convert("L")
    elif index % 9 == 8:
        image = image.convert("P", palette=Image.Palette.ADAPTIVE, colors=64)
    name = f"resize-{width}x{height}.png"
    image.save(OUT / name, optimize=True)
    flat = flatten(Image.open(OUT / name))
    return {
        "file": name,
        "mode": image.mode,
        "width": width,
        "height": height,
        "sha256": sha256(flat.tobytes()),
        "offset64": blob.add(resized(flat, (MODEL_SIZE, MODEL_SIZE))),
        "sha256At224": sha256(resized(flat, (FULL_SIZE, FULL_SIZE))),
        "sha256At33x57": sha256(resized(flat, ODD_SIZE)),
    }


# PNG: every colour type and depth, plain and interlaced, written here because Pillow writes few of them


def chunk(kind: str, data: bytes) -> bytes:
    body = kind.encode("latin-1") + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def pack_rows(samples: np.ndarray, bit_depth: int) -> bytes:
    """Rows of samples, u16 [height, width, channels], as unfiltered PNG scanlines."""
    rows = []
    for row in samples.reshape(samples.shape[0], -1):
        if bit_depth == 16:
            data = row.astype(">u2").tobytes()
        elif bit_depth == 8:
            data = row.astype(np.uint8).tobytes()
        else:
            bits = (row[:, None] >> np.arange(bit_depth - 1, -1, -1)) & 1
            data = np.packbits(bits.astype(np.uint8).ravel()).tobytes()
        rows.append(b"\0" + data)
    return b"".join(rows)


def png_bytes(
    samples: np.ndarray,
    color: str,
    bit_depth: int,
    *,
    interlaced: bool = False,
    before: bytes = b"",
    after: bytes = b"",
) -> bytes:
    """A PNG of samples, u16 [height, width, channels]; `before` and `after` are chunks around its IDAT."""
    height, width, _ = samples.shape
    if interlaced:
        passes = [samples[y0::dy, x0::dx] for x0, dx, y0, dy in ADAM7]
        data = b"".join(pack_rows(part, bit_depth) for part in passes if part.size > 0)
    else:
        data = pack_rows(samples, bit_depth)
    ihdr = struct.pack(">IIBBBBB", width, height, bit_depth, PNG_COLOR_NUMBERS[color], 0, 0, int(interlaced))
    idat = chunk("IDAT", zlib.compress(data, 9))
    return b"\x89PNG\r\n\x1a\n" + chunk("IHDR", ihdr) + before + idat + after + chunk("IEND", b"")


def png_variants(rng: np.random.Generator, blob: Blob) -> list[dict[str, Any]]:
    depths = {"grey": [1, 2, 4, 8, 16], "rgb": [8, 16], "palette": [1, 2, 4, 8], "greyAlpha": [8, 16], "rgba": [8, 16]}
    cases = []
    for color, bit_depths in depths.items():
        for bit_depth in bit_depths:
            kinds = [False, True] if color in ("grey", "rgb", "palette") else [False]
            for has_transparency in kinds:
                for interlaced in (False, True):
                    cases.append(png_variant(rng, blob, color, bit_depth, has_transparency, interlaced))
    return cases


def png_variant(
    rng: np.random.Generator, blob: Blob, color: str, bit_depth: int, has_transparency: bool, interlaced: bool
) -> dict[str, Any]:
    width, height = 19, 13
    samples = rng.integers(0, 1 << bit_depth, (height, width, PNG_CHANNELS[color])).astype(np.uint16)
    before = b""
    if color == "palette":
        before += chunk("PLTE", rng.integers(0, 256, 3 << bit_depth, dtype=np.uint8).tobytes())
    if has_transparency:
        if color == "palette":
            # One entry fewer than the palette: what is left out is opaque.
            before += chunk("tRNS", rng.integers(0, 256, (1 << bit_depth) - 1, dtype=np.uint8).tobytes())
        else:
            before += chunk("tRNS", samples[2, 3].astype(">u2").tobytes())
    data = png_bytes(samples, color, bit_depth, interlaced=interlaced, before=before)
    parts = [color, str(bit_depth), *(["trns"] if has_transparency else []), *(["adam7"] if interlaced else [])]
    name = f"png-{'-'.join(parts)}.png"
    (OUT / name).write_bytes(data)
    is_grey_or_rgb = color in ("grey", "rgb")
    is_computed = (bit_depth == 16 and color == "grey") or (
        is_grey_or_rgb and has_transparency and bit_depth in (2, 4, 16)
    )
    flat = Image.open(io.BytesIO(data))
    expected = by_specification(samples, bit_depth, has_transparency) if is_computed else flatten(flat).tobytes()
    return {
        "file": name,
        "colorType": color,
        "bitDepth": bit_depth,
        "isInterlaced": interlaced,
        "width": width,
        "height": height,
        "reference": "computed" if is_computed else "pillow",
        "offset": blob.add(expected),
    }


def by_specification(samples: np.ndarray, bit_depth: int, has_transparency: bool) -> bytes:
    """Grey or RGB samples as 8-bit RGB; pixels that equal the transparent colour in all their bits are white."""
    levels = samples >> 8 if bit_depth == 16 else samples * (255 // ((1 << bit_depth) - 1))
    rgb = np.broadcast_to(levels, (*samples.shape[:2], 3)).astype(np.uint8)
    if has_transparency:
        rgb = np.where((samples == samples[2, 3]).all(-1, keepdims=True), np.uint8(255), rgb)
    return rgb.tobytes()


# JPEG and WebP: the file, and Pillow's decoding of it beside it as a PNG


def codec_cases(rng: np.random.Generator) -> list[dict[str, Any]]:
    jpeg: dict[str, tuple[int, int, str, dict[str, Any]]] = {
        "444-q90": (90, 70, "noisy", {"quality": 90, "subsampling": 0}),
        "420-q75": (90, 70, "smooth", {"quality": 75, "subsampling": 2}),
        "422-q50": (71, 53, "noisy", {"quality": 50, "subsampling": 1}),
        "420-q10": (60, 80, "smooth", {"quality": 10, "subsampling": 2}),
        "420-odd": (17, 9, "noisy", {"quality": 85, "subsampling": 2}),
        "420-hard": (40, 33, "hard", {"quality": 95, "subsampling": 2}),
        "progressive-420": (90, 70, "smooth", {"quality": 80, "subsampling": 2, "progressive": True}),
        "progressive-444": (50, 61, "noisy", {"quality": 95, "subsampling": 0, "progressive": True}),
        "restart": (64, 48, "smooth", {"quality": 80, "subsampling": 2, "restart_marker_blocks": 2}),
        "adobe-rgb": (32, 24, "noisy", {"quality": 90, "keep_rgb": True}),
        "grey": (45, 31, "grey", {"quality": 80}),
        "1x1": (1, 1, "smooth", {"quality": 90}),
        "strip": (3, 100, "smooth", {"quality": 90, "subsampling": 2}),
    }
    webp: dict[str, tuple[int, int, str, dict[str, Any]]] = {
        "q80": (90, 70, "noisy", {"quality": 80}),
        "q20": (90, 70, "smooth", {"quality": 20}),
        "q100-odd": (33, 21, "hard", {"quality": 100}),
        "lossless": (50, 40, "smooth", {"lossless": True}),
        "lossless-noisy": (23, 29, "noisy", {"lossless": True}),
        "alpha-q70": (60, 50, "alpha", {"quality": 70}),
        "alpha-lossless": (31, 37, "alpha", {"lossless": True}),
        "1x1": (1, 1, "smooth", {"quality": 90}),
        "strip": (100, 3, "smooth", {"quality": 75}),
    }
    cases = [codec_case(rng, "jpeg", name, *case) for name, case in jpeg.items()]
    return cases + [codec_case(rng, "webp", name, *case) for name, case in webp.items()]


def codec_case(
    rng: np.random.Generator, kind: str, name: str, width: int, height: int, style: str, options: dict[str, Any]
) -> dict[str, Any]:
    pixels = picture(rng, width, height, "smooth" if style in ("grey", "alpha") else style)
    image = Image.fromarray(pixels)
    if style == "grey":
        image = image.convert("L")
    if style == "alpha":
        image = Image.fromarray(np.dstack([pixels, picture(rng, width, height, "smooth")[:, :, 0]]))
    file = f"{kind}-{name}.{kind}"
    image.save(OUT / file, **options)
    return {"file": file, "decoded": save_decoded(file), "width": width, "height": height}


def save_decoded(file: str) -> str:
    """Saves what Pillow decodes, turned as EXIF says, losslessly; returns the PNG's name."""
    image = ImageOps.exif_transpose(Image.open(OUT / file))
    image.info.clear()
    name = f"{file}.decoded.png"
    image.convert("RGBA" if image.mode == "RGBA" else "RGB").save(OUT / name, optimize=True)
    return name


def exif_block(orientation: int, byte_order: str) -> bytes:
    """TIFF structure with two tags, so that the orientation is not the first entry."""
    mark = b"II" if byte_order == "<" else b"MM"
    head = mark + struct.pack(f"{byte_order}HI", 42, 8) + struct.pack(f"{byte_order}H", 2)
    width_tag = struct.pack(f"{byte_order}HHII", 0x0100, 4, 1, 24)
    orientation_tag = struct.pack(f"{byte_order}HHIHH", 0x0112, 3, 1, orientation, 0)
    return head + width_tag + orientation_tag + struct.pack(f"{byte_order}I", 0)


def orientation_cases(rng: np.random.Generator) -> list[dict[str, Any]]:
    pixels = picture(rng, 24, 16, "smooth")
    cases = []
    for orientation in range(1, 9):
        byte_order = "<" if orientation % 2 == 1 else ">"
        exif = exif_block(orientation, byte_order)
        files = {"jpeg": {"quality": 95, "subsampling": 0, "exif": b"Exif\0\0" + exif}}
        if orientation in (3, 6):
            files["webp"] = {"lossless": True, "exif": exif}
        if orientation == 5:
            files["webp"] = {"lossless": True, "exif": b"Exif\0\0" + exif}
        for kind, options in files.items():
            file = f"orientation-{orientation}.{kind}"
            Image.fromarray(pixels).save(OUT / file, **options)
            cases.append({"file": file, "orientation": orientation, "decoded": save_decoded(file)})
        if orientation in (2, 8):
            file = f"orientation-{orientation}.png"
            exif_chunk = chunk("eXIf", exif)
            before, after = (exif_chunk, b"") if orientation == 8 else (b"", exif_chunk)
            (OUT / file).write_bytes(png_bytes(pixels.astype(np.uint16), "rgb", 8, before=before, after=after))
            cases.append({"file": file, "orientation": orientation, "decoded": save_decoded(file)})
    return cases


# Refusals


def refused_cases(rng: np.random.Generator) -> list[dict[str, Any]]:
    pictures = [Image.fromarray(picture(rng, 12, 10, "smooth")) for _ in range(2)]
    first, rest = pictures[0], {"save_all": True, "append_images": pictures[1:]}
    cmyk = first.convert("CMYK")
    return [
        refused("gif.gif", first.convert("P"), "GIF"),
        refused("bmp.bmp", first, "BMP"),
        refused("tiff.tiff", first, "TIFF"),
        refused("avif.avif", first, "AVIF"),
        refused("icon.ico", first, "Windows icon"),
        refused("jpeg2000.jp2", first, "JPEG 2000"),
        refused("cmyk.jpeg", cmyk, "CMYK"),
        refused("animated.png", first, "animated PNG", **rest),
        refused("animated.webp", first, "animated WebP", **rest),
    ]


def refused(name: str, image: Image.Image, found: str, **options: Any) -> dict[str, Any]:
    image.save(OUT / name, **options)
    return {"file": name, "found": found}


# Tables


def blend_table() -> bytes:
    """u8 [256 alphas, 256 values]: each value pasted on white through each alpha."""
    values = np.broadcast_to(np.arange(256, dtype=np.uint8), (256, 256))
    background = Image.new("L", (256, 256), 255)
    background.paste(Image.fromarray(values.copy()), mask=Image.fromarray(values.T.copy()))
    return background.tobytes()


def normalize_case(blob: Blob) -> dict[str, Any]:
    """All 256 levels through Hugging Face's own processor, f32 [3, 16, 16] little-endian."""
    processor = FlavaImageProcessorPil(do_resize=False, do_center_crop=False)
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    pixel_values = processor(Image.fromarray(levels), return_tensors="np")["pixel_values"][0]
    data = pixel_values.astype("<f4").tobytes()
    mean = {f"mean{name}": value for name, value in zip("RGB", processor.image_mean, strict=True)}
    std = {f"std{name}": value for name, value in zip("RGB", processor.image_std, strict=True)}
    return {**mean, **std, "size": 16, "offset": blob.add(data)}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


if __name__ == "__main__":
    main()
