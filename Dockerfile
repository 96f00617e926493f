# All images of Snowcat, one target each: controller, trainer, server, workspace. Layers stand from least to most volatile, so that a push after
# a change of the code sends kilobytes. No image holds a credential: tokens come from the account at run time.
#
# The embedded account without a Docker engine takes COPY, ENV, WORKDIR, ENTRYPOINT and CMD from here and runs on the host's Python.

ARG PYTHON=3.11-slim-bookworm

FROM python:${PYTHON} AS python
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1
RUN useradd --create-home --uid 1000 snowcat
WORKDIR /app
ENV PYTHONPATH=/app

# The daemon and its command line: no torch, no CUDA.
FROM python AS controller
RUN pip install "httpx>=0.28,<1" "platformdirs>=4.3,<5" "pydantic>=2.12,<3" "pyyaml>=6.0.2,<7" "rich>=14,<16" \
    "snowflake-connector-python>=4.8,<6" "structlog>=25,<27" "tenacity>=9,<10" "typer>=0.20,<1" "watchfiles>=1.0,<2"
COPY controller controller/
COPY training training/
COPY container container/
COPY Dockerfile* .dockerignore* ./
USER snowcat
ENTRYPOINT ["python", "-c", "from controller.cli.main import main; main()"]
CMD ["--help"]

# What training and serving share. Triton needs a C compiler at run time; nothing needs nvcc, since no CUDA extension is built.
# The CUDA libraries come as wheels with torch, in one layer: it changes only with torch's version.
FROM python AS models
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
ARG TORCH=2.13.0
RUN pip install "torch==${TORCH}"
RUN pip install "accelerate>=1.1,<2" "gguf>=0.17,<1" "huggingface-hub>=1,<2" "peft>=0.18,<1" "safetensors>=0.5,<1" \
    "tokenizers>=0.22,<1" "transformers>=5.16,<6"
RUN pip install "pydantic>=2.12,<3" "snowflake-connector-python>=4.8,<6"

FROM models AS trainer
RUN DS_BUILD_OPS=0 pip install "deepspeed>=0.19.6,<0.20" "matplotlib>=3.9,<4" \
    "snowflake-connector-python[pandas]>=4.8,<6" "bitsandbytes>=0.50,<1"
COPY training training/
COPY container container/
USER snowcat
ENTRYPOINT ["python", "-m", "container.trainer"]

FROM models AS server
RUN pip install "starlette>=0.46,<2" "uvicorn>=0.34,<1"
COPY training training/
COPY container container/
USER snowcat
EXPOSE 8000
ENTRYPOINT ["python", "-m", "container.server"]

FROM python AS workspace
RUN pip install "jupyterlab>=4.4,<5" "nbclient>=0.10,<1" "pandas>=2.2,<4" "snowflake-connector-python>=4.8,<6" "httpx>=0.28,<1" "pydantic>=2.12,<3"
COPY training training/
COPY container container/
USER snowcat
EXPOSE 8888
ENTRYPOINT ["python", "-m", "container.workspace"]
