# The worker's image with Docker's client, which is a single file: deploy/compose/engine.yml
ARG CLIENT=docker:28-cli
ARG WORKER=slidelane-worker:gpu
FROM ${CLIENT} AS client
FROM ${WORKER}
COPY --from=client /usr/local/bin/docker /usr/local/bin/docker
