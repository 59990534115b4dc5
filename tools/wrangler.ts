// How the scripts call wrangler: where it lies, and the environment in which it stays off the network.
import { createRequire } from 'node:module'
import { join, resolve } from 'node:path'

export const WRANGLER_PATH = join(
  createRequire(import.meta.url).resolve('wrangler/package.json'),
  '..',
  'bin',
  'wrangler.js',
)

/** No telemetry, no look-ups, no questions, and every file of its own under .wrangler. */
export const OFFLINE_ENV: Record<string, string> = {
  CI: '1',
  CLOUDFLARE_CF_FETCH_ENABLED: 'false',
  WRANGLER_HIDE_BANNER: 'true',
  WRANGLER_LOG_PATH: resolve('.wrangler/logs'),
  WRANGLER_SEND_ERROR_REPORTS: 'false',
  WRANGLER_SEND_METRICS: 'false',
  XDG_CONFIG_HOME: resolve('.wrangler/config'),
}
