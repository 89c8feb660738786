# rootlesskit-own.sh NAMES SCRIPT [ARGUMENT...]: a script of RootlessKit's own ($ROOTLESSKIT_SOURCES/hack), behind offline.sh, whose
# name server knows the name they ask for; NAMES first in PATH (empty: the distribution's programs). Prints its status.
names=$1 script=$2
shift 2
export XDG_RUNTIME_DIR=/tmp/run.$$ PATH=${names:+$names:}$PATH
mkdir -m 700 "$XDG_RUNTIME_DIR"
cd /tmp || exit 1
timeout -k 2 150 bash "$ROOTLESSKIT_SOURCES/hack/$script" "$@" > log.$$ 2>&1 < /dev/null
echo "status: $?"
