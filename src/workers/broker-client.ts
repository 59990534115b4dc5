// The JobBroker port over the Durable Object's one RPC method: names cross, arguments cross, errors come back typed.

import type { JobBroker } from '../jobs/ports.ts'
import { awaitRpc, type RpcResult } from '../services/rpc-result.ts'

export type BrokerMethod = keyof JobBroker

/** The Durable Object as its callers see it. */
export interface BrokerStub {
  call(method: string, args: unknown[]): PromiseLike<RpcResult<unknown>>
}

export interface BrokerNamespace {
  getByName(name: string): BrokerStub
}

/** One object keeps all jobs until the bench says otherwise. */
const OBJECT_NAME = 'jobs'

// A record, so that the compiler misses none and takes none that the port does not have.
const METHODS: Record<BrokerMethod, true> = {
  beginIdempotent: true,
  finishIdempotent: true,
  abandonIdempotent: true,
  submit: true,
  markQueued: true,
  get: true,
  list: true,
  waitForEnd: true,
  cancel: true,
  pause: true,
  resume: true,
  retry: true,
  eventsAfter: true,
  listEvents: true,
  listCheckpoints: true,
  lease: true,
  heartbeat: true,
  isNewCheckpoint: true,
  addCheckpoint: true,
  refuseCheckpoint: true,
  heldObjects: true,
  complete: true,
  fail: true,
  held: true,
  listWorkers: true,
  headsOf: true,
  createWorkerToken: true,
  listWorkerTokens: true,
  revokeWorkerToken: true,
  findWorkerToken: true,
  createFile: true,
  getFile: true,
  listFiles: true,
  deleteFile: true,
  createUpload: true,
  getUpload: true,
  addPart: true,
  partsOf: true,
  completeUpload: true,
  completedUpload: true,
  cancelUpload: true,
  announceObjects: true,
  discardObjects: true,
  listFineTunedModels: true,
  getFineTunedModel: true,
  deleteFineTunedModel: true,
  createWebhookEndpoint: true,
  listWebhookEndpoints: true,
  deleteWebhookEndpoint: true,
  countUsage: true,
  usage: true,
  metrics: true,
  takeUnqueued: true,
  expire: true,
  trash: true,
  emptyTrash: true,
}

export function isBrokerMethod(name: string): name is BrokerMethod {
  return Object.hasOwn(METHODS, name)
}

/** Every method throws RemoteError for what the broker refused, WorkerUnavailableError when it did not answer. */
export function connectBroker(namespace: BrokerNamespace): JobBroker {
  const methods = Object.keys(METHODS).map((name) => [
    name,
    // A stub is dead once its object was restarted, so each call takes a fresh one.
    (...args: unknown[]) => awaitRpc('job broker', namespace.getByName(OBJECT_NAME).call(name, args)),
  ])
  const broker: JobBroker = Object.fromEntries(methods)
  return broker
}
