// Writes contract/worker-protocol.schema.json, what GPU workers know of the gateway, from the zod schemas that parse their
// requests. Run it after a change of src/jobs/worker-protocol.ts or src/jobs/job-work.ts.

import { writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { format } from 'prettier'
import { z } from 'zod'
import { JOB_WORK } from '../src/jobs/job-work.ts'
import * as protocol from '../src/jobs/worker-protocol.ts'

const OUTPUT = resolve(import.meta.dirname, '../contract/worker-protocol.schema.json')

export const MESSAGES: Record<string, z.ZodType> = {
  LeaseRequest: protocol.LeaseRequestSchema,
  LeaseResponse: protocol.LeaseResponseSchema,
  HeartbeatRequest: protocol.HeartbeatRequestSchema,
  HeartbeatResponse: protocol.HeartbeatResponseSchema,
  CompleteRequest: protocol.CompleteRequestSchema,
  CompleteResponse: protocol.CompleteResponseSchema,
  FailRequest: protocol.FailRequestSchema,
  FailResponse: protocol.FailResponseSchema,
  UrlsRequest: protocol.UrlsRequestSchema,
  UrlsResponse: protocol.UrlsResponseSchema,
}

/** The document as the file holds it: every message, and input and result of every kind of job, under $defs. */
export async function renderWorkerContract(): Promise<string> {
  const work = Object.entries(JOB_WORK).flatMap(([kind, { input, result }]) => [
    [`${kind}.input`, toJsonSchema(input)],
    [`${kind}.result`, toJsonSchema(result)],
  ])
  const messages = Object.entries(MESSAGES).map(([name, schema]) => [name, toJsonSchema(schema)])
  const document = {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: 'flava-edge worker protocol',
    version: protocol.CONTRACT_VERSION,
    $defs: Object.fromEntries([...messages, ...work]),
  }
  return format(JSON.stringify(document), { parser: 'json', printWidth: 120 })
}

function toJsonSchema(schema: z.ZodType): unknown {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io: 'input' })
  return rest
}

if (import.meta.main) writeFileSync(OUTPUT, await renderWorkerContract())
