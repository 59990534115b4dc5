// WordNet's glosses with the lexicographer file that their synset stands in: 45 classes of meaning.

import { readGlosses } from '../glosses.ts'
import type { PackageFiles } from '../package-files.ts'
import { groupOfContent, labelled, type LabelledRow, type LabelledSet } from './labelled-rows.ts'

export interface GlossClassRow extends LabelledRow {
  text: string
  lemma: string
  pos: string
}

export function readGlossClasses(wordnet: PackageFiles): LabelledSet {
  const counts = new Map<string, number>()
  const rows: GlossClassRow[] = readGlosses(wordnet).map(({ lemma, pos, gloss, lexfile }) => {
    const number = counts.get(pos) ?? 0
    counts.set(pos, number + 1)
    return { text: gloss, lemma, pos, ...labelled(`${pos}-${number}`, lexfile, groupOfContent(gloss)) }
  })
  return { name: 'glosses', rows, jobs: [] }
}
