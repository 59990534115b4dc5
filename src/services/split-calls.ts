// Cuts a list of items, in order, into calls that stay within a budget of work and of bytes.

export interface CallItem {
  macs: number
  bytes: number
}

export interface CallBudget {
  macs: number
  bytes: number
}

/**
 * A call holds at least one item; a further one joins while both sums stay within the budget.
 * Order is kept: the concatenated calls are the items.
 */
export function splitCalls<T extends CallItem>(items: readonly T[], budget: CallBudget): T[][] {
  const calls: T[][] = []
  let call: T[] = []
  let macs = 0
  let bytes = 0
  for (const item of items) {
    if (call.length > 0 && (macs + item.macs > budget.macs || bytes + item.bytes > budget.bytes)) {
      calls.push(call)
      call = []
      macs = 0
      bytes = 0
    }
    call.push(item)
    macs += item.macs
    bytes += item.bytes
  }
  if (call.length > 0) calls.push(call)
  return calls
}

/**
 * The budget under which a request's items make at most `maxCalls` calls by their work (bytes may cut further):
 * a call is closed only when the next item would overrun, so it holds more than the budget less the largest item.
 * @param callMacs what a call may cost where that many calls suffice
 */
export function callBudget(
  items: readonly CallItem[],
  limits: { callMacs: number; maxCalls: number; maxBytes: number },
): CallBudget {
  const total = items.reduce((sum, { macs }) => sum + macs, 0)
  const largest = items.reduce((max, { macs }) => Math.max(max, macs), 0)
  return { macs: Math.max(limits.callMacs, total / limits.maxCalls + largest), bytes: limits.maxBytes }
}
