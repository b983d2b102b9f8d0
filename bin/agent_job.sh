#!/bin/bash
# The agent as a Slurm job. It does what can be done now, submits the measurements and a successor
# that starts when they have ended, and exits; nothing waits in an allocation for the queue.
#
#   sbatch bin/agent_job.sh tune --lib openblas --partition compute
#   sbatch bin/agent_job.sh run plan.yaml
#   sbatch bin/agent_job.sh resume RUN
#   sbatch --exclusive --time=4:00:00 bin/agent_job.sh --in-allocation tune --lib openblas
#
# The last one measures inside this very job. Options of sbatch win over those below; successors
# ask for the same. `hpcagent cancel RUN` ends run and successors.
#SBATCH --job-name=hpcagent
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --time=00:30:00
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@120

# Sets `launcher`.
find_launcher() {
    local place places=() command=''
    if [[ -n ${HPCAGENT_LAUNCHER:-} ]]; then
        launcher=$HPCAGENT_LAUNCHER
        return
    fi
    if [[ -n ${SLURM_JOB_ID:-} ]]; then
        # Slurm runs a copy of this file; where the file itself lies, the controller knows.
        command=$(scontrol show job "$SLURM_JOB_ID" 2>/dev/null | sed -n 's/^ *Command=//p')
        [[ $command == /*/agent_job.sh* ]] && places+=("${command%%/agent_job.sh*}")
    fi
    [[ ${BASH_SOURCE[0]} == */* ]] && places+=("${BASH_SOURCE[0]%/*}")
    places+=("${SLURM_SUBMIT_DIR:-.}/bin" "${SLURM_SUBMIT_DIR:-.}")
    for place in "${places[@]}"; do
        if [[ -x $place/hpcagent && ! -d $place/hpcagent ]]; then
            launcher=$place/hpcagent
            return
        fi
    done
    launcher=$(type -P hpcagent) && return
    printf 'agent_job.sh: no hpcagent beside this script, in %s/bin or on the PATH: load its %s\n' \
        "${SLURM_SUBMIT_DIR:-.}" 'module, or name it in HPCAGENT_LAUNCHER' >&2
    exit 3
}

find_launcher
export HPCAGENT_LAUNCHER=$launcher
# exec: the warning signal goes to this process alone, and a waiting bash would keep it.
exec "$launcher" chain "$@"
