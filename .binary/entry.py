"""What the one file runs: the `agentcontainer` command, or a file of ours in a process of its own."""

import os
import runpy
import ssl
import sys
from pathlib import Path

from agentcontainer_local.process import entry_point

CERTIFICATES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem")


def forget_the_loader() -> None:
    """The programs that we start are this machine's: they must not find our libraries."""
    for name in [name for name in os.environ if name.startswith("_PYI_") or name == "LD_LIBRARY_PATH"]:
        del os.environ[name]
    if (before := os.environ.pop("LD_LIBRARY_PATH_ORIG", None)) is not None:
        os.environ["LD_LIBRARY_PATH"] = before


def find_certificates() -> None:
    """Our OpenSSL looks where the distribution that it was made on has them."""
    there = ssl.get_default_verify_paths()
    if not (there.cafile or there.capath):
        found = next(filter(os.path.exists, CERTIFICATES), None)
        if found:
            os.environ["SSL_CERT_FILE"] = found


forget_the_loader()
Path("/proc/self/comm").write_text("agentcontainer")  # else `top` shows the loader
if sys.argv[1:2] == [entry_point.SCRIPT]:
    del sys.argv[:2]
    runpy.run_path(sys.argv[0], run_name="__main__")
else:
    find_certificates()
    from agentcontainer_local.cli import app

    app(prog_name="agentcontainer")
