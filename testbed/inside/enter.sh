#!/bin/sh
# Becomes a host: from fresh mount, PID, UTS and IPC namespaces to its own root and init.
# Started by testbed/host.py with everything in the environment; its end is the host's end.
set -eu
cd "$HOST_DIR"

# cgroups of its own, so that two hosts' batch systems do not meet in one, and `down` finds them.
mount --make-rprivate /
CONTROLLERS=""
if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
  group="/sys/fs/cgroup/$HOST_CGROUP/$HOST_NAME"
  mkdir -p "$group"
  tr ' ' '\n' < /sys/fs/cgroup/cgroup.controllers | while read -r name; do
    echo "+$name" > /sys/fs/cgroup/cgroup.subtree_control 2>/dev/null || true
    echo "+$name" > /sys/fs/cgroup/$HOST_CGROUP/cgroup.subtree_control 2>/dev/null || true
  done
  echo 0 > "$group/cgroup.procs"
else
  for name in memory cpu cpuacct freezer devices pids; do
    [ -f "/sys/fs/cgroup/$name/cgroup.procs" ] || continue
    mkdir -p "/sys/fs/cgroup/$name/$HOST_CGROUP/$HOST_NAME"
    echo 0 > "/sys/fs/cgroup/$name/$HOST_CGROUP/$HOST_NAME/cgroup.procs"
    CONTROLLERS="$CONTROLLERS $name"
  done
fi

mkdir -p upper work root
mount -t overlay overlay -o "lowerdir=$HOST_LAYERS,upperdir=upper,workdir=work" root
mount --bind root root
cd root
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t tmpfs -o mode=755 tmpfs dev
for node in null zero full random urandom tty; do
  : > "dev/$node"
  mount --bind "/dev/$node" "dev/$node"
done
mkdir -p dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s /proc/self/fd/0 dev/stdin
ln -s /proc/self/fd/1 dev/stdout
ln -s /proc/self/fd/2 dev/stderr
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mkdir -p run/lock
mkdir -p var/log/testbed usr/local/lib/testbed
cp "$HOST_INIT" usr/local/lib/testbed/init.py
mount --bind "$HOST_LOGS" var/log/testbed
if [ -n "$HOST_REPOSITORY" ]; then
  mkdir -p srv/roost
  mount --bind "$HOST_REPOSITORY" srv/roost
  mount -o remount,bind,ro srv/roost
fi
if [ -n "$HOST_HOMES" ]; then
  mount --bind "$HOST_HOMES" home
fi

if [ -d sys/fs/cgroup ]; then
  if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
    mount --bind "/sys/fs/cgroup/$HOST_CGROUP/$HOST_NAME" sys/fs/cgroup
  else
    mount -t tmpfs -o mode=755 tmpfs sys/fs/cgroup
    for name in $CONTROLLERS; do
      mkdir "sys/fs/cgroup/$name"
      mount --bind "/sys/fs/cgroup/$name/$HOST_CGROUP/$HOST_NAME" "sys/fs/cgroup/$name"
    done
    if [ -d sys/fs/cgroup/cpu ] && [ -d sys/fs/cgroup/cpuacct ]; then
      # The name under which distributions mount the two, and under which HTCondor looks.  Where the
      # machine has them apart: without the account of a job's usage its starter reports nothing.
      mkdir "sys/fs/cgroup/cpu,cpuacct"
      mount --bind sys/fs/cgroup/cpuacct "sys/fs/cgroup/cpu,cpuacct"
    fi
  fi
fi

hostname "$HOST_FQDN"
mkdir -p .old
pivot_root . .old
cd /
umount -l .old
rmdir .old
# A cgroup namespace of its own makes the host's group look like the root of all.
exec unshare --cgroup -- /usr/bin/env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
  LANG=C.UTF-8 HOME=/root /usr/bin/python3 -I /usr/local/lib/testbed/init.py
