# The training jobs and the `poselift` command. Built as service.Dockerfile is: make image IMAGE=training

ARG BASE_IMAGE=docker.io/library/python:3.11-slim-bookworm

# Wheels that are taken before those of the index; docker/build puts a folder in place of this.
FROM scratch AS wheels

# hadolint ignore=DL3006
FROM ${BASE_IMAGE} AS build
# Where pip finds torch besides its usual index: this, or one of the CUDA builds beside it.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# Besides what training needs: s3 publishes to a bucket.
ARG EXTRAS=s3
WORKDIR /source
RUN python3 -m venv /opt/poselift
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY poselift poselift
COPY training training
# Secrets: pip's configuration and the certificates that it trusts, where they are not the usual ones.
RUN --mount=type=bind,from=wheels,target=/wheels --mount=type=secret,id=pip --mount=type=secret,id=certificates \
    if [ -s /run/secrets/pip ]; then export PIP_CONFIG_FILE=/run/secrets/pip; fi && \
    if [ -s /run/secrets/certificates ]; then export PIP_CERT=/run/secrets/certificates; fi && \
    /opt/poselift/bin/pip install --no-cache-dir --disable-pip-version-check --find-links /wheels \
        ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} ".[training,${EXTRAS}]" && \
    chmod -R a+rX /opt/poselift

# hadolint ignore=DL3006
FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="Poselift training" \
      org.opencontainers.image.description="Pretraining and fine-tuning of pose lifters" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/poselift /opt/poselift
COPY LICENSE NOTICE /usr/share/doc/poselift/
# Checkpoints are written to runs/ in the folder that a job is started in: mount one there.
ENV PATH=/opt/poselift/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /work
USER 10001:10001
CMD ["poselift", "--help"]
