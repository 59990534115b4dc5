// WordNet's glosses as unpaired text: one line a synset, with its first lemma and the class of its meaning.

import { ArchiveError } from './errors.ts'
import { readText, type PackageFiles } from './package-files.ts'

/** One line of glosses.jsonl. */
export interface Gloss {
  /** First word of the synset, blanks instead of underscores. */
  lemma: string
  pos: PartOfSpeech
  /** Definition and quoted examples, as WordNet has them. */
  gloss: string
  /** Lexicographer file: `noun.animal`. */
  lexfile: string
}

export type PartOfSpeech = (typeof PARTS_OF_SPEECH)[number]

const PARTS_OF_SPEECH = ['noun', 'verb', 'adj', 'adv'] as const

// Numbers of the lexicographer files: https://wordnet.princeton.edu/documentation/lexnames5wn
const LEXFILES = `
  adj.all adj.pert adv.all noun.Tops noun.act noun.animal noun.artifact noun.attribute noun.body
  noun.cognition noun.communication noun.event noun.feeling noun.food noun.group noun.location noun.motive
  noun.object noun.person noun.phenomenon noun.plant noun.possession noun.process noun.quantity noun.relation
  noun.shape noun.state noun.substance noun.time verb.body verb.change verb.cognition verb.communication
  verb.competition verb.consumption verb.contact verb.creation verb.emotion verb.motion verb.perception
  verb.possession verb.social verb.stative verb.weather adj.ppl
`
  .trim()
  .split(/\s+/)

/** All synsets: nouns, verbs, adjectives, adverbs, each in file order. */
export function readGlosses(wordnet: PackageFiles): Gloss[] {
  return PARTS_OF_SPEECH.flatMap((pos) => parseSynsets(readText(wordnet, `dict/data.${pos}`), pos))
}

/**
 * Synsets of one WordNet data file.
 * @throws ArchiveError for a line that is no synset
 * Format: https://wordnet.princeton.edu/documentation/wndb5wn ("offset lexfile type count word … | gloss").
 */
export function parseSynsets(source: string, pos: PartOfSpeech): Gloss[] {
  // The licence at the top is indented; every synset starts with its offset.
  const lines = source.split('\n').filter((line) => line !== '' && !line.startsWith(' '))
  return lines.map((line) => {
    const [, lexfileNumber, word, gloss] = /^\d{8} (\d\d) [nvasr] [0-9a-f]{2} (\S+) .*?\| (.*)$/.exec(line) ?? []
    const lexfile = LEXFILES[Number(lexfileNumber)]
    if (word === undefined || gloss === undefined || lexfile === undefined) {
      throw new ArchiveError(`wordnet data.${pos}: expected a synset, got ${JSON.stringify(line.slice(0, 60))}`)
    }
    return { lemma: lemmaOf(word), pos, gloss: gloss.trim(), lexfile }
  })
}

/** Without the marker that says where an adjective may stand: `galore(ip)`. */
function lemmaOf(word: string): string {
  return word.replace(/\((a|p|ip)\)$/, '').replaceAll('_', ' ')
}
