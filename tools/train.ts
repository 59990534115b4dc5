// `npm run train -- <stage> --config gpu/configs/emoji/<stage>.yaml`: one of the training scripts inside .venv, with its own
// flags. `--processes N` starts it under torchrun on this machine; several machines: docs/training.md.
import { runTraining } from './run-training.ts'

const STAGES = ['codebook', 'text', 'image', 'joint', 'probe', 'finetune']

const [stage = '', ...flags] = process.argv.slice(2)
const processes = takeProcesses(stage, flags)
if (!STAGES.includes(stage) || processes === undefined) {
  console.error(
    `usage: npm run train -- ${STAGES.join('|')} --config <file> [--runs <folder>] [--fresh] [--processes <n>, joint only]`,
  )
  process.exitCode = 2
} else if (processes === 1) {
  await runTraining(`flava_gpu.stages.${stage}`, flags)
} else {
  const torchrun = ['--standalone', `--nproc-per-node=${processes}`, '-m', `flava_gpu.stages.${stage}`]
  await runTraining('torch.distributed.run', [...torchrun, ...flags])
}

/** Takes `--processes N` out of the arguments; undefined where it makes no sense. */
function takeProcesses(stageName: string, args: string[]): number | undefined {
  const index = args.indexOf('--processes')
  if (index === -1) {
    return 1
  }
  const [, value = ''] = args.splice(index, 2)
  const isGood = /^[1-9]\d*$/.test(value) && (value === '1' || stageName === 'joint')
  return isGood ? Number(value) : undefined
}
