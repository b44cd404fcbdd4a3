#!/usr/bin/env bash
# A SLURM cluster on this machine, for trying things out and for tests: its own munged and slurmctld, and a slurmd for
# each of a few nodes, all on the loopback device. Nothing outside of DIR is touched, nor any cluster already here.
#
#     scripts/slurm/local_cluster.sh up [DIR]        starts it; DIR is /tmp/cl-runner-slurm unless given
#     export SLURM_CONF=/tmp/cl-runner-slurm/slurm.conf
#     sinfo                                          sbatch, squeue and cl-run now use it
#     scripts/slurm/local_cluster.sh down [DIR]      stops it and deletes DIR
#
# Needs Debian's packages slurm-wlm and munge (22.05 or later), as root or as any user. NODES (2) and CPUS (of a node,
# 4) are taken from the environment; these may be more than there are. Each node says that it has two GPUs. There is no
# accounting, so no sacct.
set -euo pipefail

action=${1:-}
dir=$(realpath -m "${2:-/tmp/cl-runner-slurm}")
export SLURM_CONF=$dir/slurm.conf

free_ports() {
    python3 - "$1" <<'PYTHON'
import socket, sys

sockets = [socket.socket() for _ in range(int(sys.argv[1]))]
for opened in sockets:
    opened.bind(("127.0.0.1", 0))
print(*(opened.getsockname()[1] for opened in sockets))
PYTHON
}

configure() {
    local nodes=${NODES:-2} number ports host
    read -ra ports < <(free_ports $((nodes + 1)))
    host=$(hostname -s)
    mkdir -p "$dir/controller"
    cat >"$SLURM_CONF" <<CONF
ClusterName=local
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=${ports[nodes]}
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
# A requeued job waits as long as a credential lives: by default, and where less than 5 is given, two minutes.
AuthInfo=socket=$dir/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation=$dir/controller
SlurmctldPidFile=$dir/slurmctld.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdPidFile=$dir/slurmd-%n.pid
SlurmdLogFile=$dir/slurmd-%n.log
SlurmdSpoolDir=$dir/spool-%n
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
MpiDefault=none
GresTypes=gpu
# A node that was set down stays so until it is resumed.
ReturnToService=1
SlurmdTimeout=15
KillWait=10
MinJobAge=300
CONF
    for ((number = 0; number < nodes; number++)); do
        mkdir -p "$dir/spool-node$number"
        echo "NodeName=node$number NodeHostname=$host NodeAddr=127.0.0.1 Port=${ports[number]} CPUs=${CPUS:-4} RealMemory=100000 Gres=gpu:2 State=UNKNOWN"
    done >>"$SLURM_CONF"
    echo "PartitionName=work Nodes=ALL Default=YES MaxTime=INFINITE PriorityTier=1 State=UP" >>"$SLURM_CONF"
    # A job that comes here takes the place of one of the other partition, which is requeued.
    echo "PartitionName=urgent Nodes=ALL MaxTime=INFINITE PriorityTier=2 State=UP" >>"$SLURM_CONF"
    # They can be asked for and are counted, but any device has to stand for them.
    printf 'Name=gpu File=%s\n' /dev/null /dev/zero >"$dir/gres.conf"
    (umask 077 && head -c 1024 /dev/urandom >"$dir/munge.key")
}

up() {
    local missing=()
    for command in munged slurmctld slurmd sbatch; do
        command -v "$command" >/dev/null || missing+=("$command")
    done
    if ((${#missing[@]})); then
        echo "not here: ${missing[*]} (apt-get install slurm-wlm munge)" >&2
        exit 1
    fi
    mkdir -p "$dir"
    chmod 755 "$dir"
    configure
    # By force, since others need not reach DIR, which it would insist on.
    munged --force --socket "$dir/munge.socket" --key-file "$dir/munge.key" --pid-file "$dir/munge.pid" \
        --log-file "$dir/munge.log" --seed-file "$dir/munge.seed" \
        2>"$dir/munge.out"
    slurmctld
    for node in $(sed -n 's/^NodeName=\([^ ]*\).*/\1/p' "$SLURM_CONF"); do
        slurmd -N "$node"
    done
    for ((tenth = 0; tenth < 300; tenth++)); do
        if ! sinfo --noheader --Node --format %T | grep -qv idle; then
            echo "up: export SLURM_CONF=$SLURM_CONF"
            return
        fi
        sleep 0.1
    done
    echo "the nodes did not come up; see the logs in $dir" >&2
    exit 1
}

down() {
    local pid
    if [ ! -e "$SLURM_CONF" ]; then
        echo "no cluster in $dir"
        return
    fi
    # Jobs end first, or their processes would go on without anybody to end them.
    scancel --quiet --user="$(id -un)" 2>/dev/null || true
    for ((tenth = 0; tenth < 150; tenth++)); do
        [ -n "$(squeue --noheader 2>/dev/null)" ] || break
        sleep 0.1
    done
    for file in "$dir"/slurmd-*.pid "$dir/slurmctld.pid" "$dir/munge.pid"; do
        [ -s "$file" ] || continue
        pid=$(cat "$file")
        kill "$pid" 2>/dev/null || continue
        for ((tenth = 0; tenth < 100; tenth++)); do
            # One that nobody has waited for yet is gone too.
            [[ $(ps -o stat= -p "$pid") =~ ^[^Z] ]] || break
            sleep 0.1
        done
        kill -9 "$pid" 2>/dev/null || true
    done
    rm -rf "$dir"
}

case $action in
up | down) "$action" ;;
*) echo "local_cluster.sh up [DIR], or down [DIR]" >&2 && exit 2 ;;
esac
