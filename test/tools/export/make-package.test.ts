// The whole way from a checkpoint to a package in place, with Python, on a made-up checkpoint of the tiniest geometry.
import { existsSync } from 'node:fs'
import { mkdtemp, readdir, readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeAll, expect, test } from 'vitest'
import { makePackage } from '../../../tools/export/make-package.ts'
import type { PackageOrder } from '../../../tools/export/make-package.ts'
import { runPython } from '../../../tools/export/python-step.ts'
import { formatPackage } from '../../../tools/inspect/format-package.ts'
import { inspectPackage } from '../../../tools/inspect/read-package.ts'

/** Each Python step loads PyTorch, on a busy machine more than once as slowly. */
const TIMEOUT_MS = 300_000

let folder: string
let order: PackageOrder

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'flava-make-package-'))
  const checkpoint = join(folder, 'checkpoint')
  await runPython('flava_gpu.standin', ['--geometry', 'tiny', '--seed', '3', '--out', checkpoint])
  order = {
    checkpoint,
    variant: 'w8',
    out: join(folder, 'models', 'tiny-w8'),
    license: 'CC0-1.0',
    rounding: 'nearest',
    budgetMib: null,
    data: null,
    provenanceFile: null,
    isBelowGateAllowed: true,
    isUnfitAllowed: false,
  }
}, TIMEOUT_MS)

test(
  'a package is written with its report and card, and is what inspect says it is',
  async () => {
    const { parity, isWritten } = await makePackage(order)
    expect(isWritten).toBe(true)
    expect(parity).toMatchObject({ variant: 'w8', rounding: 'nearest', builds: { areEqual: true }, retrieval: null })
    expect(parity.text.cosine.count).toBeGreaterThanOrEqual(200)
    expect(parity.image.cosine.count).toBeGreaterThanOrEqual(200)
    expect(parity.text.cosine.mean).toBeGreaterThan(0.99)
    expect(parity.image.cosine.mean).toBeGreaterThan(0.99)
    expect(parity.text.layerCosines.length).toBeGreaterThan(1)
    expect(parity.edge.isFitting).toBe(true)

    const inspected = await inspectPackage(order.out)
    expect(inspected.parity).toEqual(parity)
    expect(formatPackage(inspected)).toContain('CC0-1.0')
    const card = await readFile(join(order.out, 'README.md'), 'utf8')
    expect(card).toContain('# tiny-w8')
    expect(card).toContain('came without a training record')
  },
  TIMEOUT_MS,
)

test(
  'a package below its gate is refused and nothing is written',
  async () => {
    // Four bits cannot hold a model of this width to three nines.
    const out = join(folder, 'refused')
    const { parity, isWritten } = await makePackage({ ...order, variant: 'small', out, isBelowGateAllowed: false })
    expect(parity.isPassed).toBe(false)
    expect(isWritten).toBe(false)
    expect(existsSync(out)).toBe(false)
    expect(await readdir(folder)).not.toContain('refused')
  },
  TIMEOUT_MS,
)

test(
  'a checkpoint that Python refuses ends with its step, not with a package',
  async () => {
    const out = join(folder, 'missing')
    await expect(makePackage({ ...order, checkpoint: join(folder, 'nothing'), out })).rejects.toMatchObject({
      code: 'python_step_failed',
    })
    expect(existsSync(out)).toBe(false)
  },
  TIMEOUT_MS,
)
