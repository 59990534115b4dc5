// The first step of every npm script: makes sure the pinned npm packages are there, then runs the given script with the
// pinned Node 24. It runs before node_modules exists, so it uses nothing but Node 20 and its own built-in modules.
// Usage: node tools/bootstrap.mjs <script.ts> [arguments for the script]
import { spawnSync } from 'node:child_process'
import { existsSync, rmSync } from 'node:fs'
import { delimiter, dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { runForeground } from './foreground.mjs'
import { contentStamp, isStampCurrent, writeStamp } from './stamp.mjs'

const MIN_NODE_MAJOR = 20
const MIN_NPM_MAJOR = 10
// The packages' tools need Node >= 22.12 and the scripts are TypeScript; 24 is the version they are tested with.
const SCRIPT_NODE_MAJOR = 24

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..')
const binFolder = join(root, 'node_modules', '.bin')
const pinnedNode = join(binFolder, 'node')

/** A refusal that the user can act on: printed without a stack trace. */
class BootstrapError extends Error {}

/**
 * @param {string} command
 * @param {NodeJS.ProcessEnv} env
 * @returns {number} the major version that `command --version` prints, 0 when it cannot be run
 */
function majorVersion(command, env) {
  const { status, stdout } = spawnSync(command, ['--version'], { env, encoding: 'utf8' })
  return status === 0 ? Number.parseInt(stdout.replace(/^v/, ''), 10) || 0 : 0
}

/** The environment without our own .bin on PATH: `npm ci` deletes that folder while npm itself runs from PATH's node. */
function outsideEnv() {
  const folders = (process.env['PATH'] ?? '').split(delimiter).filter((folder) => resolve(folder) !== binFolder)
  return { ...process.env, PATH: folders.join(delimiter) }
}

function checkMachine() {
  if (process.platform === 'win32')
    throw new BootstrapError('Windows is not supported: run this under WSL, Linux or macOS')
  if (Number.parseInt(process.versions.node, 10) < MIN_NODE_MAJOR) {
    throw new BootstrapError(
      `Node.js ${MIN_NODE_MAJOR} or newer is needed, this is ${process.versions.node} (${process.execPath})`,
    )
  }
}

/** Runs `npm ci` when package-lock.json is not the one that node_modules was made from. */
function ensurePackages() {
  const stampPath = join(root, 'node_modules', '.flava-stamp')
  const stamp = contentStamp([join(root, 'package-lock.json')])
  if (isStampCurrent(stampPath, stamp)) return
  const env = outsideEnv()
  const npmMajor = majorVersion('npm', env)
  if (npmMajor === 0) throw new BootstrapError('npm was not found on PATH: install Node.js together with npm')
  if (npmMajor < MIN_NPM_MAJOR)
    throw new BootstrapError(`npm ${MIN_NPM_MAJOR} or newer is needed, found npm ${npmMajor}`)
  console.log('installing the npm packages that package-lock.json pins')
  // Errors only: on Node 20 npm would warn of every package that wants the Node 24 which it is about to install.
  const { status } = spawnSync('npm', ['ci', '--include=dev', '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: root,
    env,
    stdio: 'inherit',
  })
  if (status !== 0) throw new BootstrapError('npm ci failed, see its output above')
  writeStamp(stampPath, stamp)
}

/**
 * The Node that runs the scripts: the pinned one of the `node` package, else the machine's own when it is new enough.
 * The package fetches its binary in an install script, which newer npm versions or `ignore-scripts` leave out; then
 * that script is run here.
 */
function scriptNode() {
  if (majorVersion(pinnedNode, process.env) >= SCRIPT_NODE_MAJOR) return pinnedNode
  if (Number.parseInt(process.versions.node, 10) >= SCRIPT_NODE_MAJOR) {
    // npm puts .bin first on PATH, so a link there that leads nowhere or to an old Node would shadow the good one.
    rmSync(pinnedNode, { force: true })
    return process.execPath
  }
  const packageFolder = join(root, 'node_modules', 'node')
  if (existsSync(packageFolder)) {
    console.log(`fetching Node.js ${SCRIPT_NODE_MAJOR} for the scripts`)
    spawnSync(process.execPath, ['installArchSpecificPackage.js'], {
      cwd: packageFolder,
      env: outsideEnv(),
      stdio: 'inherit',
    })
    if (majorVersion(pinnedNode, process.env) >= SCRIPT_NODE_MAJOR) return pinnedNode
  }
  throw new BootstrapError(
    `the scripts need Node.js ${SCRIPT_NODE_MAJOR}; its npm package has no binary that runs on ${process.platform}-${process.arch} ` +
      `and this Node.js is ${process.versions.node}: install Node.js ${SCRIPT_NODE_MAJOR} and run this again`,
  )
}

async function main() {
  const [script, ...args] = process.argv.slice(2)
  if (script === undefined) throw new BootstrapError('usage: node tools/bootstrap.mjs <script.ts> [arguments]')
  checkMachine()
  ensurePackages()
  const node = scriptNode()
  const env = { ...process.env, PATH: [binFolder, process.env['PATH'] ?? ''].join(delimiter) }
  await runForeground(node, [script, ...args], { cwd: root, env })
}

main().catch((error) => {
  console.error(error instanceof BootstrapError ? `error: ${error.message}` : error)
  process.exitCode = 1
})
