#!/usr/bin/env bash
# What the service models of docker-compose.yml runs: it makes .cache/models the
# model repository that Triton serves.
#
# AGIQA_ENCODER  default: the default encoder, downloaded and converted, with
#                graphs for CPUs and GPUs; repository: a copy of
#                model_repository, which has the small encoder or one of yours
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

case ${AGIQA_ENCODER:-default} in
default)
	[[ -n ${PIP_INDEX_URL-} ]] || unset PIP_INDEX_URL
	GPU=1 exec encoder/models.sh
	;;
repository)
	rm -rf .cache/models.new
	cp -r model_repository .cache/models.new
	rm -rf .cache/models
	mv .cache/models.new .cache/models
	echo "models: copied model_repository"
	;;
*)
	echo "models: AGIQA_ENCODER is '$AGIQA_ENCODER', want default or repository" >&2
	exit 1
	;;
esac
