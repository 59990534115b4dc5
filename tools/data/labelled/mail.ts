// SpamAssassin's public mail corpus: subject and body of each message. Headers are left out: they tell when and by
// whom a message was collected, which gives the label away.

import PostalMime from 'postal-mime'
import { z } from 'zod'

import { ArchiveError } from '../errors.ts'
import { readJson, type PackageFiles } from '../package-files.ts'
import { groupOfContent, labelled, type LabelledRow, type LabelledSet } from './labelled-rows.ts'

export interface MailRow extends LabelledRow {
  text: string
  /** The corpus' own part: `hard-ham-1`. */
  collection: string
}

const messageSchema = z.object({ id: z.string(), group: z.string(), text: z.string() })
const COLLECTIONS: ReadonlyMap<string, string> = new Map([
  ['easy-ham-1', 'ham'],
  ['easy-ham-2', 'ham'],
  ['hard-ham-1', 'ham'],
  ['spam-1', 'spam'],
  ['spam-2', 'spam'],
])
const MESSAGE_FILE = /^data\/([^/]+)\/\d+\.[0-9a-f]+\.json$/
/** Longer than any encoder here reads; a few messages are whole digests. */
const MAX_CHARACTERS = 4000
// Names of the lists and labels in subjects that a filter or the collectors put there.
const SUBJECT_MARK = /\[[^\]]*\]|\*{3,}SPAM\*{3,}/g
const ENTITIES: Record<string, string> = { '&nbsp;': ' ', '&amp;': '&', '&lt;': '<', '&gt;': '>', '&quot;': '"' }

/** @throws ArchiveError naming the message that is not of a known collection, or no mail */
export async function readMail(corpus: PackageFiles): Promise<LabelledSet> {
  const rows: MailRow[] = []
  const paths = [...corpus.files.keys()].filter((path) => MESSAGE_FILE.test(path)).toSorted()
  for (const path of paths) {
    const { id, group: collection, text: raw } = readJson(corpus, path, messageSchema)
    const label = COLLECTIONS.get(collection)
    if (label === undefined)
      throw new ArchiveError(`${corpus.name}: ${path}: expected a known group, got ${collection}`)
    const text = await textOf(raw).catch((cause: unknown) => {
      throw new ArchiveError(`${corpus.name}: ${path}: expected a mail`, { cause })
    })
    const letters = text.toLowerCase().replace(/\P{L}/gu, '')
    rows.push({ text, collection, ...labelled(`${collection}/${id}`, label, groupOfContent(letters)) })
  }
  return { name: 'mail', rows, jobs: [] }
}

/** Subject, empty line, body as text, white space as single blanks. */
async function textOf(raw: string): Promise<string> {
  // The corpus is of mbox files: a first line "From address date" is no header.
  const { subject = '', text, html = '' } = await PostalMime.parse(raw.replace(/^From .*\n/, ''))
  const body = text === undefined || text.trim() === '' ? htmlToText(html) : text
  const lines = [subject.replace(SUBJECT_MARK, ' '), body].map((part) => part.replace(/\s+/g, ' ').trim())
  return Array.from(lines.join('\n\n')).slice(0, MAX_CHARACTERS).join('')
}

/** What is between the tags; good enough for words, not for layout. */
function htmlToText(html: string): string {
  return html
    .replace(/<(script|style)\b[\s\S]*?<\/\1\s*>/gi, ' ')
    .replace(/<!--[\s\S]*?-->/g, ' ')
    .replace(/<[^>]*>/g, ' ')
    .replace(/&(nbsp|amp|lt|gt|quot);/gi, (entity) => ENTITIES[entity.toLowerCase()] ?? ' ')
}
