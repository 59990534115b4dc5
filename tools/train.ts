// `npm run train -- <stage> --config gpu/configs/emoji/<stage>.yaml`: one of the training scripts inside .venv, with its own
// flags. Several processes: torchrun, as docs/training.md shows.
import { runTraining } from './run-training.ts'

const STAGES = ['codebook', 'text', 'image', 'joint', 'probe', 'finetune']

const [stage = '', ...flags] = process.argv.slice(2)
if (STAGES.includes(stage)) {
  await runTraining(`flava_gpu.stages.${stage}`, flags)
} else {
  console.error(`usage: npm run train -- ${STAGES.join('|')} --config <file> [--runs <folder>] [--fresh]`)
  process.exitCode = 2
}
