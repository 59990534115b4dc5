// `npm run ablate`: trains the rows of the ablation table inside .venv and prints it, with the flags of flava_gpu.ablations.
import { runTraining } from './run-training.ts'

await runTraining('flava_gpu.ablations', process.argv.slice(2))
