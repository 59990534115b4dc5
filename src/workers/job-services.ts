// What the gateway's bindings make of the jobs' ports, and what it does for them when no request asks: deliveries of the
// Queue, and cleaning up.

import { MisconfiguredError } from '../errors.ts'
import type { JobBroker, UrlSigner } from '../jobs/ports.ts'
import { cloudflareQueue, idsOf, type JobMessage } from '../platform/job-queue.ts'
import { r2Objects } from '../platform/r2-objects.ts'
import { s3UrlSigner } from '../platform/url-signer.ts'
import type { JobServices } from '../services/job-dependencies.ts'
import { connectBroker, type BrokerNamespace } from './broker-client.ts'

export interface JobBindings {
  JOB_BROKER: BrokerNamespace
  JOB_QUEUE: Queue<JobMessage>
  FILES: R2Bucket
  FILES_BUCKET?: string
  R2_S3_ENDPOINT?: string
  R2_ACCESS_KEY_ID?: string
  R2_SECRET_ACCESS_KEY?: string
}

const LOOPBACK_HOSTS = new Set(['localhost', '127.0.0.1', '[::1]'])
/** Where the local simulation of R2 speaks S3, and the keys to it: those of wrangler.toml, good on this machine only. */
const LOCAL_S3_PATH = '/cdn-cgi/local/r2/s3'
const LOCAL_ACCESS = { accessKeyId: 'flava-local', secretAccessKey: 'flava-local-secret' }

/** Deleted in one go; a scheduled run goes on until nothing is left or its time is over. */
const TRASH_KEYS = 500
const MAX_TRASH_ROUNDS = 200

export function createJobServices(env: JobBindings, gpuSecondsBudgets: Record<string, number>): JobServices {
  return {
    broker: connectBroker(env.JOB_BROKER),
    objects: r2Objects(env.FILES),
    queue: cloudflareQueue(env.JOB_QUEUE),
    signerFor: (requestUrl) => createSigner(env, new URL(requestUrl)),
    gpuSecondsBudgetOf(project) {
      const own = Object.hasOwn(gpuSecondsBudgets, project) ? gpuSecondsBudgets[project] : gpuSecondsBudgets['*']
      return own ?? null
    },
  }
}

/** The Queue's push consumer. What the broker cannot take now is delivered again. */
export async function deliverJobs(batch: MessageBatch, broker: JobBroker): Promise<void> {
  await broker.markQueued(idsOf(batch.messages.map(({ body }) => body)))
  batch.ackAll()
}

/** Drops what outlived its retention, then deletes the objects that nothing names any more. */
export async function keepHouse(env: JobBindings): Promise<void> {
  const broker = connectBroker(env.JOB_BROKER)
  const objects = r2Objects(env.FILES)
  await broker.expire()
  for (let round = 0; round < MAX_TRASH_ROUNDS; round += 1) {
    const keys = await broker.trash(TRASH_KEYS)
    if (keys.length === 0) return
    await objects.delete(keys)
    await broker.emptyTrash(keys)
  }
}

/** @throws MisconfiguredError */
function createSigner(env: JobBindings, { hostname, origin }: URL): UrlSigner {
  const { FILES_BUCKET, R2_S3_ENDPOINT, R2_ACCESS_KEY_ID, R2_SECRET_ACCESS_KEY } = env
  if (!isSet(FILES_BUCKET)) throw new MisconfiguredError('FILES_BUCKET: expected the bucket’s name, got none')
  if (!isSet(R2_S3_ENDPOINT)) {
    if (LOOPBACK_HOSTS.has(hostname))
      return s3UrlSigner({ bucketUrl: `${origin}${LOCAL_S3_PATH}/${FILES_BUCKET}`, ...LOCAL_ACCESS })
    throw new MisconfiguredError('R2_S3_ENDPOINT: expected the account’s S3 endpoint, got none')
  }
  if (!isSet(R2_ACCESS_KEY_ID) || !isSet(R2_SECRET_ACCESS_KEY)) {
    throw new MisconfiguredError('R2_ACCESS_KEY_ID, R2_SECRET_ACCESS_KEY: expected both, as R2_S3_ENDPOINT is set')
  }
  return s3UrlSigner({
    bucketUrl: `${R2_S3_ENDPOINT.replace(/\/$/, '')}/${FILES_BUCKET}`,
    accessKeyId: R2_ACCESS_KEY_ID,
    secretAccessKey: R2_SECRET_ACCESS_KEY,
  })
}

function isSet(value: string | undefined): value is string {
  return value !== undefined && value !== ''
}
