"""What the build needs of the machine. Prints one line and exits with 1 where something is missing.

Written for any Python, so that an old one can say that it is too old.
"""

import os
import shlex
import subprocess
import sys
import sysconfig

PIPE = subprocess.PIPE

OLDEST, NEWEST = (3, 11), (3, 13)


def missing():
    version = "%d.%d" % sys.version_info[:2]
    if not sys.platform.startswith("linux"):
        return "Linux, and this is " + sys.platform
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        return "Python 3.11 to 3.13, and %s is %s (another one: make PYTHON=python3.12)" % (sys.executable, version)
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        return "Python's venv (apt-get install python3-venv)"
    compiler = os.environ.get("CC", "cc")
    try:
        preprocess = subprocess.Popen(shlex.split(compiler + " -E -"), stdin=PIPE, stdout=PIPE, stderr=PIPE)
    except OSError:
        return "a C compiler, and there is no %s (apt-get install gcc libc6-dev)" % compiler
    preprocess.communicate(b"#include <stdio.h>\n")
    if preprocess.returncode:
        return "the C library's headers (apt-get install libc6-dev)"
    if not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")):
        return "Python's headers (apt-get install python3-dev)"
    return None


what = missing()
if what:
    sys.exit("pyln_fast needs " + what)
