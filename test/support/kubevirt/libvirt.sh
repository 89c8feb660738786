# libvirt.sh FOLDER: a guest that libvirt starts from the domain that our sidecar makes, in network namespaces of their own as in
# a pod. FOLDER has kernel and initrd; made.xml is put there by who asks the sidecar, and it is told to shut down when `ended` is
# there. Says what was seen, a line for each thing.
folder=$1 root=$(dirname "$0")/../../..
. "$root/test/support/libvirt-rig.sh"
hooks=/var/run/kubevirt-hooks
mkdir -p $hooks
mkdir hooks; ln -s "$folder/hooks" $hooks/hook-sidecar-0
CONTAINER_NAME=hook-sidecar-0 node "$root/src/cli/sluice.cjs" kubevirt-binding --hooks-dir "$folder/hooks" 2> sidecar.log &
sidecar=$!
engine() { pgrep -P $sidecar | head -1; }
until_true 100 test -f made.xml || { cat sidecar.log; exit 1; }
begin made.xml sidecar.log
failed=0
for _ in $(seq 4); do
  old=$(engine)
  kill -9 "$old"
  sleep 0.3
  until_true 30 is_there || failed=$((failed + 1))
  [ "$(engine)" != "$old" ] || failed=$((failed + 1))
done
echo "after kill -9, four times: $([ $failed = 0 ] && echo served || echo "lost $failed times")"
$virsh reset web
: > console
until_true 600 says '^guest-ready' && until_true 30 is_there && echo "after a reset: served"
kill -0 $sidecar && echo "sidecar: runs"
$virsh destroy web > /dev/null
touch ended
until_true 10 eval '! kill -0 $sidecar 2> /dev/null' && wait $sidecar; echo "status: $?"
echo "left: $(ls hooks) $(ls hooks/engine)"
