#!/bin/sh
# Starts redis-server with one user, whose password comes from the environment.
# Arguments go to redis-server.
set -eu
: "${REDIS_PASSWORD:?is not set}"
umask 077
here=$(dirname "$0")
acl=${REDIS_ACL_FILE:-/data/users.acl}
# Its hash alone is written, and it is in no command line.
hash=$(printf %s "$REDIS_PASSWORD" | sha256sum | cut -c 1-64)
sed "s/PASSWORD_HASH/$hash/" "$here/users.acl" > "$acl"
unset REDIS_PASSWORD
exec redis-server "$here/redis.conf" --aclfile "$acl" "$@"
