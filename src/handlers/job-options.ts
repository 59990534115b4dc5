// Fields that every request for a job may carry.

import { z } from 'zod'

const MAX_METADATA_KEYS = 16

/** OpenAI's metadata: 16 pairs, keys of 64 and values of 512 characters. */
export const MetadataSchema = z
  .record(z.string().min(1).max(64), z.string().max(512))
  .refine((metadata) => Object.keys(metadata).length <= MAX_METADATA_KEYS, `expected at most ${MAX_METADATA_KEYS} keys`)
  .meta({
    id: 'Metadata',
    description: `Up to ${MAX_METADATA_KEYS} pairs of your own, kept with the job: keys of 64, values of 512 characters.`,
  })

/** @param maxSeconds the kind's own limit, which a request may lower */
export function maxRuntimeSchema(maxSeconds: number): z.ZodInt {
  return z
    .int()
    .min(1)
    .max(maxSeconds)
    .meta({ description: `How long it may run, in all its attempts together; at most, and by default, ${maxSeconds}.` })
}
