#!/bin/sh
# Makes the virtual environment $1 and installs $2 (this project, with or without its extras) in it, pinned.
# Uses uv where it is installed, else the newest suitable Python's venv and pip.
set -eu
venv=$1 what=$2

say_begin() { echo "Installing r1tui into $venv; the first time takes a minute or two." >&2; }

suitable() { "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

if command -v uv >/dev/null 2>&1; then
    say_begin
    [ -x "$venv/bin/python" ] || uv venv --quiet --python '>=3.11' "$venv"
    exec uv pip install --quiet --python "$venv/bin/python" --constraints constraints.txt --editable "$what"
fi

python=
for candidate in ${PYTHON:-} python3.13 python3.12 python3.11 python3.14 python3 python; do
    if suitable "$candidate"; then python=$candidate && break; fi
done
if [ -z "$python" ]; then
    cat >&2 <<'END'
r1tui needs Python 3.11 or newer with venv. Either of these helps (then run make again):
  curl -LsSf https://astral.sh/uv/install.sh | sh      # uv, which brings a Python of its own
  sudo apt-get install python3 python3-venv            # or your distribution's packages of Python 3.11 or newer
END
    exit 1
fi
say_begin
[ -x "$venv/bin/pip" ] || "$python" -m venv "$venv"
exec "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable "$what"
