"""Encoded bytes to opaque RGB as the edge does it: a JPEG's EXIF orientation applied, alpha on white, the first frame."""

from __future__ import annotations

import base64
import binascii
import io
import warnings

from PIL import Image, ImageOps

from flava_gpu.preprocess import flatten_on_white
from flava_gpu.worker.job import JobError

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 12_582_912  # the edge's default of MAX_IMAGE_PIXELS: 4096 x 3072


def decode_picture(encoded: str, param: str) -> Image.Image:
    """Base64, or a data URI of it. Raises JobError naming `param`, the picture's place in the request."""
    if encoded.startswith("data:"):
        encoded = encoded.partition(",")[2]
    try:
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise JobError("invalid_base64", f"{param}: expected base64", param=param) from error
    return decode_bytes(data, param)


def decode_bytes(data: bytes, param: str) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the check below is the stricter one
            picture = Image.open(io.BytesIO(data), formats=FORMATS)
        width, height = picture.size
        if width * height > MAX_PIXELS:
            raise JobError(
                "image_too_large", f"{param}: expected at most {MAX_PIXELS} pixels, got {width}x{height}", param=param
            )
        shown = ImageOps.exif_transpose(picture) if picture.format == "JPEG" else picture
        return flatten_on_white(shown)
    except Image.DecompressionBombError as error:
        raise JobError("image_too_large", f"{param}: too many pixels", param=param) from error
    except Image.UnidentifiedImageError as error:
        raise JobError("unsupported_image", f"{param}: expected a PNG, JPEG or WebP picture", param=param) from error
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise JobError("corrupt_image", f"{param}: the picture cannot be decoded", param=param) from error
