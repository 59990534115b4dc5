// Runs one command in the foreground as if this process had become it: same terminal, same signals, same exit code.
// Plain JavaScript without packages, since the bootstrap uses it before node_modules exists.
import { spawn } from 'node:child_process'
import { constants } from 'node:os'

const PARENT_CHECK_MS = 500

/**
 * Sets process.exitCode to the command's (128 + signal number when a signal ended it, as shells do).
 * When the process that started us dies without a word (SIGKILL), the command is stopped too: no orphans. That is why
 * `npm start` begins with `exec`: it makes npm itself our parent, not a shell that would outlive it.
 * @param {string} command
 * @param {readonly string[]} args
 * @param {{ cwd: string, env: NodeJS.ProcessEnv }} options
 * @returns {Promise<void>}
 */
export function runForeground(command, args, options) {
  const child = spawn(command, args, { ...options, stdio: 'inherit' })
  for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP'])) {
    process.on(signal, () => child.kill(signal))
  }
  const parentPid = process.ppid
  const parentWatch = setInterval(() => {
    if (process.ppid !== parentPid) child.kill('SIGTERM')
  }, PARENT_CHECK_MS)
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (exitCode, signal) => {
      clearInterval(parentWatch)
      process.exitCode = signal ? 128 + constants.signals[signal] : (exitCode ?? 1)
      resolve()
    })
  })
}
