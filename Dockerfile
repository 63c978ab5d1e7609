# The supervisor with its built-in model server. docs/container.md describes the image.
#   docker build --tag drum-supervisor .

# Both stages need the same image: the virtual environment built in the first runs on the Python of the second.
ARG PYTHON_IMAGE=python:3.12-slim


FROM ${PYTHON_IMAGE} AS build

# all.txt includes the built-in model server; core.txt is the supervisor alone, for other servers.
ARG REQUIREMENTS=all.txt

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_COMPILE=1 PIP_ROOT_USER_ACTION=ignore

# Tools that build the wheel and the SBOM. They stay in this stage.
COPY conf/image/build.txt /build/
RUN python -m venv --without-pip /build/tools \
 && pip --python /build/tools/bin/python install --quiet --require-hashes --only-binary :all: -r /build/build.txt

# Requirements come before our own code, which changes more often. The packages' tests are a quarter of their size and not needed.
COPY conf/image/${REQUIREMENTS} /build/requirements.txt
RUN python -m venv --without-pip /opt/drum-supervisor \
 && pip --python /opt/drum-supervisor/bin/python install --quiet --require-hashes --only-binary :all: -r /build/requirements.txt \
 && find /opt/drum-supervisor -type d -name tests -prune -exec rm -r {} + \
 && python -m compileall -q /opt/drum-supervisor

COPY setup.cfg pyproject.toml README.md LICENSE /build/source/
COPY drum_supervisor /build/source/drum_supervisor
RUN pip --python /build/tools/bin/python wheel --quiet --no-deps --no-build-isolation --wheel-dir /build/wheels /build/source \
 && pip --python /opt/drum-supervisor/bin/python install --quiet --no-deps /build/wheels/*.whl \
 && python -m compileall -q /opt/drum-supervisor/lib/python*/site-packages/drum_supervisor \
 && /build/tools/bin/cyclonedx-py environment --output-reproducible --output-file /opt/drum-supervisor/sbom.cdx.json \
        /opt/drum-supervisor/bin/python


FROM ${PYTHON_IMAGE}

ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="drum_supervisor" \
      org.opencontainers.image.description="Runs a model server so that it always answers: with predictions, or with the reason why it cannot" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      com.amazonaws.sagemaker.capabilities.accept-bind-to-port="true"

COPY --from=build /opt/drum-supervisor /opt/drum-supervisor

# A random uid has no entry in /etc/passwd, and libraries look up HOME and LOGNAME. Only /tmp must be writable.
ENV PATH=/opt/drum-supervisor/bin:${PATH} \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    LOGNAME=drum-supervisor

USER 65532:65532
EXPOSE 8080

# Healthy means serving. To read the output of `status`: docker inspect --format '{{json .State.Health}}'
HEALTHCHECK --interval=30s --timeout=10s --start-period=600s --retries=2 CMD ["drum-supervise", "status"]

ENTRYPOINT ["drum-supervise"]
CMD ["serve"]
