// The workerd processes that this process has started and that still run: to be killed, or their memory read.

import { execFileSync } from 'node:child_process'

/** @returns process ids */
export function workerdProcesses(): number[] {
  const table = execFileSync('ps', ['-e', '-o', 'pid=,ppid=,comm='], { encoding: 'utf8' })
  return table
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([, parent, command]) => Number(parent) === process.pid && command?.startsWith('workerd') === true)
    .map(([pid]) => Number(pid))
}
