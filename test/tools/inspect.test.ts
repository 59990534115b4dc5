// `npm run inspect`: a sound package as tables and JSON; whatever is wrong with one is named, and ends with 1.
import { spawnSync } from 'node:child_process'
import { readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeEach, describe, expect, test } from 'vitest'
import { formatPackage, packageAsJson } from '../../tools/inspect/format-package.ts'
import { inspectPackage } from '../../tools/inspect/read-package.ts'
import { textTable } from '../../tools/inspect/text-table.ts'
import { safetensorsFile, packageOf, tinyPackage } from '../flava/tiny-package.ts'
import { tinyTokenizer } from '../flava/tiny-tokenizer.ts'
import { tinyReport, writePackage } from './export/tiny-parity.ts'

let directory: string

beforeEach(async () => {
  directory = await writePackage(tinyPackage())
  await writeFile(join(directory, 'parity.json'), JSON.stringify(tinyReport()))
})

async function changeConfig(edit: (edge: Record<string, unknown>) => void): Promise<void> {
  const path = join(directory, 'config.json')
  const config = JSON.parse(await readFile(path, 'utf8'))
  edit(config.flava_edge)
  await writeFile(path, JSON.stringify(config))
}

function run(...args: string[]) {
  return spawnSync(process.execPath, ['tools/inspect.ts', ...args], { encoding: 'utf8' })
}

describe('a sound package', () => {
  test('is printed with identity, schemes, bytes, gates and its worst tensors first', async () => {
    const text = formatPackage(await inspectPackage(directory))
    expect(text).toContain(tinyPackage().manifest.weights)
    expect(text).toMatch(/attention\s+w6g64 x 2, w7 x 2/)
    expect(text).toMatch(/texts\s+208\s+0\.999980\s+0\.999910\s+0\.999870/)
    expect(text).toMatch(/text: mean cosine\s+at least\s+0\.998\s+0\.99998\s+passed/)
    expect(text).toMatch(/worst 2 of 2 tensors[^\n]*\ntext_projection[^\n]*0\.250000\nimage_projection[^\n]* -/)
  })

  test('says so when it has no parity report', async () => {
    await rm(join(directory, 'parity.json'))
    expect(formatPackage(await inspectPackage(directory))).toContain('no parity.json')
  })

  test('gives the same as one object, which survives JSON', async () => {
    const json = packageAsJson(await inspectPackage(directory))
    expect(JSON.parse(JSON.stringify(json))).toEqual(json)
    expect(json).toMatchObject({ variant: 'default', geometry: { text: { hiddenSize: 64 } } })
    expect(json.text.bytes.wordEmbeddings).toBe(50 * 64 + 50 * 4)
  })
})

describe('a package that is not whole is refused', () => {
  const refusal = async () => await inspectPackage(directory).catch((error: unknown) => error)

  test('with a tokenizer of more words than the table has rows', async () => {
    directory = await writePackage(tinyPackage({ tokenizer: tinyTokenizer(51) }))
    expect(await refusal()).toMatchObject({
      code: 'model_package_invalid',
      message: 'tokenizer.json: "w50": expected an id below vocab_size (50), got 50',
    })
  })

  test('truncated', async () => {
    await truncate(join(directory, 'image.safetensors'), 5000)
    expect(await refusal()).toMatchObject({
      code: 'model_package_invalid',
      message: expect.stringMatching(/^image\.safetensors: truncated/),
    })
  })

  test('with one bit changed', async () => {
    const path = join(directory, 'text.safetensors')
    const bytes = await readFile(path)
    bytes.writeUInt8(bytes.readUInt8(bytes.length - 1) ^ 1, bytes.length - 1)
    await writeFile(path, bytes)
    expect(await refusal()).toMatchObject({ message: expect.stringMatching(/^text\.safetensors: sha256/) })
  })

  test('with a tensor missing, although its hash is right', async () => {
    const { files, tensors } = tinyPackage()
    const text = safetensorsFile(tensors.text.slice(1))
    directory = await writePackage(packageOf({}, { text, image: files.get('image.safetensors')! }))
    expect(await refusal()).toMatchObject({
      message: expect.stringMatching(/^text\.safetensors: .*tensor is missing$/),
    })
  })

  test('with a file missing', async () => {
    await rm(join(directory, 'tokenizer.json'))
    expect(await refusal()).toMatchObject({ message: expect.stringContaining('tokenizer.json') })
  })

  test('of a later format', async () => {
    await changeConfig((edge) => {
      edge['format_version'] = 3
    })
    expect(await refusal()).toMatchObject({ code: 'model_package_unsupported' })
  })

  test('with an identity that is not its files', async () => {
    await changeConfig((edge) => {
      edge['weights'] = 'f'.repeat(64)
    })
    expect(await refusal()).toMatchObject({ message: expect.stringMatching(/flava_edge\.weights: expected/) })
  })

  test('with the parity report of another package, or none that can be read', async () => {
    await writeFile(join(directory, 'parity.json'), JSON.stringify({ ...tinyReport(), weights: 'e'.repeat(64) }))
    expect(await refusal()).toMatchObject({ message: expect.stringContaining('of another package') })
    await writeFile(join(directory, 'parity.json'), '{"formatVersion": 1}')
    expect(await refusal()).toMatchObject({ message: expect.stringMatching(/^parity\.json: /) })
  })
})

describe('the command', () => {
  test('prints JSON with --json and ends with 0', () => {
    const { status, stdout } = run(directory, '--json')
    expect(status).toBe(0)
    expect(JSON.parse(stdout)).toMatchObject({ variant: 'default' })
  })

  test('ends with 1 and one line for a folder that is no package, with 2 for wrong usage', () => {
    const missing = run(join(directory, 'nothing'))
    expect(missing.status).toBe(1)
    expect(missing.stderr).toMatch(/^model_unavailable: [^\n]*\n$/)
    expect(run().status).toBe(2)
    expect(run(directory, '--fast').status).toBe(2)
  })
})

test('textTable aligns the first column to the left and figures to the right', () => {
  expect(textTable([['a', '1'], ['bbb', '20', 'x'], []])).toBe('a     1\nbbb  20  x\n')
})
