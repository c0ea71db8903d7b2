#!/bin/sh
# Runs once, when the first start prepares the data: creates the gateway's role,
# which owns the database and is no superuser. The superuser is left without a
# password, so that it can log in inside the container only.
set -eu
psql -v ON_ERROR_STOP=1 --no-psqlrc --quiet --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
\getenv password POSTGRES_PASSWORD
CREATE ROLE agiqa LOGIN PASSWORD :'password';
ALTER DATABASE :"DBNAME" OWNER TO agiqa;
ALTER ROLE CURRENT_USER PASSWORD NULL;
SQL
