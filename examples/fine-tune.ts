// Fine-tunes a classifier with the official OpenAI client, follows it, and classifies with it: npx node examples/fine-tune.ts
// Needs the service from `npm start`, a worker from `npm run gpu`, and the pictures of `npm run data` (or rows of your own:
// npx node examples/fine-tune.ts rows.jsonl). The task: which group an emoji is of, from its picture.

import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import OpenAI, { toFile } from 'openai'

interface EmojiRow {
  image: string
  style_role: string
  concept_split: string
  kind: string
  group: string
}

const DATA = 'data/emoji'
const TRAINING_ROWS = 600
const VALIDATION_ROWS = 150

const [path] = process.argv.slice(2)
const client = new OpenAI({ baseURL: process.env['FLAVA_URL'] ?? 'http://127.0.0.1:8787/v1', apiKey: 'none' })

const [training, validation] = path === undefined ? await emojiRows() : [await readFile(path, 'utf8'), undefined]
const training_file = (await uploadRows(training)).id
const validationFile = validation === undefined ? {} : { validation_file: (await uploadRows(validation)).id }

const created = await client.fineTuning.jobs.create({
  model: 'flava-emoji',
  training_file,
  ...validationFile,
  suffix: 'groups',
  seed: 0,
  method: { type: 'supervised', supervised: { hyperparameters: { n_epochs: 4, batch_size: 32 } } },
})
console.log(`created ${created.id}`)
const job = await follow(created.id)
if (job.fine_tuned_model === null) throw new Error(`the job ${job.status}: ${job.error?.message ?? 'no reason given'}`)

for await (const checkpoint of client.fineTuning.jobs.checkpoints.list(job.id)) {
  console.log(`checkpoint at step ${checkpoint.step_number}`, checkpoint.metrics)
}
const image = (await readFile('examples/cat.png')).toString('base64')
// The client knows no such route; it sends and retries all the same.
const answer = await client.post<{ data: { labels: { label: string; score: number }[] }[] }>('/multimodal/classify', {
  body: { model: job.fine_tuned_model, input: { image } },
  headers: { prefer: 'wait=25' },
})
console.log(job.fine_tuned_model, answer.data[0]?.labels)

/** Prints a job's metrics as they come, until it has ended. */
async function follow(id: string): Promise<OpenAI.FineTuning.FineTuningJob> {
  const response = await fetch(`${client.baseURL}/jobs/${id}/events`)
  if (response.body === null) throw new Error(`events: ${response.status}`)
  let text = ''
  for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
    text += chunk
    const lines = text.split('\n')
    text = lines.pop() ?? ''
    for (const line of lines) if (line.startsWith('data: ')) console.log(line.slice('data: '.length))
  }
  return client.fineTuning.jobs.retrieve(id)
}

async function uploadRows(rows: string): Promise<OpenAI.FileObject> {
  return client.files.create({ file: await toFile(Buffer.from(rows), 'rows.jsonl'), purpose: 'fine-tune' })
}

/** Labelled pictures: of the styles and concepts that models may learn from, and of the dev style. */
async function emojiRows(): Promise<[string, string]> {
  const file = `${DATA}/pairs.jsonl`
  if (!existsSync(file)) throw new Error(`${file} is missing: run npm run data, or name a file of rows`)
  const lines = (await readFile(file, 'utf8')).trim().split('\n')
  const rows = lines.map((line): EmojiRow => JSON.parse(line)).filter(({ kind }) => kind === 'concept')
  const select = (role: string, count: number): Promise<string> => {
    const chosen = rows.filter((row) => row.style_role === role && row.concept_split === 'train')
    const every = Math.max(1, Math.floor(chosen.length / count))
    return toJsonLines(chosen.filter((_, index) => index % every === 0).slice(0, count))
  }
  return Promise.all([select('train-style', TRAINING_ROWS), select('dev-style', VALIDATION_ROWS)])
}

async function toJsonLines(rows: readonly EmojiRow[]): Promise<string> {
  const labelled = rows.map(async ({ image: name, group }) => {
    const picture = await readFile(`${DATA}/images/${name}`)
    return `${JSON.stringify({ image: picture.toString('base64'), label: group })}\n`
  })
  return (await Promise.all(labelled)).join('')
}
