// Embeds many texts in one batch with the official OpenAI client: npx node examples/batch.ts [texts.txt, one a line]
// Needs the service from `npm start` and a worker from `npm run gpu`. Prints how it stands, then one line for each answer.

import { readFile } from 'node:fs/promises'
import { setTimeout as wait } from 'node:timers/promises'
import OpenAI, { toFile } from 'openai'

const POLL_MS = 500
const TEXTS = ['a cat', 'a dog', 'a birthday cake', 'a red car', 'a smiling face', 'rain']

const [path] = process.argv.slice(2)
const texts = path === undefined ? TEXTS : (await readFile(path, 'utf8')).split('\n').filter((line) => line !== '')
const client = new OpenAI({ baseURL: process.env['FLAVA_URL'] ?? 'http://127.0.0.1:8787/v1', apiKey: 'none' })

const lines = texts.map((input, index) => ({
  custom_id: `text-${index}`,
  method: 'POST',
  url: '/v1/embeddings',
  body: { model: 'flava-emoji', input },
}))
const content = lines.map((line) => `${JSON.stringify(line)}\n`).join('')
const input = await client.files.create({ file: await toFile(Buffer.from(content), 'texts.jsonl'), purpose: 'batch' })
let batch = await client.batches.create({
  input_file_id: input.id,
  endpoint: '/v1/embeddings',
  completion_window: '24h',
})
while (['validating', 'in_progress', 'finalizing'].includes(batch.status)) {
  await wait(POLL_MS)
  batch = await client.batches.retrieve(batch.id)
  console.log(batch.id, batch.status, batch.request_counts)
}
if (batch.output_file_id !== undefined && batch.output_file_id !== null) {
  const output = await client.files.content(batch.output_file_id)
  for (const line of (await output.text()).trim().split('\n')) console.log(`${line.slice(0, 140)}…`)
}
