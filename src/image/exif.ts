// The one EXIF field that changes pixels: orientation. Knows the TIFF layout EXIF uses, not where a file format keeps it.

/** How stored pixels must be turned for display, EXIF tag 0x0112: 1 is "as stored", 5 to 8 swap width and height. */
export type Orientation = 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8

const TAG_ORIENTATION = 0x0112
const TYPE_SHORT = 3
const ENTRY_BYTES = 12

/**
 * Orientation from an EXIF block.
 * Damaged or absent EXIF means 1: it is advice beside the picture, and every viewer shows such a file as stored.
 * @param exif bytes of a TIFF structure, with or without the `Exif\0\0` prefix of JPEG's APP1 segment
 */
export function readExifOrientation(exif: Uint8Array): Orientation {
  const tiff = hasExifPrefix(exif) ? exif.subarray(6) : exif
  if (tiff.length < 8) return 1
  const view = new DataView(tiff.buffer, tiff.byteOffset, tiff.byteLength)
  const order = view.getUint16(0)
  const isLittleEndian = order === 0x4949
  if ((!isLittleEndian && order !== 0x4d4d) || view.getUint16(2, isLittleEndian) !== 42) return 1
  const directory = view.getUint32(4, isLittleEndian)
  if (directory + 2 > tiff.length) return 1
  const count = view.getUint16(directory, isLittleEndian)
  for (let index = 0; index < count; index++) {
    const entry = directory + 2 + index * ENTRY_BYTES
    if (entry + ENTRY_BYTES > tiff.length) return 1
    if (view.getUint16(entry, isLittleEndian) !== TAG_ORIENTATION) continue
    if (view.getUint16(entry + 2, isLittleEndian) !== TYPE_SHORT) return 1
    return asOrientation(view.getUint16(entry + 8, isLittleEndian))
  }
  return 1
}

/** True for the `Exif\0\0` that opens an EXIF block in JPEG and, with some writers, in WebP. */
export function hasExifPrefix(bytes: Uint8Array): boolean {
  const prefix = [0x45, 0x78, 0x69, 0x66, 0, 0]
  return prefix.every((byte, index) => bytes[index] === byte)
}

function asOrientation(value: number): Orientation {
  switch (value) {
    case 2:
    case 3:
    case 4:
    case 5:
    case 6:
    case 7:
    case 8:
      return value
    default:
      return 1
  }
}
