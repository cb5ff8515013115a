# gridcast in containers: docs/how-to/containers.md explains how to use them, compose.yaml starts them together.
#   docker build --tag gridcast:0.2.0 .                    the service, sweeps, the tracking server
#   docker build --target lab --tag gridcast-lab:0.2.0 .   the same plus JupyterLab
FROM python:3.11.14-slim-bookworm AS base

ENV PATH=/opt/gridcast/bin:$PATH \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONUNBUFFERED=1

# An ordinary user who may write only at home and in /project. Volumes take their owner from these folders.
RUN useradd --create-home --uid 1000 gridcast \
    && install --directory --owner=1000 --group=1000 /project /project/.gridcast /project/artifacts /project/data

# Packages change rarely and the code often: in this order the layer of the packages is built once and cached.
WORKDIR /opt/source
COPY requirements.txt ./
RUN python -m venv /opt/gridcast \
    && pip install --no-cache-dir --no-deps --require-hashes --only-binary :all: --requirement requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY src src
COPY experiments experiments
RUN pip install --no-cache-dir --no-deps .

WORKDIR /project
COPY experiments experiments
USER 1000:1000


FROM base AS lab

USER 0:0
COPY requirements-lab.txt /opt/source/
RUN pip install --no-cache-dir --no-deps --require-hashes --only-binary :all: --requirement /opt/source/requirements-lab.txt
USER 1000:1000
COPY --chown=1000:1000 notebooks notebooks
EXPOSE 8888
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8888/api', timeout=4)"]
CMD ["jupyter", "lab", "--ip=0.0.0.0", "--no-browser"]


FROM base AS api

EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
CMD ["gridcast", "--help"]
