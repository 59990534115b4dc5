// A picture as it stands in a JSON request: a data URI, base64, or an https URL.

import { Buffer } from 'node:buffer'
import { InvalidBase64Error, UnsupportedImageError } from '../errors.ts'
import type { PictureSource } from '../services/collect-pictures.ts'
import { toJobPicture, type JobPicture } from '../services/job-pictures.ts'

const BASE64 = /^[A-Za-z0-9+/]+={0,2}$/
/** Media type, and everything between it and the comma. No group repeats: the text is hostile and up to 20 MiB long. */
const DATA_URI = /^data:([^,;]*)((?:;[^,]*)?),/

/** @throws InvalidBase64Error, UnsupportedImageError */
export function parsePicture(image: string, param: string): PictureSource {
  if (/^https?:\/\//i.test(image)) return { kind: 'imageUrl', url: image, param }
  if (!image.startsWith('data:')) return { kind: 'image', bytes: decodeBase64(image, param), param }
  const [head, mediaType = '', parameters = ''] = DATA_URI.exec(image) ?? []
  if (head === undefined || !/;base64$/i.test(parameters)) {
    throw new InvalidBase64Error(`${param}: expected a data URI in base64: data:image/png;base64,...`, { param })
  }
  // The bytes decide what it is; a label that says "not a picture" is refused all the same, as the caller's mistake.
  if (mediaType !== '' && !/^(image\/|application\/octet-stream$)/i.test(mediaType)) {
    throw new UnsupportedImageError(`${param}: expected a data URI of an image type`, { param })
  }
  return { kind: 'image', bytes: decodeBase64(image.slice(head.length), param), param }
}

/**
 * For a job, which carries the request's own text on where every decoder takes it: padded, without white space.
 * @throws as parsePicture; for a header that is wrong too
 */
export function parseJobPicture(image: string, param: string): JobPicture {
  const source = parsePicture(image, param)
  const text = image.startsWith('data:') ? image.slice(image.indexOf(',') + 1) : image
  return toJobPicture(source, text.length % 4 === 0 && BASE64.test(text) ? text : undefined)
}

function decodeBase64(text: string, param: string): Uint8Array {
  const compact = /\s/.test(text) ? text.replaceAll(/\s+/g, '') : text
  // Buffer ignores what is not base64, so the form is checked first; padding may be left out, as many encoders do.
  const padding = compact.endsWith('==') ? 2 : compact.endsWith('=') ? 1 : 0
  const digits = compact.length - padding
  const isPaddedRight = padding === 0 || compact.length % 4 === 0
  if (!BASE64.test(compact) || digits % 4 === 1 || !isPaddedRight) {
    throw new InvalidBase64Error(`${param}: expected a data URI, base64 or an https URL, got none of them`, { param })
  }
  return new Uint8Array(Buffer.from(compact, 'base64'))
}
