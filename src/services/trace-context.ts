// W3C Trace Context: continues the caller's trace with a span of our own, or begins one.
// https://www.w3.org/TR/trace-context/

export interface TraceContext {
  traceId: string
  spanId: string
  /** The caller's span; absent when the trace begins here. */
  parentSpanId?: string
  traceparent: string
}

const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/
const NO_TRACE = '0'.repeat(32)
const NO_SPAN = '0'.repeat(16)
const NOT_SAMPLED = '00'

/** @param randomHex gives that many random lower-case hex digits */
export function continueTrace(header: string | undefined, randomHex: (digits: number) => string): TraceContext {
  const spanId = randomHex(16)
  const [, version, traceId, parentSpanId, flags, rest] = TRACEPARENT.exec(header?.trim() ?? '') ?? []
  // An invalid header starts a new trace; version 00 has exactly four fields, later ones may have more.
  if (
    traceId === undefined ||
    parentSpanId === undefined ||
    traceId === NO_TRACE ||
    parentSpanId === NO_SPAN ||
    version === 'ff' ||
    (version === '00' && rest !== undefined)
  ) {
    const newTraceId = randomHex(32)
    return { traceId: newTraceId, spanId, traceparent: `00-${newTraceId}-${spanId}-${NOT_SAMPLED}` }
  }
  return { traceId, spanId, parentSpanId, traceparent: `00-${traceId}-${spanId}-${flags}` }
}
