// The Cloudflare Queue that carries the ids of jobs, and how its messages read.

import { z } from 'zod'
import type { JobQueue } from '../jobs/ports.ts'

const MessageSchema = z.object({ job: z.string() })
export type JobMessage = z.infer<typeof MessageSchema>

/** https://developers.cloudflare.com/queues/platform/limits/: messages that one call may send. */
const MAX_SENT_TOGETHER = 100

export function cloudflareQueue(queue: Queue<JobMessage>): JobQueue {
  return {
    async send(ids) {
      for (let start = 0; start < ids.length; start += MAX_SENT_TOGETHER) {
        const messages = ids.slice(start, start + MAX_SENT_TOGETHER).map((job) => ({ body: { job } }))
        await queue.sendBatch(messages)
      }
    },
  }
}

/** The ids in what the Queue delivered. A message that says none is of no use at any later time either and is left out. */
export function idsOf(bodies: readonly unknown[]): string[] {
  return bodies.flatMap((body) => {
    const parsed = MessageSchema.safeParse(body)
    return parsed.success ? [parsed.data.job] : []
  })
}
