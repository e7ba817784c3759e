# The whole workflow in one image: Snakemake, all stages, the code. How to build, run and carry it:
# docs/environments.md. Packages are those of envs/packages.yaml, by the lists made from it.
#
# One list instead of an environment per rule (`snakemake --containerize`): the stages share torch, so four
# environments would hold it three times; and wheels can be carried across an air gap, conda channels cannot.
ARG BASE=python:3.11.14-slim-bookworm

# hadolint ignore=DL3006
FROM ${BASE} AS packages
# requirements-gpu.txt for a machine with an NVIDIA GPU; the wheels bring CUDA along, the host its driver.
ARG REQUIREMENTS=requirements.txt
# Behind an air gap: a bundle's wheels/ beside this file, and --build-arg PIP_ARGS="--no-index --find-links /wheels"
ARG PIP_ARGS=""
COPY envs/ /envs/
# LICENSE is there always, wheels/ only then: COPY wants one match at least.
COPY LICENSE wheels* /wheels/
# hadolint ignore=SC2086
RUN python -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check ${PIP_ARGS} \
        -r "/envs/${REQUIREMENTS}" \
    && /opt/venv/bin/pip check

# hadolint ignore=DL3006
FROM ${BASE}
LABEL org.opencontainers.image.title="deft-aoi-loop" \
      org.opencontainers.image.licenses="Apache-2.0"
# A user without rights. `docker run --user "$(id -u):$(id -g)"` gives the output to you instead.
RUN useradd --no-log-init --create-home --uid 10001 --user-group deft \
    && install -d -m 1777 /data
COPY --from=packages /opt/venv /opt/venv
COPY --chown=root:root Snakefile LICENSE /opt/deft/
COPY --chown=root:root config/ /opt/deft/config/
COPY --chown=root:root envs/ /opt/deft/envs/
COPY --chown=root:root profiles/ /opt/deft/profiles/
COPY --chown=root:root rules/ /opt/deft/rules/
COPY --chown=root:root scripts/ /opt/deft/scripts/
# Any user id may run it: caches go to a folder that everyone may write, read-only images included,
# and the user has a name.
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/tmp \
    USER=deft \
    PYTHONDONTWRITEBYTECODE=1 \
    OMP_WAIT_POLICY=PASSIVE \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:10001
# Snakemake keeps a log where it is started: not in the code, which is nobody's to write.
WORKDIR /data
# `docker run IMAGE preflight --config workspace=/data`; the executable of the image, not of a job.
ENTRYPOINT ["snakemake", "--snakefile", "/opt/deft/Snakefile"]
CMD ["--help"]
