#!/bin/sh
# launch.sh LAUNCHER ARG...: starts an MPI launcher with a temporary folder of its own (runs of Open
# MPI that begin and end together remove each other's), and lets it work as root and on few cores.
# Ranks are not bound: a rank's OpenMP threads would share one core.
TMPDIR=$(mktemp -d "${TMPDIR:-/tmp}/cell-XXXXXX") || exit 3
export TMPDIR
trap 'rm -rf -- "$TMPDIR"' EXIT
trap 'exit 143' HUP INT TERM
OMPI_MCA_rmaps_base_oversubscribe=1 PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe
OMPI_MCA_hwloc_base_binding_policy=none PRTE_MCA_hwloc_default_binding_policy=none
export OMPI_MCA_rmaps_base_oversubscribe PRTE_MCA_rmaps_default_mapping_policy
export OMPI_MCA_hwloc_base_binding_policy PRTE_MCA_hwloc_default_binding_policy
if [ "$(id -u)" = 0 ]; then
    OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    export OMPI_ALLOW_RUN_AS_ROOT OMPI_ALLOW_RUN_AS_ROOT_CONFIRM
fi
"$@"
