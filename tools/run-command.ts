// Runs one command to its end and keeps what it printed, for the scripts that go on after a failing step and report it.
import { spawn } from 'node:child_process'
import { constants } from 'node:os'

export interface CommandResult {
  /** 127 when the command could not be started, 128 + signal number when a signal ended it, as in shells. */
  exitCode: number
  /** Standard output and standard error in the order they arrived. */
  output: string
  seconds: number
}

export interface CommandOptions {
  /** Added to this process's environment. */
  env?: Record<string, string>
  /** Whether the output is also shown while the command runs. */
  isShown?: boolean
}

/** Standard input is closed: a command that would ask a question fails instead of waiting. */
export async function runCommand(
  command: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> {
  const startedMs = performance.now()
  const child = spawn(command, args, { env: { ...process.env, ...options.env }, stdio: ['ignore', 'pipe', 'pipe'] })
  const chunks: Buffer[] = []
  const keep = (stream: NodeJS.WriteStream) => (chunk: Buffer) => {
    chunks.push(chunk)
    if (options.isShown) stream.write(chunk)
  }
  child.stdout.on('data', keep(process.stdout))
  child.stderr.on('data', keep(process.stderr))
  const stopForwarding = forwardSignals((signal) => child.kill(signal))
  const exitCode = await new Promise<number>((resolve) => {
    child.on('error', (error) => {
      keep(process.stderr)(Buffer.from(`${error.message}\n`))
      resolve(127)
    })
    child.on('close', (code, signal) => resolve(signal ? 128 + constants.signals[signal] : (code ?? 1)))
  })
  stopForwarding()
  return { exitCode, output: Buffer.concat(chunks).toString('utf8'), seconds: (performance.now() - startedMs) / 1000 }
}

/** A signal to this process ends the running command first, then this process. */
function forwardSignals(send: (signal: NodeJS.Signals) => void): () => void {
  const onSignal = (signal: NodeJS.Signals) => {
    send(signal)
    process.exit(128 + constants.signals[signal])
  }
  const signals: readonly NodeJS.Signals[] = ['SIGINT', 'SIGTERM', 'SIGHUP']
  for (const signal of signals) process.once(signal, onSignal)
  return () => {
    for (const signal of signals) process.off(signal, onSignal)
  }
}
