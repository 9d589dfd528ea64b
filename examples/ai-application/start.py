"""Starts what stands behind envoy/ai-application.yaml, on the ports that are written there, until Ctrl-C.

    cargo xtask demo --once                                # once: makes the environment, the models and the provider
    target/venv-models/bin/python examples/ai-application/start.py
    envoy -c envoy/ai-application.yaml                     # in another terminal, from the repository's root

Then open http://localhost:8080/home as premium-user or basic-user; the passwords are the names. When this is started again,
start Envoy again, too: the provider's keys are new, and Envoy keeps the old ones for five minutes.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
TARGET = HERE.parents[1] / "target"
MODELS, PROVIDER = TARGET / "ai-application/models", TARGET / "idp/idp.mjs"

MLSERVER = [sys.executable, "-c", "from mlserver.cli import main; main()", "start"]
GROUPS = {"tensorflow": [8021, 8022], "pytorch": [8031, 8032]}
WORKLOADS = {"tf": 8001, "torch": 8002}


def main():
    for needed in (MODELS, PROVIDER):
        if not needed.exists():
            raise SystemExit(f"{needed} is missing: run `cargo xtask demo --once` first")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    processes = []
    try:
        # One by one, so that what has been started is ended if the next one cannot be.
        for process in programs():
            processes.append(process)
        print("Started. Now run `envoy -c envoy/ai-application.yaml`, and open http://localhost:8080/home", flush=True)
        while all(process.poll() is None for process in processes):
            time.sleep(0.5)
        print("One of the programs has ended, so all of them are ended; its reason is above.", file=sys.stderr)
    except KeyboardInterrupt:
        pass
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()


def programs():
    yield from model_servers()
    yield from services()
    yield start(["node", PROVIDER, "8090", "http://localhost:8080"])


def model_servers():
    for group, ports in GROUPS.items():
        for grpc in ports:
            settings = {
                "PYTHONPATH": HERE / "models",
                "MLSERVER_HOST": "127.0.0.1",
                "MLSERVER_GRPC_PORT": grpc,
                # Its own REST port, which only Kubernetes' probes would ask.
                "MLSERVER_HTTP_PORT": grpc + 1000,
                "MLSERVER_METRICS_PORT": grpc + 1100,
                "MLSERVER_GRPC_MAX_MESSAGE_LENGTH": 64 << 20,
                "MLSERVER_PARALLEL_WORKERS": 0,
                "MLSERVER_DEBUG": "false",
            }
            # In a folder of its own: MLServer keeps files of its metrics where it is started.
            folder = TARGET / "ai-application" / f"server-{grpc}"
            folder.mkdir(exist_ok=True)
            yield start([*MLSERVER, MODELS / group], settings, folder)


def services():
    yield service("ai_backend", 8000, {"STYLE_TRANSFER": "http://127.0.0.1:8010"})
    for (name, port), model in zip(WORKLOADS.items(), ("tf-style-transfer", "pt-style-transfer")):
        settings = {"MODEL_SERVER": "127.0.0.1:8008", "MODEL_NAME": model, "WORKLOAD": f"style-transfer-{name}"}
        yield service("style_transfer", port, settings)


def service(module, port, settings):
    command = [sys.executable, "-m", "uvicorn", f"{module}:app", "--host", "127.0.0.1", "--port", str(port)]
    return start(command, settings, HERE / "services")


def start(command, settings=None, folder=HERE):
    environment = {**os.environ, **{name: str(value) for name, value in (settings or {}).items()}}
    return subprocess.Popen([str(part) for part in command], env=environment, cwd=folder)


if __name__ == "__main__":
    main()
