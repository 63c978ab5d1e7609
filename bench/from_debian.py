"""`python -m bench.from_debian`: install the peers that Debian has, where they are missing and we may do that.

Those that stay missing are said to be so in the table; everything else is measured all the same.
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
