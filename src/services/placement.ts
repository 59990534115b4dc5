// Decides where a request runs and says why. Today there is the edge or a refusal.

import { RequestTooCostlyError } from '../errors.ts'

export interface Placement {
  route: 'edge'
  reason: string
}

export interface EdgeLimits {
  /** CPU time one request may take at the edge: the encoder Workers' limits.cpu_ms. */
  cpuLimitMs: number
  /** MACs a millisecond that an encoder is trusted to do on a slow machine. */
  macsPerMs: number
}

/**
 * @param macs estimated cost of the whole request
 * @throws RequestTooCostlyError with the limit
 */
export function placeEmbedding(macs: number, limits: EdgeLimits): Placement {
  const estimatedMs = Math.ceil(macs / limits.macsPerMs)
  if (estimatedMs > limits.cpuLimitMs) {
    throw new RequestTooCostlyError(
      `input: about ${estimatedMs} ms of CPU (${toGiga(macs)} GMAC), and the limit is ${limits.cpuLimitMs} ms a request ` +
        `(${toGiga(limits.cpuLimitMs * limits.macsPerMs)} GMAC); send fewer items at a time`,
      { param: 'input' },
    )
  }
  return {
    route: 'edge',
    reason: `estimated ${estimatedMs} ms of CPU is within the edge limit of ${limits.cpuLimitMs} ms`,
  }
}

function toGiga(macs: number): string {
  return (macs / 1e9).toPrecision(3)
}
