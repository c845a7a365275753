"""Buckets and a metadata server on loopback, for tests: real servers in processes and threads of their own."""

import contextlib
import functools
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BUCKET = "jaxaccomp-tests"

_GCS = """
import sys
from http import HTTPStatus
from gcp_storage_emulator import exceptions
from gcp_storage_emulator.handlers import objects

plain_download = objects.download

def download(request, response, storage, *args, **kwargs):
    # As Google answers; without it tensorstore refuses an object that it has not written itself ("Malformed
    # StorageGeneration").
    try:
        found = storage.get_file_obj(request.params["bucket_name"], request.params["object_id"])
        response["x-goog-generation"] = found["generation"]
    except exceptions.NotFound:
        pass
    return plain_download(request, response, storage, *args, **kwargs)

plain_insert = objects.insert

def insert(request, response, storage, *args, **kwargs):
    # As Google answers; the emulator takes no notice of the condition.
    if request.query.get("ifGenerationMatch") == ["0"] and request.query["uploadType"] == ["multipart"]:
        try:
            storage.get_file_obj(request.params["bucket_name"], request.data["meta"]["name"])
            response.status = HTTPStatus.PRECONDITION_FAILED
            return response.json({"error": {"code": 412, "message": "conditionNotMet"}})
        except exceptions.NotFound:
            pass
    return plain_insert(request, response, storage, *args, **kwargs)

objects.insert = insert
objects.download = download  # before the server looks its handlers up
from gcp_storage_emulator.server import create_server
create_server("127.0.0.1", int(sys.argv[1]), in_memory=True, default_bucket=sys.argv[2]).run()
"""
_S3 = """
import sys
from moto.server import main
main(["-H", "127.0.0.1", "-p", sys.argv[1]])
"""


def free_port() -> int:
    """A port that nobody uses yet."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextlib.contextmanager
def gcs() -> Iterator[dict[str, str]]:
    """A Google Cloud Storage emulator with one bucket; yields the environment that leads there."""
    with _serving(_GCS, BUCKET) as address:
        yield {
            "STORAGE_EMULATOR_HOST": address,
            "TENSORSTORE_GCS_HTTP_URL": address,
            "GOOGLE_CLOUD_PROJECT": "tests",
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",  # asks Google what kind of bucket it is
        }


@contextlib.contextmanager
def s3() -> Iterator[dict[str, str]]:
    """An S3 emulator with one bucket; yields the environment that leads there."""
    with _serving(_S3) as address:
        urllib.request.urlopen(urllib.request.Request(f"{address}/{BUCKET}", method="PUT")).close()
        yield {
            "AWS_ENDPOINT_URL": address,
            "AWS_ACCESS_KEY_ID": "tests",
            "AWS_SECRET_ACCESS_KEY": "tests",
            "AWS_DEFAULT_REGION": "us-east-1",
        }


@functools.cache
def _port_of(program: str) -> int:
    """One port for each kind: tensorstore, gcsfs and s3fs keep the first address they are told in a process."""
    return free_port()


@contextlib.contextmanager
def _serving(program: str, *arguments: str) -> Iterator[str]:
    port = _port_of(program)
    command = [sys.executable, "-c", program, str(port), *arguments]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            for _ in range(600):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                assert server.poll() is None, "the emulator has ended"
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.kill()


@contextlib.contextmanager
def tpu_metadata(workers: int) -> Iterator[list[dict[str, str]]]:
    """The metadata server of a Cloud TPU slice, as each worker's VM has one; yields the environment of each worker.

    A worker of it must be started through `tpu_worker.py`, which stands for the chips.
    """

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self):
            worker, key = self.path.split("/")[1], self.path.rsplit("/", 1)[1]
            assert self.headers["Metadata-Flavor"] == "Google"
            known = {
                "agent-worker-number": worker,
                "worker-network-endpoints": ",".join(f"vm{number}:{number}:127.0.0.1" for number in range(workers)),
                "tpu-env": "ACCELERATOR_TYPE: 'v5litepod-16'\nNODE_ID: 'tests'",
            }
            body = known.get(key, "").encode()
            self.send_response(200 if key in known else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = free_port()
    try:
        yield [
            {
                "GCE_METADATA_IP": f"127.0.0.1:{server.server_port}/{worker}",
                "JAX_FORCE_TPU_INIT": "1",
                "JAX_PLATFORMS": "cpu",
                "JAX_COORDINATOR_PORT": str(port),  # all workers are on this machine, where 8482 may be taken
            }
            for worker in range(workers)
        ]
    finally:
        server.shutdown()
        server.server_close()


def plain_environment() -> dict[str, str]:
    """This process's environment without what would make a child part of some other run."""
    foreign = ("JAX_COORDINATOR", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID", "SLURM_", "OMPI_", "TPU_")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
