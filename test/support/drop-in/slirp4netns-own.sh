# slirp4netns-own.sh NAMES SCRIPT: a script of slirp4netns' own ($SLIRP4NETNS_SOURCES/tests), NAMES first in PATH. Prints its status.
names=$1 script=$2
# In a directory of this name: some look for the others by it. Most wait for a ping.
mkdir -p /tmp/own.$$/bin && cp -r "$SLIRP4NETNS_SOURCES/tests" /tmp/own.$$/ && cd /tmp/own.$$/tests || exit 1
command -v ping > /dev/null || ln -s "$(command -v busybox)" /tmp/own.$$/bin/ping
export PATH=$names:/tmp/own.$$/bin:$PATH:/usr/sbin:/sbin
timeout -k 2 60 bash "./$script" > ../log 2>&1 < /dev/null
echo "status: $?"
