"""The byte layouts of package format 2, byte by byte: test/wasm/pack.test.ts holds the TypeScript side to the same."""

from __future__ import annotations

import numpy as np
import pytest

from flava_gpu import packing
from flava_gpu.schemes import (
    EMBEDDING_SCHEMES,
    LINEAR_SCHEMES,
    EmbeddingScheme,
    LinearScheme,
    check_linear,
    embedding_bytes,
    linear_bytes,
)

GROUP_SCHEMES: tuple[LinearScheme, ...] = ("w6g64", "w5g64", "w4g64", "w4g32")


def random_codes(spec_low: int, spec_high: int, shape: tuple[int, int], seed: int = 1) -> packing.Codes:
    return np.random.default_rng(seed).integers(spec_low, spec_high + 1, shape).astype(np.int8)


@pytest.mark.parametrize("scheme", ["w7", "w8"])
def test_byte_schemes_put_channel_n_input_k_at_the_documented_byte(scheme: LinearScheme) -> None:
    spec = LINEAR_SCHEMES[scheme]
    codes = random_codes(spec.low, spec.high, (24, 20))
    packed = packing.pack_linear(scheme, codes).reshape(-1)
    for n in range(24):
        for k in range(20):
            offset = (n // 8) * 20 * 8 + (k // 4) * 32 + (n % 8) * 4 + k % 4
            assert int(packed[offset]) == codes[n, k] + spec.zero


@pytest.mark.parametrize("scheme", GROUP_SCHEMES)
def test_group_schemes_put_each_bit_of_channel_n_input_k_at_its_documented_place(scheme: LinearScheme) -> None:
    spec = LINEAR_SCHEMES[scheme]
    n_total, k_total = 16, 128
    codes = random_codes(spec.low, spec.high, (n_total, k_total))
    chunk_bytes = 2 * spec.bits * 8
    panels = packing.pack_linear(scheme, codes).reshape(n_total // 8, k_total // 16, chunk_bytes)
    for n in range(n_total):
        for k in range(k_total):
            chunk = panels[n // 8, k // 16]
            step, vector, i = k % 16 // 4, k % 16 // 4 * 2 + n % 8 // 4, n % 4 * 4 + k % 4
            code = (int(chunk[16 * step + i]) >> (4 * (vector % 2))) & 15
            if spec.bits == 5:
                code |= ((int(chunk[64 + i]) >> vector) & 1) << 4
            if spec.bits == 6:
                code |= ((int(chunk[64 + 16 * (vector // 4) + i]) >> (2 * (vector % 4))) & 3) << 4
            assert code == codes[n, k] + spec.zero


def test_a_hand_written_w6_chunk_has_the_bytes_of_the_drawing() -> None:
    codes = np.full((8, 64), -32, np.int8)  # stored 0
    codes[0, 0] = 0b110101 - 32  # v0, byte 0: nibble 5 low, bits 3 of t0 at position 0
    codes[4, 0] = 0b101001 - 32  # v1, byte 0: nibble 9 high, bits 2 of t0 at position 2
    codes[1, 14] = 0b011111 - 32  # step 3, v6, byte 6: nibble 15 low of row 3, bits 1 of t1 at position 4
    packed = packing.pack_linear("w6g64", codes).reshape(-1)
    expected = np.zeros(8 * 64 * 6 // 8, np.uint8)
    expected[0] = 5 | 9 << 4
    expected[64] = 3 | 2 << 2
    expected[3 * 16 + 6] = 15
    expected[64 + 16 + 6] = 1 << 4
    assert np.array_equal(packed, expected)


@pytest.mark.parametrize("scheme", list(LINEAR_SCHEMES))
def test_unpacking_a_linear_undoes_packing_and_sizes_add_up(scheme: LinearScheme) -> None:
    spec = LINEAR_SCHEMES[scheme]
    codes = random_codes(spec.low, spec.high, (24, 192), seed=2)
    packed = packing.pack_linear(scheme, codes)
    assert packed.shape == (24, 192 * spec.bits // 8)
    assert packed.dtype == (np.int8 if scheme == "w8" else np.uint8)
    assert np.array_equal(packing.unpack_linear(scheme, packed), codes)
    groups = 192 // spec.group_size(192)
    assert linear_bytes(scheme, 24, 192) == packed.nbytes + 24 * groups * spec.scale_bytes


def test_w7_bytes_stay_in_1_to_127() -> None:
    packed = packing.pack_linear("w7", random_codes(-63, 63, (8, 400)))
    assert (packed.min(), packed.max()) == (1, 127)


def test_group_scales_lie_in_panels_of_eight_channels() -> None:
    scale = packing.round_to_bf16(np.random.default_rng(3).normal(0, 1, (16, 3)).astype(np.float32))
    packed = packing.pack_group_scales(scale)
    assert packed.shape == (2, 3, 8)
    for n in range(16):
        for group in range(3):
            assert packing.from_bf16(packed[n // 8, group, n % 8 : n % 8 + 1])[0] == scale[n, group]
    assert np.array_equal(packing.unpack_group_scales(packed), scale)


def test_bf16_rounds_to_nearest_and_ties_to_even() -> None:
    values = np.array([1.0, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, -1 - 2**-8, 0.0, -0.1], np.float32)
    expected = [1.0, 1.0, 1 + 4 * 2**-8, 1 + 2 * 2**-8, -1.0, 0.0]
    assert packing.round_to_bf16(values)[:6].tolist() == expected
    assert abs(packing.round_to_bf16(values)[6] + 0.1) < 0.1 * 2**-8


@pytest.mark.parametrize("scheme", list(EMBEDDING_SCHEMES))
def test_unpacking_rows_undoes_packing_and_sizes_add_up(scheme: EmbeddingScheme) -> None:
    spec = EMBEDDING_SCHEMES[scheme]
    codes = random_codes(spec.low, spec.high, (5, 192))
    packed = packing.pack_rows(scheme, codes)
    assert packed.shape == (5, 192 * spec.bits // 8)
    assert np.array_equal(packing.unpack_rows(scheme, packed), codes)
    groups = 192 // spec.group_size(192)
    assert embedding_bytes(scheme, 5, 192) == packed.nbytes + 5 * groups * spec.scale_bytes


def test_e6_rows_have_the_documented_planes() -> None:
    codes = random_codes(-31, 31, (2, 128), seed=4)
    packed = packing.pack_rows("e6", codes)
    stored = codes.astype(int) + 32
    for row in range(2):
        for span in range(2):
            n0, n1, top = packed[row].reshape(2, 3, 16)[span].astype(int)
            for i in range(16):
                quarters = [n0[i] & 15, n0[i] >> 4, n1[i] & 15, n1[i] >> 4]
                for j, low in enumerate(quarters):
                    assert low | ((top[i] >> (2 * j)) & 3) << 4 == stored[row, span * 64 + j * 16 + i]


def test_e4_rows_hold_values_i_and_16_plus_i_in_byte_i() -> None:
    codes = random_codes(-8, 7, (3, 64), seed=5)
    packed = packing.pack_rows("e4g32", codes).reshape(3, 2, 16)
    stored = (codes.astype(int) + 8).reshape(3, 2, 2, 16)
    assert np.array_equal(packed & 15, stored[:, :, 0])
    assert np.array_equal(packed >> 4, stored[:, :, 1])


@pytest.mark.parametrize(
    ("scheme", "n", "k"), [("w7", 12, 8), ("w8", 8, 6), ("w6g64", 8, 96), ("w4g32", 8, 48), ("w4g64", 7, 64)]
)
def test_a_shape_without_whole_panels_and_groups_is_refused_by_name(scheme: LinearScheme, n: int, k: int) -> None:
    with pytest.raises(ValueError, match=rf"some\.weight: {scheme} .* got \[{n}, {k}\]"):
        check_linear("some.weight", scheme, (n, k))
