# vhost-libvirt.sh FOLDER: a guest that libvirt starts from FOLDER/domain.xml, whose card is at /run/vm.sock, where `sluice run` is. Says
# what was seen, a line for each thing.
folder=$1 root=$(dirname "$0")/../..
. "$root/test/support/libvirt-rig.sh"
node "$root/src/cli/sluice.cjs" run --vhost-user unix:/run/vm.sock -p 8080:8080 2> sluice.log &
sluice=$!
until_true 100 grep -q ready: sluice.log
begin domain.xml sluice.log
$virsh destroy web > /dev/null
kill $sluice; wait $sluice; echo "status: $?"
