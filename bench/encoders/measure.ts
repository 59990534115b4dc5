// One process of the encoder bench: one condition, one encoder, all contestants. Checks every output, then times the rounds
// and prints JSON lines. encoders.ts starts it, with the job as its argument.
import { imageMacs, sequenceMacs } from '../../src/services/cost.ts'
import { readManifest } from '../../tools/model/load-model.ts'
import { cosine } from '../../tools/export/similarity.ts'
import { measurePeaks } from '../kernels/peaks.ts'
import { conditionNamed } from './conditions.ts'
import { describeContestant } from './contestant.ts'
import type { Contestant } from './contestant.ts'
import { makeInput } from './inputs.ts'
import type { EncoderInput } from './inputs.ts'
import { jobSchema } from './job.ts'
import type { Job } from './job.ts'
import type { BenchLine } from './lines.ts'
import { asContestant, loadPackage } from './ours.ts'
import type { LoadedPackage } from './ours.ts'
import { loadRivals } from './rivals.ts'
import { timeRounds } from './rounds.ts'
import { median, medianRatio, toThreeDecimals } from './statistics.ts'
import { startTimingWorkerd } from './workerd.ts'
import type { TimingWorkerd } from './workerd.ts'

/** That the work is the same, not how good the quantization is: parity.json says that. */
const MIN_COSINE = 0.95
const PLAIN_BUILD = 'simd128'
/** The packages that Workers run. */
const SERVED: readonly string[] = ['default', 'small']

interface Timed {
  contestant: Contestant
  timesMs: readonly number[]
}

const job = jobSchema.parse(JSON.parse(process.argv[2] ?? ''))
await measure(job)

async function measure({ condition, modality, packages, shapes, rounds, hasRivals, hasPeaks }: Job): Promise<void> {
  const manifest = await readManifest(packages[0]?.directory ?? '')
  const workerd = job.hasWorkerd ? await startTimingWorkerd() : undefined
  try {
    const ours: LoadedPackage[] = []
    for (const choice of packages) ours.push(await loadPackage(choice, modality))
    print({ bench: 'dot-kind', condition, dotKind: ours[0]?.dotKind ?? '' })
    if (hasPeaks) for (const peak of await measurePeaks()) print({ bench: 'instruction-peak', condition, ...peak })
    const rivals = hasRivals ? await loadRivals(modality) : []
    const contestants = [...ourContestants(ours), ...(workerd ? await workerdContestants(workerd) : []), ...rivals]
    for (const shape of shapes) {
      const input = makeInput(shape, manifest)
      await checkOutputs(contestants, input)
      const timesMs = await timeRounds(contestants, input, rounds)
      report(
        contestants.map((contestant, index) => ({ contestant, timesMs: timesMs[index] ?? [] })),
        input,
      )
      const macs = input.kind === 'image' ? imageMacs(manifest) : sequenceMacs(manifest.text, input.inputIds.length)
      print({ bench: 'encoder-work', shape, macs })
    }
  } finally {
    await workerd?.stop()
  }
}

/** Equal work for all; what the service computes for the packages that it serves. */
function ourContestants(ours: readonly LoadedPackage[]): Contestant[] {
  const serviced = ours.filter(({ variant }) => SERVED.includes(variant))
  return [
    ...ours.map((loaded) => asContestant(loaded, 'hidden')),
    ...serviced.map((loaded) => asContestant(loaded, 'projected')),
  ]
}

async function workerdContestants(workerd: TimingWorkerd): Promise<Contestant[]> {
  const choices = job.packages.filter(({ variant }) => SERVED.includes(variant))
  for (const choice of choices) await workerd.load(choice, job.modality)
  const works = ['hidden', 'projected'] as const
  return choices.flatMap(({ variant }) => works.map((work) => workerd.contestant(variant, work)))
}

/**
 * Outputs of equal work against fp32's (onnxruntime-node's, on the same weights), or against our first package's where no
 * rival runs. The same package must give the same bits in either runtime and build.
 */
async function checkOutputs(contestants: readonly Contestant[], input: EncoderInput): Promise<void> {
  const judge = contestants.find(({ engine, variant }) => engine === 'onnxruntime-node' && variant === 'fp32')
  const first = contestants[0]
  if (!first) throw new Error('no contestant')
  const reference = await (judge ?? first).encode(input)
  const firstOfOurs = new Map<string, Float32Array>()
  for (const contestant of contestants) {
    const output = await contestant.encode(input)
    const name = describeContestant(contestant)
    if (contestant.work === 'hidden') {
      const similarity = cosine(reference, output)
      print({ bench: 'encoder-checks', contestant: name, shape: input.shape, cosine: Number(similarity.toFixed(6)) })
      if (!(similarity >= MIN_COSINE)) {
        throw new Error(`${name}, ${input.shape}: cosine to fp32 is ${similarity}: nothing was timed`)
      }
    }
    if (contestant.engine !== 'flava-edge') continue
    // The plain build runs the default package.
    const key = `${contestant.variant === PLAIN_BUILD ? 'default' : contestant.variant} ${contestant.work}`
    const known = firstOfOurs.get(key) ?? output
    firstOfOurs.set(key, known)
    if (Buffer.compare(Buffer.from(known.buffer), Buffer.from(output.buffer)) !== 0) {
      throw new Error(`${name}, ${input.shape}: other bits than the same package elsewhere: nothing was timed`)
    }
  }
}

function report(timed: readonly Timed[], { shape }: EncoderInput): void {
  const { guard, isVnniAllowed } = conditionNamed(job.condition)
  for (const { contestant, timesMs } of timed) {
    const { engine, variant, runtime, work } = contestant
    if (work === 'projected' && !isVnniAllowed) continue
    print({
      bench: work === 'projected' ? 'encoder-service' : isVnniAllowed ? 'encoders' : 'encoders-no-vnni',
      engine,
      variant,
      runtime,
      condition: guard,
      shape,
      medianMs: toThreeDecimals(median(timesMs)),
      ...(runtime === 'workerd' ? {} : { minMs: toThreeDecimals(Math.min(...timesMs)) }),
      rounds: timesMs.length,
    })
  }
  for (const { contestant, timesMs } of timed) {
    const { engine, variant, runtime, work } = contestant
    if (engine !== 'flava-edge') continue
    if (runtime === 'workerd') {
      const twin = timed.find((other) => isTwin(other.contestant, contestant))
      const ratio = toThreeDecimals(medianRatio(timesMs, twin?.timesMs ?? []))
      print({ bench: 'workerd-ratios', shape, work, variant, ratio, rounds: timesMs.length })
      continue
    }
    for (const rival of timed.filter((other) => other.contestant.engine !== 'flava-edge')) {
      const against = `${rival.contestant.engine} ${rival.contestant.variant}`
      const ratio = toThreeDecimals(medianRatio(rival.timesMs, timesMs))
      const { condition } = job
      print({ bench: 'encoder-ratios', condition, shape, work, variant, against, ratio, rounds: timesMs.length })
    }
  }
}

/** The same package and work, in Node. */
function isTwin(other: Contestant, { variant, work }: Contestant): boolean {
  return other.engine === 'flava-edge' && other.runtime === 'node' && other.variant === variant && other.work === work
}

function print(line: BenchLine): void {
  console.log(JSON.stringify(line))
}
