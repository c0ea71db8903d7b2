# What Triton serves and the bundles of its checkpoints, as one image for the
# Helm chart (models.source: image). It runs nothing: pods copy from it.
# Build from the repository's root, after the image that writes the models:
#
#   docker build -f deploy/Dockerfile --target models -t agiqa/models:local .
#   docker build -f deploy/repository.Dockerfile -t agiqa/repository:VERSION .
#
# ENCODER=repository takes what is in model_repository.
FROM agiqa/models:local AS models
COPY --chown=65532:65532 model_repository /project/model_repository
COPY --chown=65532:65532 demo/checkpoints /project/demo/checkpoints
ARG ENCODER=default
RUN AGIQA_ENCODER="$ENCODER" PIP_NO_CACHE_DIR=1 deploy/models.sh

FROM busybox:1.37.0-musl
COPY --from=models /models/models /repository/models
COPY demo/checkpoints /repository/checkpoints
USER 65532:65532
