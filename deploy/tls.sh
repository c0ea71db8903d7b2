#!/bin/sh
# Creates an authority of your own and the certificates of Redis and PostgreSQL
# in deploy/tls, for compose.tls.yml. Existing files are kept: remove the folder
# to begin again, before the certificates expire (825 days).
#
#   deploy/tls.sh [FOLDER]
set -eu
dir=${1:-$(dirname "$0")/tls}
umask 077
mkdir -p "$dir"
cd "$dir"
if [ ! -f ca.crt ]; then
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -sha256 -days 3650 \
		-subj "/CN=agiqa services" -addext "keyUsage=critical,keyCertSign,cRLSign" -keyout ca.key -out ca.crt 2> /dev/null
fi
for name in redis postgres; do
	[ -f "$name.crt" ] && continue
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -subj "/CN=$name" \
		-keyout "$name.key" -out "$name.csr" 2> /dev/null
	printf 'subjectAltName=DNS:%s,DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE\n' \
		"$name" > "$name.ext"
	openssl x509 -req -in "$name.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -sha256 -days 825 \
		-extfile "$name.ext" -out "$name.crt" 2> /dev/null
	rm "$name.csr" "$name.ext"
done
# Containers mount single files and run as users of their own. This folder keeps
# the machine's other users away from the keys.
chmod 0644 ca.crt redis.crt redis.key postgres.crt postgres.key
echo "certificates in $PWD; keep ca.key off this machine, or delete it"
