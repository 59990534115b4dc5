// The gateway's settings from its environment variables, parsed once. What is wrong becomes a value, not a crash, so
// that /livez and /readyz still answer and say so.

import { z } from 'zod'
import { MisconfiguredError } from '../errors.ts'
import type { AppConfig } from '../handlers/context.ts'
import { parseApiKeys } from '../services/api-keys.ts'
import type { EdgeLimits } from '../services/placement.ts'

export interface GatewayVars {
  MODEL_ID: string
  CPU_LIMIT_MS: string
  EDGE_GMAC_PER_SECOND: string
  CALL_GMAC: string
  ALLOW_IMAGE_URLS?: string
  CORS_ORIGINS?: string
  API_KEYS?: string
  GPU_SECONDS_BUDGETS?: string
  FILES_BUCKET?: string
  R2_S3_ENDPOINT?: string
  R2_ACCESS_KEY_ID?: string
  R2_SECRET_ACCESS_KEY?: string
}

export interface GatewayConfig {
  modelId: string
  limits: EdgeLimits
  callMacs: number
  allowImageUrls: boolean
  /** GPU seconds of a calendar month by project; `*` for those not named. */
  gpuSecondsBudgets: Record<string, number>
  access: AppConfig | MisconfiguredError
}

const positive = z.coerce.number().positive()

const VarsSchema = z.object({
  MODEL_ID: z.string().min(1),
  CPU_LIMIT_MS: positive,
  EDGE_GMAC_PER_SECOND: positive,
  CALL_GMAC: positive,
  ALLOW_IMAGE_URLS: z.enum(['true', 'false', '']).optional(),
  CORS_ORIGINS: z.string().optional(),
  GPU_SECONDS_BUDGETS: z
    .string()
    .default('')
    .transform((text, context) => {
      try {
        return text.trim() === '' ? {} : z.record(z.string(), z.number().min(0)).parse(JSON.parse(text))
      } catch {
        context.addIssue('expected a JSON object of GPU seconds a month by project, "*" for all others')
        return z.NEVER
      }
    }),
})

const CLOSED = {
  modelId: '',
  limits: { cpuLimitMs: 0, macsPerMs: 1 },
  callMacs: 1,
  allowImageUrls: false,
  gpuSecondsBudgets: {},
}

export function readGatewayConfig(vars: GatewayVars): GatewayConfig {
  const parsed = VarsSchema.safeParse(vars)
  if (!parsed.success) {
    const issue = parsed.error.issues[0]
    return {
      ...CLOSED,
      access: new MisconfiguredError(`${issue?.path.join('.') ?? 'vars'}: ${issue?.message ?? 'invalid'}`),
    }
  }
  const { MODEL_ID, CPU_LIMIT_MS, EDGE_GMAC_PER_SECOND, CALL_GMAC, ALLOW_IMAGE_URLS, CORS_ORIGINS } = parsed.data
  const { GPU_SECONDS_BUDGETS: gpuSecondsBudgets } = parsed.data
  return {
    modelId: MODEL_ID,
    limits: { cpuLimitMs: CPU_LIMIT_MS, macsPerMs: EDGE_GMAC_PER_SECOND * 1e6 },
    callMacs: CALL_GMAC * 1e9,
    allowImageUrls: ALLOW_IMAGE_URLS === 'true',
    gpuSecondsBudgets,
    access: readAccess(vars.API_KEYS, CORS_ORIGINS ?? ''),
  }
}

function readAccess(apiKeys: string | undefined, corsOrigins: string): AppConfig | MisconfiguredError {
  try {
    return { apiKeys: parseApiKeys(apiKeys), corsOrigins: splitOrigins(corsOrigins) }
  } catch (error) {
    if (error instanceof MisconfiguredError) return error
    throw error
  }
}

/** @throws MisconfiguredError when an entry is neither `*` nor an origin */
function splitOrigins(list: string): string[] {
  const origins = list
    .split(',')
    .map((origin) => origin.trim())
    .filter((origin) => origin !== '')
  const wrong = origins.find((origin) => origin !== '*' && !(URL.canParse(origin) && new URL(origin).origin === origin))
  if (wrong === undefined) return origins
  throw new MisconfiguredError('CORS_ORIGINS: expected "*" or origins like https://example.org, separated by commas')
}
