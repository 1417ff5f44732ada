# The server as an image: `docker build -t dropzero .`, and docs/deployment.md says how to run it.
FROM python:3.12-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY api api
COPY migrations migrations
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheel .
RUN python -m venv /opt/dropzero && /opt/dropzero/bin/pip install --no-cache-dir -c constraints.txt /wheel/*.whl

FROM python:3.12-slim
COPY --from=build /opt/dropzero /opt/dropzero
ENV PATH=/opt/dropzero/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    DROPZERO_PORT=8000
# A number, so that a platform which refuses to run as root can tell that this is not root. It owns nothing here.
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
# Without curl, which is not there, and without urllib, which would go through a proxy of the environment.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 CMD ["python", "-c", "\
import http.client, os, sys; \
server = http.client.HTTPConnection('127.0.0.1', int(os.environ['DROPZERO_PORT']), timeout=2); \
server.request('GET', '/healthz'); \
sys.exit(server.getresponse().status != 200)"]
ENTRYPOINT ["dropzero"]
CMD ["serve", "--host", "0.0.0.0"]
