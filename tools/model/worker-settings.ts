// The wrangler files of a service that serves another package than the embedded one: copies of the committed ones with
// the model's name and source changed, under .wrangler. Static assets where every file is small enough, R2 elsewhere.
import { mkdirSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { experimental_readRawConfig as readRawConfig } from 'wrangler'
import { z } from 'zod'
import { WORKER_CONFIGS } from '../build-workers.ts'
import type { CheckedPackage } from './package-check.ts'

/** https://developers.cloudflare.com/workers/platform/limits/: one static asset. */
const MAX_ASSET_BYTES = 25 * 1024 * 1024

export const DEFAULT_BUCKET = 'flava-edge-models'

export type PackageHome = { source: 'assets' } | { source: 'r2'; bucket: string; configKey: string }

const rawConfigSchema = z.looseObject({
  name: z.string(),
  main: z.string(),
  vars: z.record(z.string(), z.string()),
  assets: z.looseObject({ directory: z.string() }).optional(),
})

type RawConfig = z.infer<typeof rawConfigSchema>

/** Where the package has to lie to be served. */
export function homeOf({ modelId, files }: CheckedPackage, bucket: string): PackageHome {
  if (files.every(({ sizeBytes }) => sizeBytes <= MAX_ASSET_BYTES)) return { source: 'assets' }
  return { source: 'r2', bucket, configKey: `models/${modelId}/config.json` }
}

/** @returns the files' paths, the gateway's first, as WORKER_CONFIGS */
export function writeWorkerSettings(pack: CheckedPackage, home: PackageHome): string[] {
  const folder = resolve('.wrangler/models', pack.modelId)
  mkdirSync(folder, { recursive: true })
  return WORKER_CONFIGS.map((config) => {
    const raw = rawConfigSchema.parse(readRawConfig({ config }).rawConfig)
    const path = join(folder, config.replace(/toml$/, 'json'))
    writeFileSync(path, `${JSON.stringify(settingsFor(raw, pack, home), null, 2)}\n`)
    return path
  })
}

function settingsFor(raw: RawConfig, pack: CheckedPackage, home: PackageHome): RawConfig {
  const { assets, ...config } = { ...raw, main: resolve(raw.main) }
  if ('MODEL_ID' in config.vars) return { ...config, vars: { ...config.vars, MODEL_ID: pack.modelId } }
  if (assets === undefined) return config
  if (home.source === 'assets') return { ...config, assets: { ...assets, directory: pack.directory } }
  return {
    ...config,
    vars: { ...config.vars, MODEL_SOURCE: 'r2', MODEL_CONFIG_KEY: home.configKey },
    r2_buckets: [{ binding: 'WEIGHTS', bucket_name: home.bucket }],
  }
}
