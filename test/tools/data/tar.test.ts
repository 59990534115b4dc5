// The tar reader against archives made by GNU tar 1.34 (`tar --format=… -c`, gzip, base64) and against archives
// built here field by field.

import { gunzipSync } from 'node:zlib'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'

import { ArchiveError } from '../../../tools/data/errors.ts'
import { readTar } from '../../../tools/data/tar.ts'

// package/a.txt "one", package/empty "", package/link -> a.txt, package/d/n…n.txt (120 n) "two"
const GNU =
  'H4sIAAAAAAACA+3XQQ6CMBAF0B6lJ6ClpczWA3CJRgkxaCFao97eBnUhMSaYtBj5bzPsf2b47e26tU0tWEQyIGOGGYznm2/SYXDDEjgdvT1wzhaqf+RvM3/xEfMvi+JD/vo1/1wqoxiXyD+6ztUMluu5/5uIf4Av7r9RGvc/hUxkYlV1rqm2rp3p/itJ4/yJwv2vkH/C/XcziVg84Cfyn9z/tBr2H/0vPn/usATYf1Hve3+d7f0nx+8/XRD2P2X+u3j1797/iSbkn+e6ZFzZBN1g4fkDAAAAAAAAAADA/7oBkg0HugAoAAA='
const PAX =
  'H4sIAAAAAAACA+3azW6CQBSGYdZeBVeg88vIwn2XvYWJktZY0eiY2rsvGhMJtmlIYCjxfTYQWRAzfudwBqezV39+KfyqOBxne7/c+Lci6ZioZMZcj5XmUQhn7ueXz6W01ibpOYngdAz+UN0+eU5apD6st8VCutwa7YyVU+ucyaW2blJdXT5e1berCUbvFvlZn/e4RrwK9K/5b55LkVWH1I4p/80vN7L1r3UBPw3nMGz9V8Zm1H/qP2Llv/PQt8m/0I/PfypJxZjyP9L6vysLQkD+6/1/9Q/mv8xo+j/9H7Hyv+pxAmw//0mhNPNf3PWvdYCyW3/Vfy0b9V8rJyT1PwZpTLr34X1x/yGUA7lMIJMf+9Fc2XxuXE4/6jH//S1s6/lPG+WY/6IInztCQP7r3b/Y7sPXsPOfsuz/Djn/aea/J8t/56Fvk//H+S8zjv4/UP3/WJebgff/lOb/H+z/IV7+Ow99c//PuRb1XxldPf+pPl9KUv8BAAAAAAAAAAAAAAAAAMBIfQPT8+PQAFAAAA=='
// package/e…e/f…f/b.txt (80 e, 60 f) "three": too long for ustar's name field, so it is split over the prefix
const USTAR =
  'H4sIAAAAAAACA+3UTQ7CIBCGYY7SEwjqTDkPmqqJm6Zi4vFF48K0xg0/SZP32Qw7GD6GMRyv4TxYU5FLvOq7JvO6XG9dn0qnpoH7LYYpbV+iye/mVmL85D8UZnPy3zvxnvxbOGWwteZfkrXnX2uwCrd/2MRHrHzFr/voRf7kr7P8VXZiOkf+Pz7WnIldHjtepuJvCgAAAAAAAAAAAAAAtPUEQMP7rwAoAAA='

const BLOCK = 512

function open(base64: string): Map<string, Uint8Array> {
  return readTar(gunzipSync(Buffer.from(base64, 'base64')))
}

function textsOf(files: ReadonlyMap<string, Uint8Array>): Record<string, string> {
  return Object.fromEntries(Array.from(files, ([path, content]) => [path, new TextDecoder().decode(content)]))
}

/** One entry as POSIX.1-1988 writes it. */
function entry(path: string, content: Uint8Array, kind = '0'): Buffer {
  const header = Buffer.alloc(BLOCK)
  header.write(path, 0)
  header.write(content.length.toString(8).padStart(11, '0'), 124)
  header.write(kind, 156)
  header.write('ustar\x0000', 257)
  header.fill(' ', 148, 156)
  let sum = 0
  for (const byte of header) sum += byte
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
  const padding = Buffer.alloc((BLOCK - (content.length % BLOCK)) % BLOCK)
  return Buffer.concat([header, content, padding])
}

const END = Buffer.alloc(2 * BLOCK)

describe('readTar', () => {
  const long = `package/d/${'n'.repeat(120)}.txt`

  test.each([
    ['GNU', GNU],
    ['pax', PAX],
  ])('reads the files of a %s archive with a long path, and no links', (_format, archive) => {
    expect(textsOf(open(archive))).toEqual({ 'package/a.txt': 'one', 'package/empty': '', [long]: 'two' })
  })

  test('joins the prefix of a ustar path to its name', () => {
    const path = `package/${'e'.repeat(80)}/${'f'.repeat(60)}/b.txt`
    expect(textsOf(open(USTAR))).toEqual({ [path]: 'three' })
  })

  test('gives back any files of any size in archive order', () => {
    const name = fc.stringMatching(/^[a-z]{1,20}(\/[a-z]{1,20})?$/)
    const files = fc.uniqueArray(fc.tuple(name, fc.uint8Array({ maxLength: 1500 })), { selector: ([path]) => path })
    fc.assert(
      fc.property(files, (list) => {
        const archive = Buffer.concat([...list.map(([path, content]) => entry(path, content)), END])
        const read = Array.from(readTar(archive), ([path, content]) => [path, [...content]])
        expect(read).toEqual(list.map(([path, content]) => [path, [...content]]))
      }),
      { seed: 7, numRuns: 50 },
    )
  })

  test('refuses a header whose checksum is wrong', () => {
    const archive = Buffer.concat([entry('a', Buffer.from('x')), END])
    archive[0] = 0x62
    expect(() => readTar(archive)).toThrow(ArchiveError)
  })

  test('refuses an archive that ends inside a file', () => {
    const archive = entry('a', Buffer.alloc(2000)).subarray(0, BLOCK + 1000)
    expect(() => readTar(archive)).toThrow(/expected 2000 bytes for a, got 1000/)
  })

  test('refuses an archive without its end', () => {
    expect(() => readTar(entry('a', Buffer.from('x')))).toThrow(ArchiveError)
  })
})
