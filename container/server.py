"""Entry point of the server image: `python -m container.server`.

Checks the model folder against its manifest before anything is loaded, serves on `SNOWCAT_PORT`, and ends with 10 and
the reason in the log when there is no model to serve.
"""

from __future__ import annotations

import os

from container import settings
from container.model_folder import verify
from container.serving.settings import ServerSettings
from training.errors import BadInputError, TrainingError
from training.rank import quiet_libraries


def serve(chosen: ServerSettings) -> None:
    """Serve until told to stop. Raises BadInputError when the model cannot be loaded."""
    verify(chosen.model)
    import torch
    import uvicorn

    from container.serving.app import build
    from container.serving.service import ModelService

    torch.set_num_threads(chosen.threads)
    service = ModelService(chosen)

    def stop() -> None:
        server.should_exit = True

    config = uvicorn.Config(build(service, stop), host=settings.listen_host(), port=chosen.port, log_level="warning", access_log=False)
    server = uvicorn.Server(config)
    print(f"serving {chosen.name} {chosen.version} on port {chosen.port}", flush=True)
    server.run()
    if service.failure is not None:
        raise BadInputError(f"the model does not work: {service.failure}") from service.failure


def main() -> None:
    """Entry point of the container."""
    quiet_libraries()
    threads = os.environ.get("SNOWCAT_THREADS")
    if threads:
        os.environ.setdefault("OMP_NUM_THREADS", threads)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that wait sleep: servers share the cores of a node
    try:
        serve(ServerSettings.from_environment())
    except TrainingError as error:
        settings.end(error)


if __name__ == "__main__":
    main()
