// Another package than the embedded one: checked before it is served or deployed, placed by its size, and the wrangler
// files that say so.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { getPlatformProxy } from 'wrangler'
import { z } from 'zod'
import { contentKey } from '../../src/platform/r2-package.ts'
import { startDevServer } from '../../tools/dev-server.ts'
import { uploadLocally } from '../../tools/model/local-upload.ts'
import { checkPackage, PackageError, type CheckedPackage } from '../../tools/model/package-check.ts'
import { homeOf, writeWorkerSettings } from '../../tools/model/worker-settings.ts'
import { runCommand } from '../../tools/run-command.ts'
import { tinyPackage } from '../flava/tiny-package.ts'

const MIB = 1024 * 1024
const PORT = 8931
const R2 = { source: 'r2', bucket: 'my-models', configKey: 'models/tiny/config.json' } as const

const settingsSchema = z.looseObject({
  main: z.string(),
  vars: z.record(z.string(), z.string()),
  assets: z.looseObject({ directory: z.string() }).optional(),
  r2_buckets: z.array(z.object({ binding: z.string(), bucket_name: z.string() })).optional(),
})

let folder: string

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'flava-package-'))
  for (const [name, bytes] of tinyPackage().files) writeFileSync(join(folder, name), bytes)
})
afterAll(() => {
  rmSync(folder, { recursive: true })
  rmSync(join('.wrangler/models', basename(folder)), { recursive: true, force: true })
})

function withTextOf(pack: CheckedPackage, sizeBytes: number): CheckedPackage {
  return { ...pack, files: pack.files.map((file, index) => (index === 0 ? { ...file, sizeBytes } : file)) }
}

function readSettings(paths: readonly string[]): z.infer<typeof settingsSchema>[] {
  return paths.map((path) => settingsSchema.parse(JSON.parse(readFileSync(path, 'utf8'))))
}

async function readyAt(url: string): Promise<unknown> {
  for (;;) {
    const response = await fetch(url).catch(() => undefined)
    if (response?.ok) return await response.json()
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
}

describe('checkPackage', () => {
  test('takes a whole package and names it by its folder', async () => {
    const pack = await checkPackage(folder)
    expect(pack.modelId).toBe(basename(folder))
    expect(pack.files.map(({ name }) => name)).toEqual([
      'text.safetensors',
      'image.safetensors',
      'tokenizer.json',
      'preprocessor_config.json',
    ])
  })

  test('refuses what is missing, of another size or of another content, by name', async () => {
    const path = join(folder, 'image.safetensors')
    const bytes = readFileSync(path)
    const flipped = Buffer.from(bytes)
    flipped[9] = (flipped[9] ?? 0) ^ 1
    writeFileSync(path, flipped)
    await expect(checkPackage(folder)).rejects.toThrow(/image\.safetensors: sha256: expected/)
    writeFileSync(path, bytes.subarray(1))
    await expect(checkPackage(folder)).rejects.toThrow(`expected ${bytes.length} bytes, as config.json says, got`)
    rmSync(path)
    await expect(checkPackage(folder)).rejects.toThrow('expected it, as config.json names it')
    writeFileSync(path, bytes)
    await expect(checkPackage(tmpdir())).rejects.toThrow(PackageError)
  })
})

describe('writeWorkerSettings', () => {
  test('takes static assets up to 25 MiB a file and R2 above', async () => {
    const pack = await checkPackage(folder)
    expect(homeOf(withTextOf(pack, 25 * MIB), 'b-models')).toEqual({ source: 'assets' })
    const home = homeOf(withTextOf(pack, 25 * MIB + 1), 'b-models')
    expect(home).toEqual({ source: 'r2', bucket: 'b-models', configKey: `models/${pack.modelId}/config.json` })
  })

  test('changes the model of the committed files and nothing else', async () => {
    const pack = await checkPackage(folder)
    const [gateway, pixels, text, image] = readSettings(writeWorkerSettings(pack, { source: 'assets' }))
    expect(gateway?.vars).toMatchObject({ MODEL_ID: pack.modelId, CPU_LIMIT_MS: '30000' })
    expect(pixels?.assets).toBeUndefined()
    for (const encoder of [text, image]) {
      expect(encoder).toMatchObject({ assets: { directory: folder, binding: 'MODEL', run_worker_first: true } })
      expect(encoder?.vars).toEqual({ MAX_QUEUE: '16', MODEL_SOURCE: 'assets' })
    }
  })

  test('names bucket and key for R2, and no assets', async () => {
    const [, , text, image] = readSettings(writeWorkerSettings(await checkPackage(folder), R2))
    for (const encoder of [text, image]) {
      expect(encoder?.assets).toBeUndefined()
      expect(encoder?.r2_buckets).toEqual([{ binding: 'WEIGHTS', bucket_name: 'my-models' }])
      expect(encoder?.vars).toMatchObject({ MODEL_SOURCE: 'r2', MODEL_CONFIG_KEY: R2.configKey })
    }
  })
})

test('an upload replaces an object of the right key and size that has other bytes', async () => {
  const pack = await checkPackage(folder)
  const settingsPath = writeWorkerSettings(pack, R2).find((path) => path.endsWith('wrangler.text.json')) ?? ''
  const persistPath = mkdtempSync(join(tmpdir(), 'flava-state-'))
  const [text] = pack.files
  if (text === undefined) throw new Error('expected files in the package')
  const persist = { path: join(persistPath, 'v3') }
  const withBucket = async <T>(use: (bucket: R2Bucket) => Promise<T>): Promise<T> => {
    const proxy = await getPlatformProxy<{ WEIGHTS: R2Bucket }>({ configPath: settingsPath, persist })
    try {
      return await use(proxy.env.WEIGHTS)
    } finally {
      await proxy.dispose()
    }
  }
  const key = contentKey(text.sha256)
  try {
    await withBucket(async (bucket) => void (await bucket.put(key, new Uint8Array(text.sizeBytes))))
    await uploadLocally(pack, R2.configKey, { settingsPath, persistPath })
    const uploaded = await withBucket(async (bucket) => await (await bucket.get(key))?.arrayBuffer())
    expect(Buffer.from(uploaded ?? new ArrayBuffer()).equals(readFileSync(text.path))).toBe(true)
  } finally {
    rmSync(persistPath, { recursive: true })
  }
})

test('an uploaded package is served by wrangler dev out of local R2', async () => {
  const pack = await checkPackage(folder)
  const configs = writeWorkerSettings(pack, R2)
  const persistPath = mkdtempSync(join(tmpdir(), 'flava-state-'))
  const settingsPath = configs.find((path) => path.endsWith('wrangler.text.json')) ?? ''
  await uploadLocally(pack, R2.configKey, { settingsPath, persistPath })
  const server = startDevServer('127.0.0.1', PORT, { configs, persistPath })
  try {
    expect(await readyAt(`http://127.0.0.1:${PORT}/readyz`)).toMatchObject({
      workers: { text_encoder: { weights: pack.manifest.weights }, image_encoder: { weights: pack.manifest.weights } },
    })
  } finally {
    server.stop()
    await server.exited
    rmSync(persistPath, { recursive: true })
  }
})

test('npm run deploy -- --dry-run --model says what would go where and needs no account', async () => {
  const args = ['tools/deploy.ts', '--dry-run', '--model', folder]
  const { exitCode, output } = await runCommand(process.execPath, args)
  expect(output).toContain('wrangler.text.json: would be deployed')
  // Small enough for static assets: nothing is uploaded by itself.
  expect(output).not.toContain('sha256/')
  expect(exitCode).toBe(0)
})
