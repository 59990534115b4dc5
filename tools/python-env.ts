// The virtual environment .venv that the Python half (gpu/) runs in: found or made, and filled from the pinned list.
// A stamp of that list and of the interpreter's version decides whether anything has to be installed.
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { runCommand } from './run-command.ts'
import { contentStamp, isStampCurrent, writeStamp } from './stamp.mjs'

const MIN_PYTHON = [3, 11] as const
// The user's own default comes first: it is the one whose pip and headers are set up.
const INTERPRETERS = ['python3', 'python3.13', 'python3.12', 'python3.11', 'python']
const REQUIREMENTS = resolve('gpu/requirements.lock')
const STAMP = resolve('.venv/.flava-stamp')

export const VENV_PYTHON = resolve('.venv/bin/python')

/** What a Python process of ours needs in its environment to import the package in gpu/. */
export const PYTHON_ENV: Record<string, string> = { PYTHONPATH: resolve('gpu') }

/** Makes .venv usable and returns its interpreter's path. Throws an error that says what the user has to install. */
export async function ensurePythonEnv(): Promise<string> {
  const installed = pythonVersion(VENV_PYTHON)
  if (installed !== undefined && isStampCurrent(STAMP, contentStamp([REQUIREMENTS], [installed]))) return VENV_PYTHON
  const version = installed ?? (await createVenv())
  console.log('installing the Python packages that gpu/requirements.lock pins')
  const torch = /^torch==\S+/m.exec(readFileSync(REQUIREMENTS, 'utf8'))?.[0]
  // PyTorch first and by itself: a machine may offer a CPU build of just this version, and pip takes it only when
  // nothing else in the same run asks for torch in another way.
  if (torch !== undefined) await pipInstall([torch])
  await pipInstall(['-r', REQUIREMENTS])
  writeStamp(STAMP, contentStamp([REQUIREMENTS], [version]))
  return VENV_PYTHON
}

async function createVenv(): Promise<string> {
  const { command, version } = findPython()
  console.log(`making .venv with ${command} (Python ${version})`)
  const { exitCode } = await runCommand(command, ['-m', 'venv', '--clear', '.venv'], { isShown: true })
  if (exitCode !== 0 || !existsSync(VENV_PYTHON)) {
    throw new Error(`${command} -m venv failed: install its venv module (Debian and Ubuntu: the package python3-venv)`)
  }
  return version
}

/** The first interpreter that is new enough; the environment variable PYTHON names another one to try first. */
export function findPython(chosen = process.env['PYTHON']): { command: string; version: string } {
  const tried: string[] = []
  for (const command of chosen === undefined ? INTERPRETERS : [chosen, ...INTERPRETERS]) {
    const version = pythonVersion(command)
    if (version === undefined) continue
    const [major = 0, minor = 0] = version.split('.').map(Number)
    if (major > MIN_PYTHON[0] || (major === MIN_PYTHON[0] && minor >= MIN_PYTHON[1])) return { command, version }
    tried.push(`${command} is ${version}`)
  }
  const found = tried.length > 0 ? tried.join(', ') : 'none was found on PATH'
  throw new Error(`Python ${MIN_PYTHON.join('.')} or newer is needed for the Python half: ${found}`)
}

function pythonVersion(command: string): string | undefined {
  const { status, stdout } = spawnSync(command, ['-c', 'import platform; print(platform.python_version())'], {
    encoding: 'utf8',
  })
  return status === 0 ? stdout.trim() : undefined
}

async function pipInstall(args: readonly string[]): Promise<void> {
  const flags = ['-m', 'pip', 'install', '--disable-pip-version-check', '--no-input', '--progress-bar', 'off']
  const { exitCode } = await runCommand(VENV_PYTHON, [...flags, ...args], { isShown: true })
  if (exitCode !== 0) throw new Error(`pip install ${args.join(' ')} failed, see its output above`)
}
