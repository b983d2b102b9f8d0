#!/bin/bash
#SBATCH --job-name=haabcdefghijkl
#SBATCH --time=00:10:00
set -u
module load python
cd -- '/scratch/o'"'"'brien/work/haabcdefghijkl' || exit
exec python3 worker.py '$(touch canary)' ''
