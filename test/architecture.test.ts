// The import rule of src/ (docs/architecture.md). It fails closed: a folder that is not listed here, an import out of
// src/ that is not listed here, and an empty tree are errors.
import { globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, posix } from 'node:path'
import { expect, test } from 'vitest'

/** What each folder (or file at the root of src/) may import besides itself and errors.ts. */
const ALLOWED: Record<string, readonly string[]> = {
  'errors.ts': [],
  wasm: [],
  'wasm/assembly': [],
  tokenize: [],
  jobs: [],
  image: ['wasm'],
  flava: ['wasm'],
  services: ['flava', 'image', 'tokenize', 'jobs'],
  handlers: ['services', 'jobs'],
  platform: ['jobs', 'flava'],
  'app.ts': ['handlers', 'services'],
  workers: ['app.ts', 'handlers', 'services', 'platform', 'flava', 'image', 'tokenize', 'jobs', 'wasm'],
}

/** Folders beside src/ that it may read from: the wire contract, and what the kernels are compiled to. */
const OUTSIDE: Record<string, readonly string[]> = {
  contract: ['jobs', 'services', 'handlers', 'workers'],
  build: ['workers'],
}

/** Packages that only some folders may know, by the beginning of their name. */
const PACKAGES: Record<string, readonly string[]> = {
  hono: ['handlers', 'app.ts', 'workers'],
  '@hono/': ['handlers', 'app.ts', 'workers'],
  'cloudflare:': ['workers', 'platform'],
}

const IMPORT = /(?:\bfrom\s*|\bimport\s*\(?\s*)['"]([^'"]+)['"]/g

/** "src/wasm/assembly/gemm.ts" → "wasm/assembly"; "src/app.ts" → "app.ts". */
function unitOf(path: string): string {
  const [, top = '', next = ''] = path.split('/')
  return `${top}/${next}` in ALLOWED ? `${top}/${next}` : top
}

function isAllowed(file: string, specifier: string): boolean {
  const from = unitOf(file)
  if (!specifier.startsWith('.')) {
    const rule = Object.keys(PACKAGES).find((beginning) => specifier.startsWith(beginning))
    return rule === undefined || (PACKAGES[rule] ?? []).includes(from)
  }
  const target = posix.join(dirname(file), specifier)
  const [top = ''] = target.split('/')
  if (top !== 'src') return (OUTSIDE[top] ?? []).includes(from)
  return [from, 'errors.ts', ...(ALLOWED[from] ?? [])].includes(unitOf(target))
}

/** One line for each import under `root`/src that the tables above do not permit. */
function forbiddenImports(root: string): string[] {
  const files = globSync('src/**/*.ts', { cwd: root })
  if (files.length === 0) throw new Error('no source files found, so nothing was checked')
  return files.flatMap((file) => {
    if (!(unitOf(file) in ALLOWED)) return [`${file}: "${unitOf(file)}" is missing from ALLOWED`]
    return [...readFileSync(join(root, file), 'utf8').matchAll(IMPORT)]
      .map(([, specifier = '']) => specifier)
      .filter((specifier) => !isAllowed(file, specifier))
      .map((specifier) => `${file} must not import ${specifier}`)
  })
}

/** forbiddenImports of a tree with just these files. */
function forbiddenIn(files: Record<string, string>): string[] {
  const root = mkdtempSync(join(tmpdir(), 'flava-architecture-'))
  try {
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(join(root, dirname(path)), { recursive: true })
      writeFileSync(join(root, path), text)
    }
    return forbiddenImports(root)
  } finally {
    rmSync(root, { recursive: true })
  }
}

test('nothing in src/ imports what the table does not allow', () => {
  expect(forbiddenImports('.')).toEqual([])
})

test('an import against the direction of the layers is found, in each spelling of an import', () => {
  const upward = '../services/embed.ts'
  const spellings = [
    `import { embed } from '${upward}'`,
    `import type { Embed } from "${upward}"`,
    `import {\n  embed,\n} from '${upward}'`,
    `export { embed } from '${upward}'`,
    `import '${upward}'`,
    `const late = await import('${upward}')`,
  ]
  for (const text of spellings) {
    expect(forbiddenIn({ 'src/wasm/gemm.ts': text })).toEqual([`src/wasm/gemm.ts must not import ${upward}`])
  }
})

test('flava may import wasm and errors.ts, but neither tokenize nor image', () => {
  const allowed = `import { a } from '../wasm/kernels.ts'\nimport { b } from '../errors.ts'\nimport { c } from './config.ts'`
  expect(forbiddenIn({ 'src/flava/text-encoder.ts': allowed })).toEqual([])
  const forbidden = `import { a } from '../tokenize/tokenizer.ts'\nimport { b } from '../image/resize.ts'`
  expect(forbiddenIn({ 'src/flava/text-encoder.ts': forbidden })).toHaveLength(2)
})

test('handlers are imported by app.ts and the Worker entries only', () => {
  const text = (path: string) => `import { handle } from '${path}'`
  expect(forbiddenIn({ 'src/app.ts': text('./handlers/models.ts') })).toEqual([])
  expect(forbiddenIn({ 'src/workers/gateway.ts': text('../handlers/models.ts') })).toEqual([])
  expect(forbiddenIn({ 'src/services/embed.ts': text('../handlers/models.ts') })).toHaveLength(1)
  expect(forbiddenIn({ 'src/platform/broker.ts': text('../handlers/models.ts') })).toHaveLength(1)
})

test('tools, benches and tests stay outside src/, and compiled kernels reach it through the Worker entries only', () => {
  expect(forbiddenIn({ 'src/workers/pixels.ts': `import { a } from '../../tools/start.ts'` })).toHaveLength(1)
  expect(forbiddenIn({ 'src/wasm/kernels.ts': `import k from '../../build/wasm/relaxed.wasm'` })).toHaveLength(1)
  expect(forbiddenIn({ 'src/workers/pixels.ts': `import k from '../../build/wasm/relaxed.wasm'` })).toEqual([])
})

test('services know neither Hono nor Cloudflare', () => {
  const text = `import { Hono } from 'hono'\nimport { z } from '@hono/zod-openapi'\nimport { env } from 'cloudflare:workers'`
  expect(forbiddenIn({ 'src/services/embed.ts': text })).toHaveLength(3)
})

test('a folder that the table does not list is an error, and so is a tree without sources', () => {
  expect(forbiddenIn({ 'src/utils/text.ts': '' })).toEqual(['src/utils/text.ts: "utils" is missing from ALLOWED'])
  expect(() => forbiddenIn({ 'README.md': '' })).toThrow('nothing was checked')
})
