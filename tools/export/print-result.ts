// What an export or import says at its end, for a person.
import { describeGate } from './gates.ts'
import type { PackageResult } from './make-package.ts'
import type { ParityReport } from './parity-report.ts'
import type { CosineSummary } from './similarity.ts'

const MIB = 1024 * 1024

/** Figures to standard output, refusals to standard error. */
export function printResult({ out, parity, isWritten }: PackageResult): void {
  console.log(`\n${parity.variant}: text ${size(parity.text)}, image ${size(parity.image)}`)
  printCosines('texts', parity.text.cosine)
  printCosines('pictures', parity.image.cosine)
  for (const { split, direction, points } of parity.retrieval?.dev?.costs ?? []) {
    console.log(`  retrieval, ${split}, ${direction}: ${points.toFixed(2)} points of R@1 lost`)
  }
  const failed = parity.gates.filter(({ isPassed }) => !isPassed).map(describeGate)
  for (const reason of failed) console.error(`  ${isWritten ? 'below its gate, allowed' : 'refused'}: ${reason}`)
  for (const reason of unfitReasons(parity)) console.error(`  ${isWritten ? 'allowed' : 'refused'}: ${reason}`)
  if (isWritten) console.log(`wrote ${out}`)
  else console.error(`${out} is unchanged; --allow-below-gate or --allow-unfit would write it all the same`)
}

function unfitReasons({ edge }: ParityReport): string[] {
  return (['text', 'image'] as const).flatMap((encoder) => {
    const { weightBytes, memoryBytes } = edge[encoder]
    if (memoryBytes !== null) return []
    const limits = `at most ${mib(edge.maxWeightBytes)} of weights in ${mib(edge.maxMemoryBytes)} of memory`
    return [`${encoder}: does not fit a Worker: expected ${limits}, got ${mib(weightBytes)} of weights`]
  })
}

function printCosines(name: string, { count, mean, p1, min }: CosineSummary): void {
  console.log(`  ${name.padEnd(9)} n ${count}  cosine mean ${mean}  p1 ${p1}  min ${min}`)
}

function size({ totalBytes, bitsPerWeight }: ParityReport['text']): string {
  return `${mib(totalBytes)} at ${bitsPerWeight.toFixed(2)} bits a weight`
}

function mib(bytes: number): string {
  return `${(bytes / MIB).toFixed(1)} MiB`
}
