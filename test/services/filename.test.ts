import { expect, test } from 'vitest'
import { attachment } from '../../src/handlers/content-disposition.ts'
import { toFilename } from '../../src/services/filename.ts'

test.for([
  ['data.jsonl', 'data.jsonl'],
  ['../../etc/passwd', 'passwd'],
  ['C:\\Users\\me\\data.zip', 'data.zip'],
  ['/', 'file'],
  ['', 'file'],
  ['..', 'file'],
  ['   ', 'file'],
  ['a\r\nset-cookie: b\u0000.txt', 'aset-cookie: b.txt'],
  ['\u202Etxt.exe', 'txt.exe'],
  ['日本語 😀.jsonl', '日本語 😀.jsonl'],
  ['half \ud83d.txt', 'half .txt'],
] as const)('%j becomes %j', ([given, kept]) => {
  expect(toFilename(given)).toBe(kept)
})

test('a long name is cut to 255 characters, none of them in half', () => {
  expect(toFilename('😀'.repeat(300))).toBe('😀'.repeat(255))
})

test.for(['a"b\\c%.txt', 'naïve 名前.jsonl', "it's (1)*.txt"])(
  'content-disposition of %j is ASCII and says it twice',
  (name) => {
    const header = attachment(name)
    expect(header).toMatch(
      /^attachment; filename="[\x20-\x21\x23-\x5b\x5d-\x7e]*"; filename\*=UTF-8''[A-Za-z0-9%._~!-]*$/,
    )
    expect(decodeURIComponent(header.slice(header.indexOf("''") + 2))).toBe(name)
  },
)
