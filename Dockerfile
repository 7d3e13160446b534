# Audits models that are mounted into it; needs no network and writes nowhere but where it is told to.
#   docker build -t regaudit .
#   docker run --rm --network none -v "$PWD:/work:ro" regaudit check model.safetensors
FROM python:3.13-slim AS build
COPY pyproject.toml README.md LICENSE constraints.txt /source/
COPY regaudit /source/regaudit
RUN python -m venv /opt/regaudit \
    && /opt/regaudit/bin/python -m pip install --no-cache-dir --constraint /source/constraints.txt '/source[readers]'

FROM python:3.13-slim
COPY --from=build /opt/regaudit /opt/regaudit
RUN useradd --create-home --uid 10001 regaudit
USER 10001
WORKDIR /work
ENV PATH="/opt/regaudit/bin:$PATH" PYTHONDONTWRITEBYTECODE=1
ENTRYPOINT ["regaudit"]
CMD ["--help"]
