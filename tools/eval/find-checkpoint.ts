// The checkpoint that a model package was made from, which the fp32 side of an evaluation needs.
import { existsSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { z } from 'zod'
import { CheckpointMissingError } from './errors.ts'

const FOLDER = 'checkpoint'

const packageSchema = z.object({ flava_edge: z.object({ checkpoint: z.string() }) })

/**
 * The package's own checkpoint/, or that of a package beside it that was made of the same one.
 * @throws CheckpointMissingError when there is none
 */
export async function findCheckpoint(packageDir: string): Promise<string> {
  const own = join(packageDir, FOLDER)
  if (existsSync(own)) return own
  const wanted = await checkpointOf(packageDir)
  const models = dirname(resolve(packageDir))
  for (const name of await readdir(models)) {
    const candidate = join(models, name)
    if (!existsSync(join(candidate, FOLDER))) continue
    if (wanted !== undefined && (await checkpointOf(candidate)) === wanted) return join(candidate, FOLDER)
  }
  throw new CheckpointMissingError(
    `${packageDir}: no ${FOLDER}/ in it or in a package of the same checkpoint beside it; --checkpoint names one`,
  )
}

async function checkpointOf(packageDir: string): Promise<string | undefined> {
  const path = join(packageDir, 'config.json')
  if (!existsSync(path)) return undefined
  const parsed = packageSchema.safeParse(JSON.parse(await readFile(path, 'utf8')))
  return parsed.data?.flava_edge.checkpoint
}
