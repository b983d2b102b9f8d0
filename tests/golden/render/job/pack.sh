#!/bin/bash
#PBS -N haabcdefghijkl
set -u
module load python
# Several units, one after the other; one that fails does not keep the next from running.
(cd -- '/scratch/o'"'"'brien/work/haabcdefghijkl' && exec python3 worker.py spec.json >>out 2>>err)
(cd -- '/scratch/$(touch canary)/ha2' && exec python3 worker.py spec.json >>out 2>>err)
