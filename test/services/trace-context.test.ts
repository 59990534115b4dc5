// W3C traceparent: continued when valid, begun anew when not.

import { expect, test } from 'vitest'
import { continueTrace } from '../../src/services/trace-context.ts'

const TRACE_ID = '0af7651916cd43dd8448eb211c80319c'
const SPAN_ID = 'b7ad6b7169203331'
const ours = (digits: number): string => '9'.repeat(digits)

test('keeps the trace and its flags, names the caller as parent and gets a span of its own', () => {
  expect(continueTrace(`00-${TRACE_ID}-${SPAN_ID}-01`, ours)).toEqual({
    traceId: TRACE_ID,
    spanId: ours(16),
    parentSpanId: SPAN_ID,
    traceparent: `00-${TRACE_ID}-${ours(16)}-01`,
  })
})

test('understands a later version by its first four fields', () => {
  expect(continueTrace(`01-${TRACE_ID}-${SPAN_ID}-01-more`, ours).traceId).toBe(TRACE_ID)
})

test.for([
  undefined,
  '',
  'rubbish',
  `00-${'0'.repeat(32)}-${SPAN_ID}-01`,
  `00-${TRACE_ID}-${'0'.repeat(16)}-01`,
  `ff-${TRACE_ID}-${SPAN_ID}-01`,
  `00-${TRACE_ID}-${SPAN_ID}-01-more`,
  `00-${TRACE_ID.toUpperCase()}-${SPAN_ID}-01`,
])('begins a new trace for %j', (header) => {
  const trace = continueTrace(header, ours)
  expect(trace.traceId).toBe(ours(32))
  expect(trace.parentSpanId).toBeUndefined()
})
