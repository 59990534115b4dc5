"""`python -m flava_gpu.worker`: the same as `flava-gpu work`."""

import sys

from flava_gpu.worker.cli import main

if __name__ == "__main__":
    main(["work", *sys.argv[1:]])
