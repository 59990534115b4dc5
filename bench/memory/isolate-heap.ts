// How much JavaScript memory an isolate of a running workerd takes, as its own inspector tells it. WebAssembly memory is
// not in these figures.
import { z } from 'zod'

export interface IsolateHeap {
  /** Objects, strings, code. */
  heapBytes: number
  /** What typed arrays outside of WebAssembly memory lie in. */
  bufferBytes: number
}

const targetsSchema = z.array(z.object({ id: z.string(), webSocketDebuggerUrl: z.string() }))
const replySchema = z.object({
  result: z.object({ usedSize: z.number(), embedderHeapUsedSize: z.number(), backingStorageSize: z.number() }),
})

const TIMEOUT_MS = 10_000

/** @param worker its name in the wrangler file */
export async function readIsolateHeap(inspectorPort: number, worker: string): Promise<IsolateHeap> {
  const response = await fetch(`http://127.0.0.1:${inspectorPort}/json`)
  const target = targetsSchema.parse(await response.json()).find(({ id }) => id === `core:user:${worker}`)
  if (target === undefined) throw new Error(`${worker}: expected it among the inspector's targets`)
  const reply = await ask(target.webSocketDebuggerUrl, 'Runtime.getHeapUsage')
  const { usedSize, embedderHeapUsedSize, backingStorageSize } = replySchema.parse(JSON.parse(reply)).result
  return { heapBytes: usedSize + embedderHeapUsedSize, bufferBytes: backingStorageSize }
}

/** The reply to one command, as text. */
async function ask(url: string, method: string): Promise<string> {
  const socket = new WebSocket(url)
  try {
    return await new Promise<string>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${method}: no reply in ${TIMEOUT_MS} ms`)), TIMEOUT_MS)
      socket.addEventListener('open', () => socket.send(JSON.stringify({ id: 1, method })))
      socket.addEventListener('error', () => reject(new Error(`${url}: the inspector did not answer`)))
      socket.addEventListener('message', ({ data }) => {
        clearTimeout(timer)
        resolve(String(data))
      })
    })
  } finally {
    socket.close()
  }
}
