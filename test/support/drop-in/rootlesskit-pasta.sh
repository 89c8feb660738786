# rootlesskit-pasta.sh NAMES: RootlessKit's network driver pasta with the ports that come and go; NAMES first in PATH (empty:
# the distribution's programs).
export XDG_RUNTIME_DIR=/tmp/run.$$ PATH=${1:+$1:}$PATH
mkdir -m 700 "$XDG_RUNTIME_DIR" && mkdir /tmp/html.$$ && echo served > /tmp/html.$$/index.html
cd /tmp
rootlesskit --state-dir=/tmp/state.$$ --net=pasta --copy-up=/etc --disable-host-loopback --port-driver=implicit \
  busybox httpd -f -p 18095 -h /tmp/html.$$ > log.$$ 2>&1 &
kit=$!
for _ in $(seq 100); do curl -fsS -m 2 http://127.0.0.1:18095/ 2> /dev/null && break; sleep 0.1; done
runs() { ps ax -o args | grep -v grep | grep -qE "^(\S*/)?(pasta|pasta\.avx2|node \S*sluice\.cjs as pasta) "; }
runs && echo "runs: yes"
kill $kit; wait $kit 2> /dev/null
for _ in $(seq 50); do runs || break; sleep 0.1; done
runs && echo "left: yes" || echo "left: no"
