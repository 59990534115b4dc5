// What a package's bytes are spent on, from its manifest alone: parts a reader of a report asks about, and the schemes
// that each is stored in.
import {
  imageLinears,
  imageTensors,
  textLinears,
  textTensors,
  WORD_EMBEDDINGS,
} from '../../src/flava/package-layout.ts'
import type { ModelManifest } from '../../src/flava/manifest.ts'
import type { EncoderName } from '../../src/flava/weights.ts'
import { storedBytes } from '../../src/wasm/schemes.ts'

export const PARTS = [
  'wordEmbeddings',
  'otherEmbeddings',
  'attention',
  'feedForward',
  'normsAndBiases',
  'projection',
] as const
export type Part = (typeof PARTS)[number]

export type PartBytes = Record<Part, number>

export interface EncoderMakeup {
  bytes: PartBytes
  /** How many tensors of a part are stored in which scheme: `{ attention: { w6g64: 48 } }`. */
  schemes: Partial<Record<Part, Record<string, number>>>
  /** Of the Linears with their scales; biases, embeddings and LayerNorms apart. */
  bitsPerWeight: number
}

export function encoderMakeup(manifest: ModelManifest, encoder: EncoderName): EncoderMakeup {
  const tensors = encoder === 'text' ? textTensors(manifest) : imageTensors(manifest)
  const linears = encoder === 'text' ? textLinears(manifest) : imageLinears(manifest)
  const bytes: PartBytes = {
    wordEmbeddings: 0,
    otherEmbeddings: 0,
    attention: 0,
    feedForward: 0,
    normsAndBiases: 0,
    projection: 0,
  }
  let [linearBytes, linearWeights] = [0, 0]
  for (const [name, tensor] of tensors) {
    bytes[partOf(name)] += storedBytes(tensor)
    const shape = linears.get(name.replace(/\.weight(_scale)?$/, ''))
    if (shape === undefined) continue
    linearBytes += storedBytes(tensor)
    if (name.endsWith('.weight')) linearWeights += shape.n * shape.k
  }
  return { bytes, schemes: schemesByPart(manifest, encoder), bitsPerWeight: (linearBytes * 8) / linearWeights }
}

/** The scheme of a quantized tensor, by its name with or without `.weight`. */
export function schemeOfTensor({ schemes }: ModelManifest, tensor: string): string | undefined {
  const name = tensor.replace(/\.weight$/, '')
  return name === WORD_EMBEDDINGS ? schemes.wordEmbeddings : schemes.linears[name]
}

function schemesByPart(manifest: ModelManifest, encoder: EncoderName): EncoderMakeup['schemes'] {
  const linears = encoder === 'text' ? textLinears(manifest) : imageLinears(manifest)
  const names = encoder === 'text' ? [WORD_EMBEDDINGS, ...linears.keys()] : [...linears.keys()]
  const counts: EncoderMakeup['schemes'] = {}
  for (const name of names) {
    const scheme = schemeOfTensor(manifest, name) ?? 'unknown'
    const ofPart = (counts[partOf(`${name}.weight`)] ??= {})
    ofPart[scheme] = (ofPart[scheme] ?? 0) + 1
  }
  return counts
}

function partOf(tensor: string): Part {
  if (tensor.endsWith('.bias') || /layernorm/i.test(tensor)) return 'normsAndBiases'
  if (tensor.startsWith(WORD_EMBEDDINGS)) return 'wordEmbeddings'
  if (tensor.includes('.embeddings.')) return 'otherEmbeddings'
  if (/^(text|image)_projection\./.test(tensor)) return 'projection'
  return tensor.includes('.attention.') ? 'attention' : 'feedForward'
}
