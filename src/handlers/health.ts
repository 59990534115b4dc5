// GET /livez: this Worker runs. GET /readyz: it and every Worker behind it can answer now.

import { z } from 'zod'
import { AppError } from '../errors.ts'
import type { EncoderReadiness, PixelsReadiness } from '../services/inner-workers.ts'
import { checkReadiness, type InnerWorkers, type WorkerState } from '../services/readiness.ts'
import { OPEN_HEADER, OPEN_NOTICE } from './authorization.ts'
import type { AppConfig, AppContext } from './context.ts'

export const LivenessSchema = z.object({ status: z.literal('READY') }).meta({ id: 'Liveness' })

const UnhealthySchema = z.object({ status: z.literal('UNHEALTHY'), code: z.string(), message: z.string() })
const EncoderStateSchema = z.union([
  z.object({
    status: z.literal('READY'),
    build: z.string().meta({ description: 'Which build of the kernels runs: relaxed-simd or simd128.' }),
    dot: z.string().meta({ description: 'What its integer sums run on: fused, pairs or wide.' }),
    variant: z.string(),
    space: z.string(),
    weights: z.string(),
    memory_bytes: z.int().meta({ description: 'Linear memory as a whole; the next two are parts of it.' }),
    weight_bytes: z.int(),
    activation_bytes: z.int().meta({ description: 'Most that passes so far have taken above the weights.' }),
    load_ms: z.number().meta({ description: 'From the first request for the model to its weights being verified.' }),
    warm_up_ms: z.number().meta({ description: '0 in production, whose clocks stand still while a Worker computes.' }),
  }),
  UnhealthySchema,
])

export const ReadinessSchema = z
  .object({
    status: z.enum(['READY', 'UNHEALTHY']),
    auth: z.string().meta({ description: 'Whether keys are asked for.' }),
    workers: z.object({
      text_encoder: EncoderStateSchema,
      image_encoder: EncoderStateSchema,
      pixels: z.union([
        z.object({ status: z.literal('READY'), formats: z.array(z.string()), max_pixels: z.int() }),
        UnhealthySchema,
      ]),
    }),
  })
  .meta({ id: 'Readiness' })

type Readiness = z.infer<typeof ReadinessSchema>

export function getLiveness(c: AppContext): Response {
  return c.json({ status: 'READY' })
}

export async function getReadiness(
  c: AppContext,
  config: AppConfig | AppError,
  workers: InnerWorkers,
): Promise<Response> {
  const { status: workersStatus, workers: states } = await checkReadiness(workers)
  const { textEncoder, imageEncoder, pixels } = states
  const isMisconfigured = config instanceof AppError
  const isOpen = !isMisconfigured && config.apiKeys.length === 0
  if (isOpen) c.header(OPEN_HEADER, OPEN_NOTICE)
  const auth = isMisconfigured ? config.message : isOpen ? OPEN_NOTICE : 'API keys'
  const status = isMisconfigured ? 'UNHEALTHY' : workersStatus
  if (status !== 'READY') c.header('retry-after', '5')
  const body: Readiness = {
    status,
    auth,
    workers: {
      text_encoder: toEncoderState(textEncoder),
      image_encoder: toEncoderState(imageEncoder),
      pixels: toPixelsState(pixels),
    },
  }
  return c.json(body, status === 'READY' ? 200 : 503)
}

function toEncoderState(state: WorkerState<EncoderReadiness>): z.infer<typeof EncoderStateSchema> {
  if (state.status === 'UNHEALTHY') return state
  const { status, build, dotKind, variant, space, weights } = state
  return {
    status,
    build,
    dot: dotKind,
    variant,
    space,
    weights,
    memory_bytes: state.memoryBytes,
    weight_bytes: state.weightBytes,
    activation_bytes: state.activationBytes,
    load_ms: toTenths(state.loadMs),
    warm_up_ms: toTenths(state.warmUpMs),
  }
}

function toTenths(ms: number): number {
  return Math.round(ms * 10) / 10
}

function toPixelsState(state: WorkerState<PixelsReadiness>): Readiness['workers']['pixels'] {
  if (state.status === 'UNHEALTHY') return state
  return { status: state.status, formats: state.formats, max_pixels: state.maxPixels }
}
