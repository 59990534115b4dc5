// Ranks captions for a picture with the official OpenAI client: npx node examples/compare.ts examples/cat.png
// Needs the service from `npm start`; FLAVA_MODEL names another model than the embedded one. Prints cosine similarities, best first.

import { readFile } from 'node:fs/promises'
import OpenAI from 'openai'

const CAPTIONS = ['a cat', 'a dog', 'a birthday cake', 'a red car', 'a smiling face', 'rain']

const model = process.env['FLAVA_MODEL'] ?? 'flava-emoji'
const [path = 'examples/cat.png'] = process.argv.slice(2)
const client = new OpenAI({ baseURL: process.env['FLAVA_URL'] ?? 'http://127.0.0.1:8787/v1', apiKey: 'none' })
const image = (await readFile(path)).toString('base64')

const captions = await client.embeddings.create({ model, input: CAPTIONS })
// The client's type for `input` knows no pictures; the service takes them in the same place.
const picture = await client.post<typeof captions>('/embeddings', { body: { model, input: { image } } })

const pictureVector = picture.data[0]?.embedding ?? []
const ranked = captions.data
  .map(({ embedding, index }) => ({ caption: CAPTIONS[index], similarity: dot(embedding, pictureVector) }))
  .toSorted((a, b) => b.similarity - a.similarity)
for (const { caption, similarity } of ranked) console.log(similarity.toFixed(3), caption)

/** Vectors arrive with length 1, so their dot product is the cosine. */
function dot(a: readonly number[], b: readonly number[]): number {
  return a.reduce((sum, value, i) => sum + value * (b[i] ?? 0), 0)
}
