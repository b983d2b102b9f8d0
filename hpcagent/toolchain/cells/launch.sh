#!/bin/sh
# launch.sh LAUNCHER ARG...: starts ranks on this node with an MPI's own launcher.
#
# It gets a temporary folder of its own (runs of Open MPI that begin and end together remove each
# other's), may work as root and on few cores, and sees nothing of the batch job, whose node may be
# known by another name. Ranks are not bound: a rank's OpenMP threads would share one core.
TMPDIR=$(mktemp -d "${TMPDIR:-/tmp}/cell-XXXXXX") || exit 3
export TMPDIR
trap 'rm -rf -- "$TMPDIR"' EXIT
trap 'exit 143' HUP INT TERM
export OMPI_MCA_rmaps_base_oversubscribe=1 PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe
export OMPI_MCA_hwloc_base_binding_policy=none PRTE_MCA_hwloc_default_binding_policy=none
export HYDRA_LAUNCHER=fork I_MPI_HYDRA_BOOTSTRAP=fork
if [ "$(id -u)" = 0 ]; then
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi
case ${1##*/} in
srun | aprun | jsrun | flux) ;;
*)
    for name in $(env | sed -n 's/^\(\(SLURM\|PBS\|PMI\|PMIX\)_[A-Za-z0-9_]*\)=.*/\1/p'); do
        unset "$name"
    done
    ;;
esac
"$@"
