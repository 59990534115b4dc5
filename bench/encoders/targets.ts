// The table of targets, filled from JSON lines: what was wanted, what came, and whether that is enough.
import { FUSED_DOT } from '../kernels/peaks.ts'
import { linesOf } from './lines.ts'
import type { BenchLine } from './lines.ts'

interface Target {
  title: string
  must: number
  aim: number
  isSmallerBetter?: boolean
  format: (value: number) => string
  /** One value a shape; the worst one counts. */
  values: (lines: readonly BenchLine[], suffix: string) => Measured[]
}

export interface Measured {
  shape: string
  value: number
}

export interface TargetRow {
  title: string
  must: string
  aim: string
  /** `image224 3.10×, text16 2.95×`, worst first. */
  got: string
  verdict: 'aim met' | 'must met' | 'missed' | 'not measured'
}

const MAIN_SHAPES: readonly string[] = ['image224', 'text16', 'text77']
const times = (value: number) => `${value.toFixed(2)}×`
const percent = (value: number) => `${(100 * value).toFixed(0)} %`

const TARGETS: readonly Target[] = [
  ratioTarget('onnxruntime-web int8, bounds checks, default package', 2.2, 3, 'bounds-checks', 'default'),
  ratioTarget('onnxruntime-web int8, bounds checks, small package', 2.6, 3.5, 'bounds-checks', 'small'),
  ratioTarget('onnxruntime-web int8, Node as it is, default package', 1.8, 2.3, 'guard-pages', 'default'),
  {
    ...ratioTarget(
      'onnxruntime-node fp32 (native), Node as it is, image, small package',
      1.15,
      1.4,
      'guard-pages',
      'small',
    ),
    values: (lines, suffix) =>
      ratios(lines, `guard-pages${suffix}`, 'small', 'onnxruntime-node fp32').filter(
        ({ shape }) => shape === 'image224',
      ),
  },
  ratioTarget('onnxruntime-web int8, bounds checks, plain SIMD128 build', 1.7, 2, 'bounds-checks', 'simd128'),
  {
    title: 'image encoder, small package, as share of the best instruction peak, Node as it is',
    must: 0.6,
    aim: 0.72,
    format: percent,
    values: peakShare,
  },
  {
    title: 'ours in workerd by ours in Node with bounds checks, warm, default and small package',
    must: 1.1,
    aim: 1.03,
    isSmallerBetter: true,
    format: times,
    values: (lines, suffix) =>
      suffix === ''
        ? linesOf(lines, 'workerd-ratios')
            .filter(({ shape, work, variant }) => {
              return MAIN_SHAPES.includes(shape) && work === 'hidden' && (variant === 'default' || variant === 'small')
            })
            .map(({ shape, variant, ratio }) => ({ shape: `${shape} ${variant}`, value: ratio }))
        : [],
  },
]

/** @param suffix `` for this CPU as it is, `-no-vnni` for the runs without its fused byte dot product */
export function targetRows(lines: readonly BenchLine[], suffix: '' | '-no-vnni'): TargetRow[] {
  return TARGETS.map(({ title, must, aim, isSmallerBetter = false, format, values }) => {
    const worstFirst = values(lines, suffix).toSorted((a, b) =>
      isSmallerBetter ? b.value - a.value : a.value - b.value,
    )
    const worst = worstFirst[0]?.value
    const reaches = (goal: number) => worst !== undefined && (isSmallerBetter ? worst <= goal : worst >= goal)
    const sign = isSmallerBetter ? '≤' : '≥'
    return {
      title,
      must: `${sign} ${format(must)}`,
      aim: `${sign} ${format(aim)}`,
      got: worstFirst.map(({ shape, value }) => `${shape} ${format(value)}`).join(', '),
      verdict: worst === undefined ? 'not measured' : reaches(aim) ? 'aim met' : reaches(must) ? 'must met' : 'missed',
    }
  })
}

function ratioTarget(title: string, must: number, aim: number, condition: string, variant: string): Target {
  return {
    title,
    must,
    aim,
    format: times,
    values: (lines, suffix) => ratios(lines, `${condition}${suffix}`, variant, 'onnxruntime-web int8'),
  }
}

function ratios(lines: readonly BenchLine[], condition: string, variant: string, against: string): Measured[] {
  return linesOf(lines, 'encoder-ratios')
    .filter((line) => line.work === 'hidden' && line.condition === condition && MAIN_SHAPES.includes(line.shape))
    .filter((line) => line.variant === variant && line.against === against)
    .map(({ shape, ratio }) => ({ shape, value: ratio }))
}

/** MACs of the whole encoder by its median time, over the best rate that any instruction idiom reached in the same process. */
function peakShare(lines: readonly BenchLine[], suffix: string): Measured[] {
  const condition = `guard-pages${suffix}`
  const idioms = linesOf(lines, 'instruction-peak').filter((line) => line.condition === condition)
  const isFused = linesOf(lines, 'dot-kind').some((line) => line.condition === condition && line.dotKind === 'fused')
  // Without VNNI the fused idiom is several instructions, and never the best one.
  const peak = Math.max(...idioms.filter(({ idiom }) => isFused || idiom !== FUSED_DOT).map(({ gmacs }) => gmacs))
  const macs = linesOf(lines, 'encoder-work').find(({ shape }) => shape === 'image224')?.macs
  const timed = [...linesOf(lines, 'encoders'), ...linesOf(lines, 'encoders-no-vnni')].find((line) => {
    const isWanted = line.engine === 'flava-edge' && line.variant === 'small' && line.shape === 'image224'
    const isHere = line.bench === (suffix === '' ? 'encoders' : 'encoders-no-vnni')
    return isWanted && isHere && line.runtime === 'node' && line.condition === 'guard-pages'
  })
  if (macs === undefined || timed === undefined || idioms.length === 0) return []
  return [{ shape: `of ${peak.toFixed(0)} GMAC/s: image224`, value: macs / timed.medianMs / 1e6 / peak }]
}
