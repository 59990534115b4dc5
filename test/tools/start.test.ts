import { spawn } from 'node:child_process'
import { createServer } from 'node:net'
import { expect, test } from 'vitest'

/** Runs the start script with this PORT until it ends. */
async function startWith(port: string): Promise<{ exitCode: number | null; stderr: string }> {
  const child = spawn(process.execPath, ['tools/start.ts'], { env: { ...process.env, PORT: port } })
  let stderr = ''
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()))
  const exitCode = await new Promise<number | null>((resolve) => child.once('close', resolve))
  return { exitCode, stderr }
}

test('a port in use is refused at once, with the port and the way out', async () => {
  const other = createServer()
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve))
  const address = other.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  const { exitCode, stderr } = await startWith(String(port))
  other.close()
  expect(stderr).toBe(
    `error: port ${port} is in use: stop what listens there, or choose another one, as in PORT=8788 npm start\n`,
  )
  expect(exitCode).toBe(1)
})

test.for(['abc', '0', '65536', '87.5'])('PORT=%s is refused with the range that is expected', async (port) => {
  const { exitCode, stderr } = await startWith(port)
  expect(stderr).toBe(`error: PORT: expected a number from 1 to 65535, got "${port}"\n`)
  expect(exitCode).toBe(1)
})
