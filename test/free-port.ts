// A port that nobody listens on, for servers that have to know theirs before they start.

import { createServer } from 'node:net'

export async function freePort(): Promise<number> {
  const probe = createServer()
  await new Promise<void>((listening) => probe.listen(0, '127.0.0.1', listening))
  const address = probe.address()
  await new Promise((closed) => probe.close(closed))
  if (typeof address !== 'object' || address === null) throw new Error('expected a port')
  return address.port
}
