"""`python -m bench.from_debian`: install missing peers from Debian, if permitted.

The table lists those that stay missing; everything else is measured.
"""

import os
import shutil
import subprocess

from bench.places import NEEDED_FROM_DEBIAN


def main() -> None:
    missing = [package for package, program in NEEDED_FROM_DEBIAN.items() if shutil.which(program) is None]
    if not missing:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        print(f"Not here, and only root can install them, on Debian: {', '.join(missing)}")
        return
    print(f"installing {', '.join(missing)} ...")
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for argv in (["update", "-qq"], ["install", "-qq", "--yes", "--no-install-recommends", *missing]):
        subprocess.run(["apt-get", *argv], env=environ, stdout=subprocess.DEVNULL, check=False)


if __name__ == "__main__":
    main()
